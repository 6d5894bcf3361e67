"""`r1sgg publish`: an adapter becomes a checkpoint that stands alone, with a card that says what is known."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import yaml
from huggingface_hub.errors import HfHubHTTPError
from peft import LoraConfig, get_peft_model

from r1sgg.cli import main
from r1sgg.data.provenance import read_trained_on, write_trained_on
from r1sgg.errors import InputError, ModelError
from r1sgg.models.families import load_checkpoint, load_model
from r1sgg.models.publish import publish, push

from .tiny_families import build_qwen2_vl

STAGES = [
    {
        "command": "sft",
        "name": "jsonl:/home/me/secret/gt.jsonl",
        "split": "train",
        "images": 12,
        "hashes": {"images": "aa11", "annotations": "bb22"},
        "vocabulary": "vg150",
    }
]
RECIPE = {
    "model": "Qwen/Qwen2-VL-2B-Instruct",
    "data": "/home/me/secret/gt.jsonl",
    "output_dir": "/home/me/secret/run",
    "hub_token": "hf_secret",
    "similarity": "/home/me/secret/labels",
    "learning_rate": 1e-4,
    "rewards": {"format": 1, "hard_recall": 5},
    "recorded": {"versions": {"trl": "1.16.0"}, "data": {"name": "/home/me/secret"}},
}
RESULTS = {
    "failure_rate": 0.125,
    "R@50": 0.4321,
    "mR@50": None,
    "relations_per_image": 2.5,
    "images": 40,
    "protocol": "strict",
    "vocabulary": "vg150",
    "task": "sgdet",
    "data_hash": "cc33",
    "ground_truth": {"name": "hub:JosephZ/vg150_val_sgg_prompt", "split": "validation"},
    "model": "it",
    "trained_on": STAGES,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with an adapter that changes something."""
    base = build_qwen2_vl(tmp_path_factory.mktemp("base"))
    folder = tmp_path_factory.mktemp("run")
    loaded = load_model(base, device="cpu")
    torch.manual_seed(0)
    with warnings.catch_warnings():  # transformers warns of what peft asks
        warnings.simplefilter("ignore", FutureWarning)
        adapted = get_peft_model(loaded.model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    loaded.settings.write(folder)
    write_trained_on(folder, STAGES)
    (folder / "config.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


def results(folder: Path, **changed: Any) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps({**RESULTS, **changed}))
    return path


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return load_model(folder, device="cpu").model(input_ids=torch.arange(8)[None]).logits


def test_the_published_model_answers_as_the_adapter_on_its_base(run: Path, tmp_path: Path) -> None:
    out = publish(str(run), tmp_path / "out", dtype="float32")
    assert torch.equal(logits(out), logits(run))
    assert not (out / "adapter_config.json").exists()
    assert (load_model(out, device="cpu").settings, read_trained_on(out)) == (load_model(run).settings, STAGES)
    half = publish(str(out), tmp_path / "half")
    assert load_model(half, device="cpu", dtype="auto").model.dtype == torch.bfloat16
    assert (half / "model.safetensors").stat().st_size < 0.6 * (out / "model.safetensors").stat().st_size


def test_the_card_says_what_is_known_and_nothing_of_the_machine(run: Path, tmp_path: Path) -> None:
    out = publish(str(run), tmp_path / "out", results=results(tmp_path), name="me/it")
    text = (out / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["base_model"] == "Qwen/Qwen2-VL-2B-Instruct"
    for part in (
        'r1sgg.load("me/it")',
        "| sft | jsonl:gt.jsonl | train | 12 | bb22 | vg150 |",
        "learning_rate: 0.0001",
    ):
        assert part in body
    for part in ("hard_recall: 5", "trl: 1.16.0", "| failures, % | 12.50 |", "| R@50 | 43.21 |", "hash cc33"):
        assert part in body
    assert "40 images of hub:JosephZ/vg150_val_sgg_prompt" in body
    assert "mR@50" not in body
    for name in out.iterdir():
        if name.suffix in (".md", ".yaml"):
            assert "secret" not in name.read_text(), name
    card = (publish(str(run), tmp_path / "other") / "README.md").read_text()
    assert "Not measured." in card
    assert 'r1sgg.load(".")  # in the folder of this file' in card, "its path would name folders of the machine"


@pytest.mark.parametrize(("out", "load_as"), [("made/it", "made/it"), ("it", "./it")])
def test_the_card_names_a_folder_that_can_be_loaded(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, load_as: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (publish(str(run), Path(out)) / "README.md").read_text()
    assert f'read = r1sgg.load("{load_as}")\n' in text
    assert load_checkpoint(load_as).settings == load_model(run).settings


def test_the_base_is_found_through_earlier_runs(run: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, model in ((first, RECIPE["model"]), (second, str(first))):
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump({"model": model}))
    later = tmp_path / "later"
    shutil.copytree(run, later)
    for model, found in ((str(second), True), ("tiny", False), ("./gone", False)):
        (later / "config.yaml").write_text(yaml.safe_dump({"model": model}))
        text = (publish(str(later), tmp_path / f"out-{Path(model).name}") / "README.md").read_text()
        assert ("base_model: Qwen/Qwen2-VL-2B-Instruct" in text) is found


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"trained_on": []}, None),
        ({"trained_on": [{**STAGES[0], "images": 13}]}, "expected results of this checkpoint"),
        ({"failure_rate": 0}, None),
    ],
)
def test_results_of_another_model_are_refused(
    run: Path, tmp_path: Path, changed: dict[str, Any], says: str | None
) -> None:
    path = results(tmp_path, **changed)
    if says is None:
        publish(str(run), tmp_path / "out", results=path)
        return
    with pytest.raises(InputError, match=says):
        publish(str(run), tmp_path / "out", results=path)
    assert not (tmp_path / "out").exists(), "nothing is written before all is read"


