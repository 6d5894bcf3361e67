"""`--model photo`: what it stands for, that its size is said before anything is fetched, and what is said offline."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from r1sgg.cli import main
from r1sgg.cli.choosing import ask_mode
from r1sgg.data.predictions import Ask
from r1sgg.errors import ConfigError, ModelError
from r1sgg.graph.dialects.registry import DIALECTS
from r1sgg.inference.engines import Opening, load
from r1sgg.inference.reader import Reader
from r1sgg.models import finding, tongue
from r1sgg.models.families import load_checkpoint, resolve
from r1sgg.models.known import RECOMMENDED
from r1sgg.models.registry import FAMILIES

PHOTO = RECOMMENDED["photo"]


@pytest.fixture(autouse=True)
def nothing_was_said() -> None:
    finding._announce.cache_clear()


def test_the_size_is_said_once_and_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: None)
    with caplog.at_level(logging.WARNING):
        assert resolve("photo") == resolve("photo") == PHOTO.hub
    (said,) = [record.message for record in caplog.records]
    assert (
        said == f"photo is {PHOTO.hub} (Apache-2.0), about 1.8 GB, which is downloaded now and kept in the Hub's cache"
    )


def test_what_is_there_already_is_not_announced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def cached(name: str, file: str) -> str | None:
        asked.append((name, file))
        return f"/cache/{file}" if file == "model.safetensors" else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    with caplog.at_level(logging.WARNING):
        assert resolve("photo") == PHOTO.hub
    assert not caplog.records
    assert asked == [(PHOTO.hub, "model.safetensors")]


def test_offline_is_one_sentence_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"photo: expected .*about 1.8 GB in the Hub's cache, found it neither there"):
        resolve("photo")
    Path("a.jpg").write_text("")
    for arguments in (["predict", "a.jpg", "--out", "o"], ["serve"], ["web"]):
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--model", "photo"])
        said = capsys.readouterr().err
        assert (left.value.code, said.count("\n")) == (2, 1), said
        assert f"`hf download {PHOTO.hub} --local-dir FOLDER`" in said
        assert "--model FOLDER" in said


def test_a_hub_that_cannot_be_reached_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"nobody/nothing: no such folder here.*HF_HUB_OFFLINE.*`hf download nobody"):
        load_checkpoint("nobody/nothing")


def test_a_folder_of_that_name_is_written_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo").mkdir()
    (tmp_path / "photo" / "config.json").write_text("{}")
    assert resolve("./photo") == "photo"


class _Opened(Exception):
    """How a model would be asked."""


@pytest.mark.parametrize(
    ("model", "ask", "asked"),
    [
        ("photo", None, "native"),
        ("photo", "paper", "paper"),
        ("runs/mine", None, "paper"),
        ("tiny", "native", "native"),
    ],
)
def test_load_asks_as_the_commands_do(model: str, ask: Ask | None, asked: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(self: Opening) -> Reader:
        raise _Opened(self.ask)

    monkeypatch.setattr(Opening, "open", opened)
    with pytest.raises(_Opened) as found:
        load(model, ask=ask)
    assert found.value.args == (asked,) == (ask_mode(ask, model),)
    with pytest.raises(ConfigError, match="ask: expected paper or native, found 'both'"):
        load(model, ask="both")  # type: ignore[arg-type]


def test_what_native_questions_leave_out_is_in_the_log_of_load(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader = SimpleNamespace(checkpoint=SimpleNamespace(notice=None))
    monkeypatch.setattr(Opening, "open", lambda self: reader)
    monkeypatch.setattr(tongue, "native_remarks", lambda checkpoint: ["m: was trained with another prompt"])
    with caplog.at_level(logging.WARNING):
        load("m", ask="paper")
        assert not caplog.records
        load("m", ask="native")
    assert [record.message for record in caplog.records] == ["m: was trained with another prompt"]


def test_retries_are_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    client = logging.getLogger("huggingface_hub.utils._http")

    def unreachable(*_: object, **__: object) -> None:
        for k in range(5):
            client.warning("'[Errno -2] Name or service not known' thrown while requesting HEAD https://h/c.json")
            client.warning(f"Retrying in {k + 1}s [Retry {k + 1}/5].")
        client.warning("Rate limited. Waiting 60s before retry [Retry 5/5].")
        raise OSError("We couldn't connect to the Hub.\nMore.")

    monkeypatch.setattr("transformers.PreTrainedConfig.get_config_dict", unreachable)
    with caplog.at_level(logging.WARNING), pytest.raises(ModelError, match=r"nobody/nothing: no such folder here"):
        finding.config_of("nobody/nothing")
    said = [record.message.partition(".")[0] for record in caplog.records]
    assert said == ["the Hub cannot be reached; trying again for about half a minute", "Rate limited"]
    client.warning("Retrying in 1s [Retry 1/5].")
    assert len(caplog.records) == 3, "elsewhere the client's lines stay"


def test_photo_is_of_a_known_family_and_is_asked_in_its_own_format() -> None:
    family = next(family for family in FAMILIES if family.name == PHOTO.family)
    assert DIALECTS[family.dialect].asking is not None
    assert ask_mode(None, "photo") == "native"
    assert ask_mode("paper", "photo") == "paper"
    assert ask_mode(None, "photo", None, "compact") == "paper", "two questions have no layout of the whole answer"
    assert ask_mode(None, None) == ask_mode(None, "runs/mine") == "paper"
    with pytest.raises(ConfigError, match="--ask: expected paper or native, found 'both'"):
        ask_mode("both", "photo")
