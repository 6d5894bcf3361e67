"""`r1sgg generate`: the file it writes, and that killing it changes nothing."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from PIL import Image

from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.parts import ENDINGS, count_failed, write_part
from r1sgg.bulk.resume import is_failed
from r1sgg.bulk.run import Job, Summary, run
from r1sgg.cli import main
from r1sgg.cli.loading import Lines
from r1sgg.data.base import read_ground_truth, read_predictions
from r1sgg.data.provenance import trained_on_of, write_trained_on
from r1sgg.endpoint.remote import Remote, remote
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.text import parse
from r1sgg.graph.vocabulary import VG150
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Sampling
from r1sgg.inference.reader import Reader
from r1sgg.models.prompts import AnswerSettings

from ..endpoint.fake_server import Asked, FakeServer, Said, fails, says
from ..inference.pretend import Interrupted, Parrot

GREEDY = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def asked() -> Remote:
    """How the parrot is asked."""
    return remote("parrot", "0-1000")


def answers(
    images: Path, out: Path, checkpoint: Remote, engine: Parrot, sampling: Sampling = GREEDY, **options: Any
) -> Summary:
    """`run`, with options of the job and of the files."""
    files = {name: options.pop(name) for name in ("limit", "overwrite", "progress") if name in options}
    return run(open_inputs(str(images)), out, Reader(checkpoint, engine), Job(sampling, **options), **files)


def lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_lines_are_predictions_in_the_truth_s_order(asked: Remote, ground_truth: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    summary = answers(
        ground_truth, tmp_path / "p.jsonl", asked, Parrot(), GREEDY, batch_size=2, progress=lambda *n: seen.append(n)
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


def test_answers_remember_what_the_model_was_trained_on(asked: Remote, ground_truth: Path, tmp_path: Path) -> None:
    stages = [{"command": "sft", "name": "scenes:3", "split": "train"}]
    write_trained_on(tmp_path, stages)
    answers(ground_truth, tmp_path / "p.jsonl", replace(asked, path=str(tmp_path)), Parrot(), GREEDY, limit=1)
    assert trained_on_of(tmp_path / "p.jsonl") == stages


@pytest.mark.parametrize("fail_at", range(6))
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    asked: Remote, ground_truth: Path, tmp_path: Path, fail_at: int
) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    answers(ground_truth, whole, asked, Parrot(), GREEDY, batch_size=2)
    with pytest.raises(Interrupted):
        answers(ground_truth, cut, asked, Parrot(fail_at), GREEDY, batch_size=2)
    again = Parrot()
    summary = answers(ground_truth, cut, asked, again, GREEDY, batch_size=2)
    assert cut.read_bytes() == whole.read_bytes()
    assert summary.resumed == 8 * (fail_at // 4)
    assert again.calls == 11 - 4 * (fail_at // 4), "nothing that was written is made again"


@pytest.mark.parametrize("keep", [0, 1, 100, 700, 2000])
def test_a_file_cut_anywhere_is_mended(asked: Remote, ground_truth: Path, tmp_path: Path, keep: int) -> None:
    out = tmp_path / "p.jsonl"
    answers(ground_truth, out, asked, Parrot(), GREEDY, batch_size=2)
    whole = out.read_bytes()
    out.write_bytes(whole[:keep])
    answers(ground_truth, out, asked, Parrot(), GREEDY, batch_size=2)
    assert out.read_bytes() == whole


def test_a_start_that_fails_leaves_no_folder(asked: Remote, ground_truth: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        answers(ground_truth, tmp_path / "new" / "run" / "p.jsonl", asked, Parrot(fail_at=0), batch_size=2)
    assert not (tmp_path / "new").exists()
    with pytest.raises(Interrupted):
        answers(ground_truth, tmp_path / "new" / "p.jsonl", asked, Parrot(fail_at=1), batch_size=1, window=1)
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == ["p.jsonl", "p.jsonl.run.json"]


@pytest.mark.parametrize("more", [[], ["--ray", "local"]])
@pytest.mark.parametrize("name", ["p.jsonl", "tables"])
def test_a_model_that_does_not_exist_leaves_no_folder(
    more: list[str], name: str, ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / name
    with pytest.raises(SystemExit) as caught:
        main(["generate", "--images", str(ground_truth), "--model", "nowhere", "--out", str(out), *more])
    assert caught.value.code == 2
    assert "nowhere: no such checkpoint folder" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_finished_run_asks_nothing(asked: Remote, ground_truth: Path, tmp_path: Path) -> None:
    answers(ground_truth, tmp_path / "p.jsonl", asked, Parrot(), GREEDY)
    silent = Parrot(fail_at=0)
    assert answers(ground_truth, tmp_path / "p.jsonl", asked, silent, GREEDY).resumed == 21


def test_a_limited_run_can_be_lengthened(asked: Remote, ground_truth: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    answers(ground_truth, whole, asked, Parrot(), GREEDY, batch_size=2)
    assert answers(ground_truth, part, asked, Parrot(), GREEDY, batch_size=2, limit=10).images == 10
    answers(ground_truth, part, asked, Parrot(), GREEDY, batch_size=2)
    assert part.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": Sampling(max_new_tokens=9)}, "sampling.max_new_tokens"),
        ({"sampling": Sampling(1.0, max_new_tokens=8)}, "sampling.temperature"),
        ({"batch_size": 3}, "batch_size"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_other_settings_do_not_continue_a_run(
    asked: Remote, ground_truth: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    out = tmp_path / "p.jsonl"
    options = {"sampling": GREEDY, "batch_size": 2, "logprobs": False}
    answers(ground_truth, out, asked, Parrot(), **options)
    before = out.read_bytes()
    with pytest.raises(InputError, match=rf"{message}: expected .*--overwrite"):
        answers(ground_truth, out, asked, Parrot(), **{**options, **change})
    assert out.read_bytes() == before
    answers(ground_truth, out, asked, Parrot(), **{**options, **change}, overwrite=True)
    with pytest.raises(InputError, match=message):
        answers(ground_truth, out, asked, Parrot(), **options)


def test_another_prompt_or_ground_truth_does_not_continue_a_run(
    asked: Remote, ground_truth: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.jsonl"
    answers(ground_truth, out, asked, Parrot(), GREEDY)
    with pytest.raises(InputError, match=r"answer\.prompt: expected"):
        answers(ground_truth, out, replace(asked, settings=AnswerSettings(prompt="short")), Parrot(), GREEDY)
    shorter = ground_truth.with_name("shorter.jsonl")
    shorter.write_bytes(b"".join(ground_truth.read_bytes().splitlines(keepends=True)[:5]))
    with pytest.raises(InputError, match="images: expected"):
        answers(shorter, out, asked, Parrot(), GREEDY)


def test_a_file_that_is_no_run_of_ours_is_left_alone(asked: Remote, ground_truth: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    out.write_text('{"image_id": "x"}\n')
    with pytest.raises(InputError, match=r"expected p\.jsonl\.run\.json beside"):
        answers(ground_truth, out, asked, Parrot(), GREEDY)
    answers(ground_truth, out, asked, Parrot(), GREEDY, overwrite=True)
    rows = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join([rows[1], rows[0], *rows[2:]]))
    with pytest.raises(InputError, match="expected 'im0', found 'im1'"):
        answers(ground_truth, out, asked, Parrot(), GREEDY)
    out.write_bytes(b"{broken\n" + b"".join(rows[1:]))
    with pytest.raises(InputError, match="broken JSON"):
        answers(ground_truth, out, asked, Parrot(), GREEDY)
    with pytest.raises(InputError, match="found a folder"):
        answers(ground_truth, tmp_path, asked, Parrot(), GREEDY)
    with pytest.raises(ConfigError, match="batch size"):
        answers(ground_truth, out, asked, Parrot(), GREEDY, batch_size=0)


def test_bad_images_get_a_line_and_the_run_goes_on(asked: Remote, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "good.png")
    Image.new("RGB", (3000, 10)).save(tmp_path / "long.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    base = {"width": 50, "height": 40, "objects": [], "relationships": []}
    images = {"a": "bad.png", "b": "good.png", "c": "gone.png", "d": None, "e": "long.png", "f": "good.png"}
    rows = [{**base, "image_id": k} | ({"image": v} if v else {}) for k, v in images.items()]
    (tmp_path / "gt.jsonl").write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    out = tmp_path / "p.jsonl"
    summary = answers(tmp_path / "gt.jsonl", out, asked, Parrot(), GREEDY, batch_size=1, logprobs=True)
    assert summary == Summary(images=6, failed=4, resumed=0)
    found = lines(out)
    assert ["error" in row for row in found] == [True, False, True, True, True, False]
    assert all(set(row) == {"image_id", "error"} for row in found if "error" in row)
    assert "another kind" in str(found[0]["error"])
    assert "no such file" in str(found[2]["error"])
    assert "3000x10" in str(found[4]["error"])
    assert found[1]["logprobs"] == {"sum": -3.0, "mean": -1.0}
    assert answers(tmp_path / "gt.jsonl", out, asked, Parrot(), GREEDY, batch_size=1, logprobs=True).failed == 4


GRAPH = (
    '{"objects": [{"id": "man.1", "bbox": [100, 200, 500, 700]}, {"id": "hat.1", "bbox": [0, 0, 333, 250]}], '
    '"relationships": [{"subject": "man.1", "predicate": "wearing", "object": "hat.1"}]}'
)


def test_an_image_without_an_answer_gets_a_line_and_the_run_goes_on(
    asked: Remote, ground_truth: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.jsonl"
    parrot = Parrot(says=lambda key: None if key == "im3" else key + "\ud800")
    assert answers(ground_truth, out, asked, parrot) == Summary(images=21, failed=1, resumed=0)
    found = lines(out)
    assert found[3] == {"image_id": "im3", "error": "nothing to say about im3"}
    assert found[4]["completion"] == "im4\\ud800", "what JSON cannot hold is written out"


def test_the_same_command_asks_again_about_what_had_no_answer(
    asked: Remote, ground_truth: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    answers(ground_truth, whole, asked, Parrot(says=str), batch_size=3)
    names = [str(row["image_id"]) for row in lines(whole)]
    silent = set(names[1:5])
    parrot = Parrot(says=lambda key: None if key in silent else key)
    assert answers(ground_truth, out, asked, parrot, batch_size=3).failed == 4
    silent, parrot.calls = {names[3]}, 0
    assert answers(ground_truth, out, asked, parrot, batch_size=3) == Summary(len(names), 1, len(names))
    assert parrot.calls == 2  # four images in batches of three, and no other
    assert [row["image_id"] for row in lines(out) if "error" in row] == [names[3]]
    silent = set()
    assert answers(ground_truth, out, asked, parrot, batch_size=3).failed == 0
    assert out.read_bytes() == whole.read_bytes()


def test_images_that_are_gone_before_their_turn_are_missed(asked: Remote, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    path = tmp_path / "list.jsonl"
    path.write_bytes(b"".join(b'{"image_id":"%05d","image":"a.png"}\n' % k for k in range(2_000)))
    whole = path.read_bytes()

    def cut(done: int, total: int) -> None:
        os.truncate(path, len(whole) - 370)

    inputs = open_inputs(str(path))
    assert len(inputs) == 2_000
    with pytest.raises(InputError, match="expected the 2000 images that were there at the start, found 1990"):
        run(inputs, tmp_path / "p.jsonl", Reader(asked, Parrot()), Job(GREEDY, batch_size=50), progress=cut)


def test_a_guide_is_the_checkpoint_s_and_scores_are_written(asked: Remote, ground_truth: Path, tmp_path: Path) -> None:
    out, parrot = tmp_path / "p.jsonl", Parrot(says=lambda key: GRAPH, sure=0.99)
    named = replace(asked, settings=AnswerSettings(vocabulary="vg150", answer_format="compact", think=True))
    answers(ground_truth, out, named, parrot, Sampling(max_new_tokens=100), guide=True, limit=1)
    assert parrot.guides == [
        GuideSpec((1000, 1000), VG150.written_objects, VG150.predicates, answer_format="compact", think=50)
    ]
    (row,) = lines(out)
    assert row["completion"] == GRAPH
    assert [thing["bbox"] for thing in row["objects"]] == [[100, 200, 500, 700], [0, 0, 333, 250]]
    (said,) = row["relationships"]
    assert (said["subject"], said["predicate"], said["object"]) == ("man.1", "wearing", "hat.1")
    assert all(0 < rated["score"] < 1 for rated in (said, *row["objects"]))
    (prediction,) = read_predictions(out)
    assert [r.score for r in prediction.read().graph.relationships] == [said["score"]]
    assert [o.score for o in prediction.read().graph.objects] == [thing["score"] for thing in row["objects"]]
    answers(ground_truth, tmp_path / "free.jsonl", asked, parrot, limit=1)
    assert parrot.guides is None
    assert "objects" not in lines(tmp_path / "free.jsonl")[0]
    answers(ground_truth, tmp_path / "scored.jsonl", asked, parrot, limit=1, scores=True)
    assert parrot.guides is None
    assert lines(tmp_path / "scored.jsonl")[0]["objects"] == row["objects"]
    with pytest.raises(InputError, match="scores: expected a run with the same settings"):
        answers(ground_truth, tmp_path / "free.jsonl", asked, parrot, limit=1, scores=True)


def test_samples_are_merged_into_one_line(asked: Remote, ground_truth: Path, tmp_path: Path) -> None:
    keys: list[str] = []

    def says(key: str) -> str | None:
        keys.append(key)
        return {"0": GRAPH, "1": GRAPH.replace("man", "dog"), "2": None}[key[-1]] if key[:3] == "im0" else "no graph"

    out = tmp_path / "p.jsonl"
    hot = Sampling(temperature=1.0, max_new_tokens=8)
    answers(ground_truth, out, asked, Parrot(says=says), hot, samples=3, limit=2)
    assert set(keys) == {"im0#0", "im0#1", "im0#2", "im1#0", "im1#1", "im1#2"}
    merged, empty = lines(out)
    assert merged["completions"] == [GRAPH, GRAPH.replace("man", "dog")], "the third had no answer"
    assert {row["id"]: row["score"] for row in merged["objects"]}["hat.1"] > 0.9
    assert merged["tokens"] == 6
    assert parse(merged["completion"], (1000, 1000)).graph.ids == tuple(row["id"] for row in merged["objects"])
    assert empty["completion"] == "no graph"
    assert "objects" not in empty
    for options, message in (({"samples": 2}, "at temperature 0 are all the same"), ({"samples": 0}, "1 or more")):
        with pytest.raises(ConfigError, match=message):
            Job(GREEDY, **options)
    with pytest.raises(ConfigError, match="logprobs: expected one sample"):
        Job(hot, samples=2, logprobs=True)


def test_memory_does_not_grow_with_the_images(asked: Remote, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    process = psutil.Process()
    most = [0]

    def look(done: int, total: int) -> None:
        most.append(max(most.pop(), process.memory_info().rss))

    for count in (2_000, 22_000):
        path, out = tmp_path / f"{count}.jsonl", tmp_path / f"{count}.out"
        with path.open("wb") as handle:
            for k in range(count):
                handle.write(b'{"image_id":"image number %d","image":"a.png","width":8,"height":8}\n' % k)
        before = most[0]
        parrot = Parrot(says=lambda key: "nothing")
        assert answers(path, out, asked, parrot, batch_size=250, progress=look).images == count
        assert answers(path, out, asked, parrot, batch_size=250, progress=look).resumed == count
    assert most[0] - before < 3 << 20, "20,000 images more, and no 150 bytes for each"


def test_the_command_s_exit_code_tells(
    tiny_checkpoint: Path, ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [orjson.loads(line) for line in ground_truth.read_bytes().splitlines()[:3]]
    for row in rows:
        row["image"] = str(ground_truth.parent / row["image"])
    rows[1]["image"] = "gone.png"
    (tmp_path / "gt.jsonl").write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    arguments = ["generate", "--images", str(tmp_path / "gt.jsonl"), "--model", str(tiny_checkpoint)]
    arguments += ["--max-new-tokens", "4", "--out", str(tmp_path / "p.jsonl")]
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 1
    printed = capsys.readouterr()
    assert "3 images; 1 failed" in printed.out
    assert "of the completions fail with" in printed.err  # an untrained model, cut after four tokens
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--limit", "1"])
    assert left.value.code == 0
    capsys.readouterr()
    for options, message in (
        (["--prompt", "both"], "--prompt: expected open, closed, a file or column:NAME, found 'both'"),
        (["--prompt", "open", "--vocabulary", "vg150"], "lists no names"),
        (["--prompt", "closed", "--vocabulary", "open"], "needs names"),
        (["--vocabulary", "nowhere.json"], "nowhere.json"),
        (["--prompt", "closed"], "answer.vocabulary: expected a run with the same settings ('vg150'), found 'open'"),
        (["--top-p", "0"], "top_p: expected"),
        (["--device", "toaster"], "device 'toaster'"),
        (["--answer-format", "xml"], "--answer-format: expected json or compact, found 'xml'"),
        (["--guide"], "guide: expected a run with the same settings ('open'), found None"),
        (["--guide", "--overwrite"], "raise the longest answer"),
        (["--workers", "2", "--engine", "openai"], "--workers: expected --engine hf or vllm"),
        (["--samples", "2"], "at temperature 0 are all the same"),
        (["--engine", "openai", "--device", "cpu"], "this option is for --engine hf, not openai"),
    ):
        with pytest.raises(SystemExit) as left:
            main([*arguments, *options])
        assert left.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.strip().count("\n") == 0, error


def test_a_guided_answer_keeps_to_a_vocabulary_that_the_prompt_does_not_list(
    tiny_checkpoint: Path, ground_truth: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text('{"name": "mine", "objects": ["man", "red hat"], "predicates": ["wearing"]}')
    arguments = ["generate", "--images", str(ground_truth), "--model", str(tiny_checkpoint), "--limit", "1"]
    arguments += ["--guide", "--vocabulary", str(tmp_path / "mine.json"), "--max-new-tokens", "60", "--device", "cpu"]
    for prompt, answer_format in (("open", "json"), ("closed", "compact")):
        out = tmp_path / f"{prompt}.jsonl"
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--prompt", prompt, "--answer-format", answer_format, "--out", str(out)])
        assert left.value.code == 0
        settings = orjson.loads(out.with_name(out.name + ".run.json").read_bytes())["settings"]
        assert settings["answer"]["vocabulary"] == ("open" if prompt == "open" else str(tmp_path / "mine.json"))
        assert settings["answer"]["answer_format"] == answer_format
        assert settings["guide"] == str(tmp_path / "mine.json")
        rows = lines(out)
        assert all(row["completion"].startswith("{" if answer_format == "json" else "objects") for row in rows)
        graphs = [prediction.read() for prediction in read_predictions(out)]
        assert not any(parsed.failure or parsed.issues for parsed in graphs)
        assert {label for parsed in graphs for label in parsed.graph.labels} <= {"man", "red hat"}
        assert all(len(row["objects"]) == len(parsed.graph) for row, parsed in zip(rows, graphs, strict=True))


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_a_prompt_that_was_trained_open_stays_so_where_the_guide_has_the_names(
    tiny_checkpoint: Path,
    ground_truth: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    workers: tuple[str, ...],
) -> None:
    """The embedded model answers nothing to a prompt with names, which it never saw."""
    out = tmp_path / "p.jsonl"
    arguments = ["generate", "--images", str(ground_truth), "--model", str(tiny_checkpoint), "--limit", "2"]
    arguments += ["--guide", "--vocabulary", "vg150", "--max-new-tokens", "60", "--device", "cpu", "--out", str(out)]
    with pytest.raises(SystemExit) as left:
        main([*arguments, *workers])
    assert left.value.code == 0
    settings = orjson.loads(out.with_name(out.name + ".run.json").read_bytes())["settings"]
    assert (settings["answer"]["vocabulary"], settings["guide"]) == ("open", "vg150")
    said = [line for line in capfd.readouterr().err.splitlines() if "asked without names" in line]
    assert said == [
        f"{tiny_checkpoint}: asked without names in the prompt, as it was trained; --vocabulary vg150 is for the guide "
        "alone (--prompt closed lists the names, too)"
    ]


def test_a_server_is_asked_and_its_bill_is_said(
    ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(asked: Asked) -> Said:
        return fails(400, "no such picture") if asked.image.size[0] % 5 == 0 else says(GRAPH, tokens=(1000, 50))

    odd = sum(e.width % 5 == 0 for e in read_ground_truth(ground_truth))
    assert 0 < odd < 10
    out = tmp_path / "p.jsonl"
    arguments = ["generate", "--images", str(ground_truth), "--model", "Qwen2-VL", "--out", str(out), "--engine"]
    with FakeServer(answer) as server, pytest.raises(SystemExit) as left:
        main([*arguments, f"openai:{server.url},server=plain,concurrency=4,prices=1/2"])
    printed = capsys.readouterr()
    assert left.value.code == 1, printed.err
    assert f"21 images; {odd} failed" in printed.out
    assert f"{out}: all {21 - odd} completions hold the same graph" in printed.err
    said = f"{(21 - odd) * 1000:,} tokens read, {(21 - odd) * 50:,} written, cost"
    assert said in printed.out
    wrong = [row for row in lines(out) if "error" in row]
    assert len(wrong) == odd
    assert all("no such picture" in str(row["error"]) for row in wrong)
    assert all(row.get("completion", GRAPH) == GRAPH for row in lines(out))


def test_a_server_that_is_gone_stops_the_run_and_keeps_what_is_done(
    asked: Remote, ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(question: Asked) -> Said:
        return says(GRAPH) if question.number < 12 else fails(401, "the key is no longer valid")

    out = tmp_path / "p.jsonl"
    with FakeServer(answer) as server:
        options = [
            "--engine",
            f"openai:{server.url},concurrency=1,family=0-1000",
            "--batch-size",
            "5",
            "--model",
            "gpt",
        ]
        with pytest.raises(SystemExit) as left:
            main(["generate", "--images", str(ground_truth), *options, "--out", str(out)])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert "the key is no longer valid" in error
    assert error.strip().count("\n") == 0
    assert len(lines(out)) == 10


def test_a_killed_run_goes_on_to_the_file_of_an_uninterrupted_one(
    tiny_checkpoint: Path, ground_truth: Path, tmp_path: Path
) -> None:
    def arguments(out: Path) -> list[str]:
        options = ["--batch-size", "1", "--temperature", "1", "--max-new-tokens", "10", "--seed", "5", "--logprobs"]
        files = ["--images", str(ground_truth), "--model", str(tiny_checkpoint), "--out", str(out)]
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


def test_a_log_file_gets_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 10.0, 61.0, 100.0, 150.0])
    show = Lines("generate", clock=lambda: next(times))
    for done in (500, 520, 1_720, 2_000, 3_500):
        show(done, 40_000)
    assert capsys.readouterr().err.splitlines() == [
        "generate: 1,720 of 40,000 (4 %), 20 a second, 0:31:54 left",
        "generate: 3,500 of 40,000 (8 %), 20 a second, 0:30:25 left",
    ]


def test_two_processes_on_one_file_write_it_once(asked: Remote, ground_truth: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "p.jsonl", tmp_path / "whole.jsonl"
    answers(ground_truth, whole, asked, Parrot(), GREEDY, batch_size=2)
    refused = []

    def again(done: int, total: int) -> None:
        """While the first writes, a second process begins, with and without --overwrite."""
        for overwrite in (False, True):
            if (child := os.fork()) == 0:
                try:
                    answers(ground_truth, out, asked, Parrot(), GREEDY, batch_size=2, overwrite=overwrite)
                except InputError as error:
                    (tmp_path / "said").write_text(str(error))
                    os._exit(2)
                os._exit(0)
            refused.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    answers(ground_truth, out, asked, Parrot(), GREEDY, batch_size=2, progress=again)
    assert len(refused) > 4
    assert set(refused) == {2}
    assert "found one that another process is writing" in (tmp_path / "said").read_text()
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_part_counts_lines_without_an_answer_and_with_a_part_of_one(tmp_path: Path, ending: str) -> None:
    rows: list[dict[str, Any]] = [
        {"image_id": "a", "completion": "{}", "replies": ["x"], "left_out": {"objects": 1}},
        {"image_id": "b", "error": "no answer"},
        {"image_id": "c", "completion": "{}", "fault": "half an answer"},
    ]
    path = tmp_path / f"part-000000000{ending}"
    write_part(path, rows, 0)
    assert count_failed(path) == 2
    assert [is_failed(row) for row in rows] == [False, True, True]