@pytest.mark.parametrize(
    ("content", "says"),
    [("{", "broken JSON"), ("{}", "expected the results of one predictions file"), (None, "No such file")],
)
def test_results_that_are_none(run: Path, tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=says):
        publish(str(run), tmp_path / "out", results=path)


# ---------------------------------------------------------------- the Hub


class Hub:
    """Stands in for huggingface_hub.HfApi: repositories are folders."""

    root: Path
    calls: list[dict[str, Any]]
    refuses = False

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        if self.refuses:
            answer = httpx.Response(403, request=httpx.Request("POST", "https://hub.invalid"))
            raise HfHubHTTPError("403 Forbidden: you may not\nRequest ID: 1", response=answer)
        self.calls.append({"repo_id": repo_id, "private": private, "exist_ok": exist_ok})

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        shutil.copytree(folder_path, self.root / repo_id)
        return f"https://hub.invalid/{repo_id}/commit/1"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "root", tmp_path / "hub", raising=False)
    monkeypatch.setattr(Hub, "calls", [], raising=False)
    return Hub


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["publish", *map(str, arguments)])
    return int(stopped.value.code or 0)


def test_push_uploads_the_folder_and_only_on_request(
    run: Path, tmp_path: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(run, "--out", tmp_path / "quiet") == 0
    assert not hub.calls
    assert command(run, "--out", tmp_path / "out", "--push", "me/it") == 0
    assert hub.calls == [{"repo_id": "me/it", "private": True, "exist_ok": True}]
    assert "hub.invalid/me/it/commit/1" in capsys.readouterr().out
    assert torch.equal(logits(hub.root / "me/it"), logits(tmp_path / "out"))
    assert command(run, "--out", tmp_path / "open", "--push", "me/open", "--public") == 0
    assert hub.calls[-1]["private"] is False


def test_what_the_hub_refuses_is_one_sentence(
    run: Path, tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = publish(str(run), tmp_path / "out")
    with pytest.raises(InputError, match="expected owner/name"):
        push(out, "it")
    with pytest.raises(InputError, match=r"found no config\.json"):
        push(run, "me/it")  # an adapter
    monkeypatch.setattr(hub, "refuses", True)
    with pytest.raises(ModelError, match="me/it: the Hub refused the upload: 403 Forbidden") as caught:
        push(out, "me/it")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_published_is_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for arguments, says in (
        (["--out", tmp_path], "expected a new or empty folder"),
        (["--out", tmp_path / "out", "--public"], "--public: expected --push"),
        (["--out", tmp_path / "out", "--dtype", "int3"], "dtype: expected one of"),
    ):
        assert command(run, *arguments) == 2
        assert says in capsys.readouterr().err
