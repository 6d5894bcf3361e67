"""`r1sgg generate`: the file it writes, and that killing it changes nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from PIL import Image

from r1sgg.cli import main
from r1sgg.data.base import read_ground_truth
from r1sgg.data.provenance import trained_on_of, write_trained_on
from r1sgg.errors import ConfigError, InputError
from r1sgg.inference.engine import Completion, LogProbs, Sampling
from r1sgg.inference.run import Summary, run
from r1sgg.models.families import LoadedModel
from r1sgg.models.prompts import AnswerSettings, Message

GREEDY = Sampling(max_new_tokens=8)


class Interrupted(Exception):
    """Stands for whatever ends a process between two batches."""


class Parrot:
    """Answers with what it was given, so that the composition of batches shows; fails at batch `fail_at`."""

    name = "parrot"

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls, self.fail_at = 0, fail_at

    def generate(
        self,
        images: Sequence[Image.Image],
        messages: Sequence[list[Message]],
        sampling: Sampling,
        keys: Sequence[str] | None = None,
    ) -> list[Completion]:
        if self.calls == self.fail_at:
            raise Interrupted
        self.calls += 1
        assert keys is not None
        assert len(images) == len(messages) == len(keys)
        return [
            Completion(f"{key} {image.size} with {keys}", 3, "stop", 0.5, LogProbs(-3.0, -1.0))
            for key, image in zip(keys, images, strict=True)
        ]


def lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_lines_are_predictions_in_the_truth_s_order(tiny: LoadedModel, ground_truth: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    summary = run(
        ground_truth, tmp_path / "p.jsonl", tiny, Parrot(), GREEDY, batch_size=2, progress=lambda *n: seen.append(n)
    )
    assert summary == Summary(images=21, failed=0, resumed=0)
    assert seen[0] == (0, 21)
    assert seen[-1] == (21, 21)
    rows = lines(tmp_path / "p.jsonl")
    assert [r["image_id"] for r in rows] == [e.image_id for e in read_ground_truth(ground_truth)]
    assert set(rows[0]) == {"image_id", "frame", "completion", "model", "finish_reason", "tokens"}
    assert rows[0]["frame"] == [1000.0, 1000.0]
    side = orjson.loads((tmp_path / "p.jsonl.run.json").read_bytes())
    assert side["seconds"] == 21 * 0.5
    assert side["settings"]["trained_on"] == []


def test_answers_remember_what_the_model_was_trained_on(tiny: LoadedModel, ground_truth: Path, tmp_path: Path) -> None:
    stages = [{"command": "sft", "name": "scenes:3", "split": "train"}]
    write_trained_on(tmp_path, stages)
    run(ground_truth, tmp_path / "p.jsonl", replace(tiny, path=str(tmp_path)), Parrot(), GREEDY, limit=1)
    assert trained_on_of(tmp_path / "p.jsonl") == stages


@pytest.mark.parametrize("fail_at", range(6))
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    tiny: LoadedModel, ground_truth: Path, tmp_path: Path, fail_at: int
) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    run(ground_truth, whole, tiny, Parrot(), GREEDY, batch_size=2)
    with pytest.raises(Interrupted):
        run(ground_truth, cut, tiny, Parrot(fail_at), GREEDY, batch_size=2)
    again = Parrot()
    summary = run(ground_truth, cut, tiny, again, GREEDY, batch_size=2)
    assert cut.read_bytes() == whole.read_bytes()
    assert summary.resumed == 8 * (fail_at // 4)
    assert again.calls == 11 - 4 * (fail_at // 4), "nothing that was written is made again"


@pytest.mark.parametrize("keep", [0, 1, 100, 700, 2000])
def test_a_file_cut_anywhere_is_mended(tiny: LoadedModel, ground_truth: Path, tmp_path: Path, keep: int) -> None:
    out = tmp_path / "p.jsonl"
    run(ground_truth, out, tiny, Parrot(), GREEDY, batch_size=2)
    whole = out.read_bytes()
    out.write_bytes(whole[:keep])
    run(ground_truth, out, tiny, Parrot(), GREEDY, batch_size=2)
    assert out.read_bytes() == whole


def test_a_finished_run_asks_nothing(tiny: LoadedModel, ground_truth: Path, tmp_path: Path) -> None:
    run(ground_truth, tmp_path / "p.jsonl", tiny, Parrot(), GREEDY)
    silent = Parrot(fail_at=0)
    assert run(ground_truth, tmp_path / "p.jsonl", tiny, silent, GREEDY).resumed == 21


def test_a_limited_run_can_be_lengthened(tiny: LoadedModel, ground_truth: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    run(ground_truth, whole, tiny, Parrot(), GREEDY, batch_size=2)
    assert run(ground_truth, part, tiny, Parrot(), GREEDY, batch_size=2, limit=10).images == 10
    run(ground_truth, part, tiny, Parrot(), GREEDY, batch_size=2)
    assert part.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": Sampling(max_new_tokens=9)}, "sampling"),
        ({"sampling": Sampling(1.0, max_new_tokens=8)}, "sampling"),
        ({"batch_size": 3}, "batch_size"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_other_settings_do_not_continue_a_run(
    tiny: LoadedModel, ground_truth: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    out = tmp_path / "p.jsonl"
    options = {"sampling": GREEDY, "batch_size": 2, "logprobs": False}
    run(ground_truth, out, tiny, Parrot(), **options)
    before = out.read_bytes()
    with pytest.raises(InputError, match=rf"{message}: expected .*--overwrite"):
        run(ground_truth, out, tiny, Parrot(), **{**options, **change})
    assert out.read_bytes() == before
    run(ground_truth, out, tiny, Parrot(), **{**options, **change}, overwrite=True)
    with pytest.raises(InputError, match=message):
        run(ground_truth, out, tiny, Parrot(), **options)


def test_another_prompt_or_ground_truth_does_not_continue_a_run(
    tiny: LoadedModel, ground_truth: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.jsonl"
    run(ground_truth, out, tiny, Parrot(), GREEDY)
    with pytest.raises(InputError, match="answer: expected"):
        run(ground_truth, out, replace(tiny, settings=AnswerSettings(prompt="paper")), Parrot(), GREEDY)
    shorter = ground_truth.with_name("shorter.jsonl")
    shorter.write_bytes(b"".join(ground_truth.read_bytes().splitlines(keepends=True)[:5]))
    with pytest.raises(InputError, match="ground_truth: expected"):
        run(shorter, out, tiny, Parrot(), GREEDY)


def test_a_file_that_is_no_run_of_ours_is_left_alone(tiny: LoadedModel, ground_truth: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    out.write_text('{"image_id": "x"}\n')
    with pytest.raises(InputError, match=r"expected p\.jsonl\.run\.json beside"):
        run(ground_truth, out, tiny, Parrot(), GREEDY)
    run(ground_truth, out, tiny, Parrot(), GREEDY, overwrite=True)
    rows = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join([rows[1], rows[0], *rows[2:]]))
    with pytest.raises(InputError, match="expected 'im0', found 'im1'"):
        run(ground_truth, out, tiny, Parrot(), GREEDY)
    out.write_bytes(b"{broken\n" + b"".join(rows[1:]))
    with pytest.raises(InputError, match="broken JSON"):
        run(ground_truth, out, tiny, Parrot(), GREEDY)
    with pytest.raises(InputError, match="found a folder"):
        run(ground_truth, tmp_path, tiny, Parrot(), GREEDY)
    with pytest.raises(ConfigError, match="batch size"):
        run(ground_truth, out, tiny, Parrot(), GREEDY, batch_size=0)


def test_bad_images_get_a_line_and_the_run_goes_on(tiny: LoadedModel, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "good.png")
    Image.new("RGB", (3000, 10)).save(tmp_path / "long.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    base = {"width": 50, "height": 40, "objects": [], "relationships": []}
    images = {"a": "bad.png", "b": "good.png", "c": "gone.png", "d": None, "e": "long.png", "f": "good.png"}
    rows = [{**base, "image_id": k} | ({"image": v} if v else {}) for k, v in images.items()]
    (tmp_path / "gt.jsonl").write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    out = tmp_path / "p.jsonl"
    summary = run(tmp_path / "gt.jsonl", out, tiny, Parrot(), GREEDY, batch_size=1, logprobs=True)
    assert summary == Summary(images=6, failed=4, resumed=0)
    found = lines(out)
    assert ["error" in row for row in found] == [True, False, True, True, True, False]
    assert all(set(row) == {"image_id", "error"} for row in found if "error" in row)
    assert "another kind" in str(found[0]["error"])
    assert "no such file" in str(found[2]["error"])
    assert "3000x10" in str(found[4]["error"])
    assert found[1]["logprobs"] == {"sum": -3.0, "mean": -1.0}
    assert run(tmp_path / "gt.jsonl", out, tiny, Parrot(), GREEDY, batch_size=1, logprobs=True).failed == 4


def test_the_command_s_exit_code_tells(
    tiny_checkpoint: Path, ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [orjson.loads(line) for line in ground_truth.read_bytes().splitlines()[:3]]
    for row in rows:
        row["image"] = str(ground_truth.parent / row["image"])
    rows[1]["image"] = "gone.png"
    (tmp_path / "gt.jsonl").write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    arguments = ["generate", "--ground-truth", str(tmp_path / "gt.jsonl"), "--model", str(tiny_checkpoint)]
    arguments += ["--max-new-tokens", "4", "--out", str(tmp_path / "p.jsonl")]
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 1
    assert "3 images; 1 could not be read" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--limit", "1"])
    assert left.value.code == 0
    capsys.readouterr()
    for options, message in (
        (["--prompt", "both"], "--prompt: expected open or closed, found 'both'"),
        (["--prompt", "open", "--vocabulary", "vg150"], "lists no names"),
        (["--prompt", "closed", "--vocabulary", "open"], "needs names"),
        (["--vocabulary", "nowhere.json"], "nowhere.json"),
        (["--prompt", "closed"], "answer: expected a run with"),
        (["--top-p", "0"], "top_p: expected"),
        (["--device", "toaster"], "device 'toaster'"),
    ):
        with pytest.raises(SystemExit) as left:
            main([*arguments, *options])
        assert left.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.strip().count("\n") == 0, error


def test_a_killed_run_goes_on_to_the_file_of_an_uninterrupted_one(
    tiny_checkpoint: Path, ground_truth: Path, tmp_path: Path
) -> None:
    def arguments(out: Path) -> list[str]:
        options = ["--batch-size", "1", "--temperature", "1", "--max-new-tokens", "10", "--seed", "5", "--logprobs"]
        files = ["--ground-truth", str(ground_truth), "--model", str(tiny_checkpoint), "--out", str(out)]
        return ["generate", *files, *options, "--device", "cpu", "--limit", "12"]

    killed, whole = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", "from r1sgg.cli import main; main()", *arguments(killed)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ},
    )
    while process.poll() is None and not (killed.exists() and killed.stat().st_size):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was killed, it did not end"
    written = len(killed.read_bytes().splitlines())
    assert 4 <= written < 12
    with killed.open("ab") as handle:  # what a kill in the middle of a write leaves
        handle.write(b'{"image_id":"im')
    for out in (killed, whole):
        with pytest.raises(SystemExit) as left:
            main(arguments(out))
        assert left.value.code == 0
    assert killed.read_bytes() == whole.read_bytes()
    assert len({row["completion"] for row in lines(whole)}) > 6, "the answers differ, so equality says something"
