"""Two questions in a model's own tongue, through the command line: what is asked, read, dropped, kept and counted."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from r1sgg.cli import app
from r1sgg.cli.loading import announce
from r1sgg.data.predictions import ledger_of, read_predictions
from r1sgg.endpoint.remote import remote
from r1sgg.errors import ConfigError
from r1sgg.graph.dialects.registry import DIALECTS, OURS
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import parse
from r1sgg.graph.vocabulary import load_vocabulary
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.native import RELATIONSHIPS, ask_natively, read_relationships
from r1sgg.inference.reader import Reader
from r1sgg.judging.diagnosis import findings
from r1sgg.models.prompts import AnswerSettings
from r1sgg.models.registry import FAMILIES
from r1sgg.models.tongue import tongue_of

from ..endpoint.fake_server import Asked, FakeServer, Said, fails, says
from ..models.tiny_families import build_qwen2_5_vl, build_qwen2_vl

MAN, HORSE = (0.1, 0.2, 0.4, 0.9), (0.25, 0.4, 0.8, 1.0)
SIZES = ((200, 100), (300, 400))
TRIPLETS = '{"relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1"}]}'


def text_of(asked: Asked) -> str:
    return str(asked.body["messages"][-1]["content"][1]["text"])


def nearest(image: Image.Image) -> tuple[int, int]:
    """The picture that an image was made of, which may have been resized, or padded to a square."""
    if image.width == image.height:
        return min(SIZES, key=lambda size: abs(max(size) - image.width))
    return min(SIZES, key=lambda size: abs(size[0] / size[1] - image.width / image.height))


class Rider:
    """A model that sees a man on a horse, and writes their boxes in its family's tongue."""

    def __init__(self, family: str, *, more: str = "", relations: str = TRIPLETS) -> None:
        self.tongue = tongue_of(remote("m", family))
        self.more, self.relations = more, relations

    def __call__(self, asked: Asked) -> Said:
        if text_of(asked).startswith("These objects"):
            return says(self.relations)
        return says(self.objects(nearest(asked.image)))

    def objects(self, size: tuple[int, int]) -> str:
        frame = self.tongue.boxed(size)
        numbers = frame.written(np.array([MAN, HORSE])).round(3 if max(frame.size) <= 1 else 0)
        return self.tongue.asking.write(("man", "horse"), numbers.tolist()) + self.more


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = []
    for k, (width, height) in enumerate(SIZES):
        Image.new("RGB", (width, height), (90, 120, 90)).save(tmp_path / f"{k}.png")
        boxes = [[a * b for a, b in zip(box, (width, height) * 2, strict=True)] for box in (MAN, HORSE)]
        rows.append(
            {
                "image_id": str(k),
                "image": f"{k}.png",
                "width": width,
                "height": height,
                "objects": [{"id": f"{n}.1", "bbox": b} for n, b in zip(("man", "horse"), boxes, strict=True)],
                "relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1"}],
            }
        )
    (tmp_path / "gt.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "gt.jsonl"


def generate(server: FakeServer, data: Path, out: Path, model: str, *options: str, engine: str = "") -> Result:
    run = ["generate", "--images", str(data), "--out", str(out), "--model", model]
    return CliRunner().invoke(app, [*run, "--engine", f"openai:{server.url},retries=0,timeout=5{engine}", *options])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


TAUGHT = [f.name for f in FAMILIES if f.dialect and DIALECTS[f.dialect].asking and f.name != "Florence-2"]
NONE = [f.name for f in FAMILIES if not f.dialect]


@pytest.mark.parametrize("family", [*TAUGHT, "SmolVLM", "LLaVA-1.5"])
def test_every_family_s_objects_come_back_where_they_are(family: str, data: Path) -> None:
    rider = Rider(family)
    engine = Scripted(rider)
    images = [Image.new("RGB", size) for size in SIZES]
    checkpoint = remote("m", family)
    completions = ask_natively(checkpoint, engine, images, Sampling(), ["a", "b"])
    for size, completion in zip(SIZES, completions, strict=True):
        graph = parse(completion.text, checkpoint.frame(size)).graph
        assert graph.triplets == (("man", "riding", "horse"),)
        assert np.abs(graph.boxes - (MAN, HORSE)).max() < 0.011, "of a side; a pixel of the smallest picture"
        assert [exchange.dropped for exchange in completion.exchanges] == [0, 0]
        assert not any(exchange.issues for exchange in completion.exchanges)
        told = completion.exchanges[1].prompt
        assert told.startswith(RELATIONSHIPS[:20])
        assert "man.1" in told
    assert engine.tags == [rider.tongue.asking.tags, False], "special tokens are kept where they are the layout"


class Scripted:
    """An engine that answers as a server would."""

    name = "scripted"

    def __init__(self, rider: Rider) -> None:
        self.rider = rider
        self.tags: list[bool] = []

    def generate(
        self, images: Any, messages: Any, sampling: Sampling, keys: Any = None, **more: Any
    ) -> list[Completion]:
        self.tags.append(sampling.tags)
        answers = []
        for image, chat in zip(images, messages, strict=True):
            relations = chat[-1]["content"].startswith("These objects")
            text = self.rider.relations if relations else self.rider.objects(nearest(image))
            answers.append(Completion(text, 5, "stop"))
        return answers


def test_a_run_keeps_both_answers_and_counts_what_each_lost(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    relations = TRIPLETS[:-2] + ', {"subject": "man.1", "predicate": "near", "object": "dog.7"}]}'
    cups = '[{"bbox_2d": [0, 0, 90, 50], "label": "cup"}, {"bbox_2d": [0, 0, 90, 50], "label": "cup"}]'
    rider = Rider("Qwen2.5-VL", relations=relations)
    rider.objects = lambda size: cups  # type: ignore[method-assign]
    with FakeServer(rider) as server:
        result = generate(server, data, out, "qwen2.5vl:7b", "--ask", "native")
        assert result.exit_code == 0, result.output
        assert len(server.asked) == 2, "one object: no second question"
        assert [row["left_out"] for row in lines(out)] == [{"objects": 1}] * 2
        assert "completions leave out 2 objects" in result.stderr
        rider.objects = lambda size: (  # type: ignore[method-assign]
            Rider.objects(rider, size).removesuffix("\n]\n```") + ', {"bbox_2d": ["a"], "label": "hat"}]'
        )
        result = generate(server, data, out, "qwen2.5vl:7b", "--ask", "native", "--overwrite")
        assert result.exit_code == 0, result.output
    first = lines(out)[0]
    assert (first["ask"], first["left_out"]) == ("native", {"objects": 1, "relationships": 1})
    objects, then = first["exchanges"]
    assert objects["prompt"].startswith("Detect every object")
    assert then["prompt"].startswith("These objects are in the image")
    assert '"label": "man.1"' in then["prompt"], "told in the layout of the answer"
    assert "hat" in objects["reply"]
    assert [issue["kind"] for issue in objects["issues"]] == ["bad_box"]
    assert [issue["kind"] for issue in then["issues"]] == ["dangling"]
    assert (objects["dropped"], then["dropped"]) == (1, 1)
    assert parse(first["completion"], tuple(first["frame"])).graph.triplets == (("man", "riding", "horse"),)


def test_rows_of_the_table_say_how_they_were_asked_and_two_ways_are_not_mixed(data: Path, tmp_path: Path) -> None:
    native, paper = tmp_path / "native.jsonl", tmp_path / "paper.jsonl"
    with FakeServer(Rider("Qwen3-VL")) as server:
        assert generate(server, data, native, "qwen3-vl:4b", "--ask", "native").exit_code == 0
        assert generate(server, data, paper, "qwen3-vl:4b").exit_code == 0
        again = generate(server, data, native, "qwen3-vl:4b")
        assert "ask: expected a run with the same settings (None), found 'native'" in str(again.exception)
    assert "ask" not in lines(paper)[0]
    result = CliRunner().invoke(
        app, ["evaluate", str(native), str(paper), "--ground-truth", str(data), "--json", str(tmp_path / "r.json")]
    )
    assert result.exit_code == 0, result.output
    assert "native (asked" in " ".join(result.stdout.split())
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["ask"], found["R@50"]) == ("native", 1.0)
    assert found["against"][0]["result"]["ask"] == "paper"
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("".join(path.read_text().splitlines(keepends=True)[k] for k, path in enumerate((native, paper))))
    result = CliRunner().invoke(app, ["evaluate", str(mixed), "--ground-truth", str(data)])
    assert "found one of --ask paper among those of --ask native" in str(result.exception)


def test_a_cut_off_answer_is_read_up_to_its_last_whole_object(data: Path) -> None:
    for family in ("Qwen3-VL", "Qwen2-VL", "InternVL", "Gemma 4", "PaliGemma"):
        rider = Rider(family)
        whole = rider.objects(SIZES[0])
        rider.objects = lambda size, whole=whole: whole.rstrip("`\n]") + whole[:40]  # type: ignore[method-assign]
        (completion,) = ask_natively(
            remote("m", family), Scripted(rider), [Image.new("RGB", SIZES[0])], Sampling(), ["a"]
        )
        labels = parse(completion.text, remote("m", family).frame(SIZES[0])).graph.labels
        assert labels[: len(labels)] == ("man", "horse")[: len(labels)], family
        assert len(labels) >= 1, family


def test_what_cannot_be_read_stays_as_it_was_written_and_is_a_failure(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    with FakeServer(lambda asked: says("I see a man on a horse.")) as server:
        assert generate(server, data, out, "qwen3-vl:4b", "--ask", "native").exit_code == 0
    (row, _) = lines(out)
    assert row["completion"] == "I see a man on a horse."
    assert parse(row["completion"], (1000, 1000)).failure == "no_json"
    assert [issue["kind"] for issue in row["exchanges"][0]["issues"]] == ["no_json"]


def test_a_guide_holds_both_answers_where_the_server_takes_a_schema(data: Path, tmp_path: Path) -> None:
    def answer(asked: Asked) -> Said:
        if asked.schema and "relationships" in asked.schema:
            return says(TRIPLETS)
        return says('{"objects": [{"bbox_2d": [100, 200, 400, 900], "label": "man"}, '
                    '{"bbox_2d": [250, 400, 800, 1000], "label": "horse"}]}')  # fmt: skip

    out = tmp_path / "p.jsonl"
    with FakeServer(answer) as server:
        options = ("--ask", "native", "--guide", "--vocabulary", "vg150")
        result = generate(server, data, out, "qwen3-vl:4b", *options, engine=",server=vllm,concurrency=1")
        assert result.exit_code == 0, result.output
        first, *_, last = server.asked
    row = first.schema["objects"]["items"]["properties"]  # type: ignore[index]
    assert list(row) == ["bbox_2d", "label"]
    assert "airplane" in row["label"]["enum"]
    assert last.schema is not None
    ends = last.schema["relationships"]["items"]["properties"]
    assert ends["subject"]["enum"] == ["man.1", "horse.1"]
    assert "riding" in ends["predicate"]["enum"]
    assert "Locate every instance" in text_of(first)
    for row, size in zip(lines(out), SIZES, strict=True):
        graph = parse(row["completion"], tuple(row["frame"])).graph
        assert graph.triplets == (("man", "riding", "horse"),), size
        assert np.abs(graph.boxes - (MAN, HORSE)).max() < 0.001


@pytest.mark.parametrize(
    ("second", "kind", "dropped"),
    [
        ("I'm sorry, I can't help with that.", "no_json", 0),
        ('"hello"', "wrong_schema", 0),
        ('[["man.1", "riding", "horse.1"]]', "other_key", 1),
        ('{"relationships": [{"subject": "man.1", "predicate": "near", "object": "cat.9"}]}', "dangling", 1),
    ],
)
def test_a_guided_second_answer_that_the_server_did_not_hold_says_what_was_wrong(
    data: Path, tmp_path: Path, second: str, kind: str, dropped: int
) -> None:
    out = tmp_path / "p.jsonl"
    with FakeServer(Rider("Qwen3-VL", relations=second)) as server:
        options = ("--ask", "native", "--guide")
        assert generate(server, data, out, "qwen3-vl:4b", *options, engine=",server=vllm").exit_code == 0
    for row in lines(out):
        graph = parse(row["completion"], tuple(row["frame"])).graph
        assert (graph.labels, graph.triplets) == (("man", "horse"), ())
        answer = row["exchanges"][1]
        assert (answer["reply"], [issue["kind"] for issue in answer["issues"]]) == (second, [kind])
        assert answer["dropped"] == row["left_out"]["relationships"] == dropped


def predict(server: FakeServer, images: list[Path], out: Path, *options: str, model: str = "qwen3-vl:4b") -> Result:
    run = ["predict", *map(str, images), "--out", str(out), "--model", model, "--ask", "native"]
    return CliRunner().invoke(app, [*run, "--engine", f"openai:{server.url},retries=0,timeout=5", *options])


UNREAD = "100 % of the completions have objects alone, because the second answer, for relationships, is missing or"


def test_refused_second_answers_are_a_finding_and_issues_of_the_record(data: Path, tmp_path: Path) -> None:
    out, image = tmp_path / "graphs", data.parent / "0.png"
    with FakeServer(Rider("Qwen3-VL", relations="I'm sorry, I can't help with that.")) as server:
        result = predict(server, [image], out)
        assert result.exit_code == 0, result.output
        made = generate(server, data, tmp_path / "p.jsonl", "qwen3-vl:4b", "--ask", "native")
    for name, said in ((out, result.stderr), (tmp_path / "p.jsonl", made.stderr)):
        assert f"{name}: {UNREAD} unreadable (first in image 0: no_json: " in said
    record = json.loads((out / "0.json").read_text())
    assert [thing["id"] for thing in record["objects"]] == ["man.1", "horse.1"]
    assert (record["failure"], [issue["kind"] for issue in record["issues"]]) == (None, ["no_json"])
    assert [exchange["read"] for exchange in record["exchanges"]] == [True, False]
    (finding,) = findings(ledger_of(read_predictions(tmp_path / "p.jsonl", OURS)))
    assert (finding.kind, finding.share) == ("unread", 1.0)


def test_a_list_of_no_relationships_is_an_answer_and_nothing_is_said(data: Path, tmp_path: Path) -> None:
    rider = Rider("Qwen3-VL", relations='{"relationships": []}')
    whole = rider.objects
    rider.objects = lambda size: whole(size).rstrip("`\n]")  # type: ignore[method-assign]  # read up to its last object
    with FakeServer(rider) as server:
        result = predict(server, [data.parent / "0.png"], tmp_path / "graphs")
    assert result.exit_code == 0, result.output
    assert "second answer" not in result.stderr
    record = json.loads((tmp_path / "graphs/0.json").read_text())
    assert [exchange["read"] for exchange in record["exchanges"]] == [True, True]


class Failing(Rider):
    """A rider whose server has an error for the second question, while it is `broken`."""

    broken = True

    def __call__(self, asked: Asked) -> Said:
        if self.broken and text_of(asked).startswith("These objects"):
            return fails(400, "out of memory")
        return super().__call__(asked)


def test_objects_are_kept_where_the_second_question_fails_and_a_repeated_run_asks_again(
    data: Path, tmp_path: Path
) -> None:
    out, lined, image = tmp_path / "graphs", tmp_path / "p.jsonl", data.parent / "0.png"
    rider = Failing("Qwen3-VL")
    with FakeServer(rider) as server:
        result = predict(server, [image], out)
        assert result.exit_code == 1, result.output
        assert f"{image}: the question for relationships got no answer, only that for objects did: " in result.stderr
        assert "out of memory" in result.stderr
        assert "1 image, 1 failed" in result.stdout
        record = json.loads((out / "0.json").read_text())
        assert [thing["id"] for thing in record["objects"]] == ["man.1", "horse.1"]
        assert "out of memory" in record["fault"]
        assert (out / "0.overlay.png").is_file()
        result = generate(server, data, lined, "qwen3-vl:4b", "--ask", "native")
        assert result.exit_code == 1, result.output
        assert "2 images; 2 failed" in result.stdout
        assert f"{UNREAD} unreadable (first in image 0: the question for relationships got no answer" in result.stderr
        for row in lines(lined):
            assert "out of memory" in row["fault"]
            assert parse(row["completion"], tuple(row["frame"])).graph.labels == ("man", "horse")
        rider.broken = False
        result = predict(server, [image], out)
        assert (result.exit_code, "from an earlier run" in result.stdout) == (0, False), result.output
        assert generate(server, data, lined, "qwen3-vl:4b", "--ask", "native").exit_code == 0
    for row in (json.loads((out / "0.json").read_text()), *lines(lined)):
        assert "fault" not in row
        assert '"riding"' in row["completion"]


def test_a_record_that_somebody_broke_is_made_again(data: Path, tmp_path: Path) -> None:
    out, image = tmp_path / "graphs", data.parent / "0.png"
    with FakeServer(Rider("Qwen3-VL")) as server:
        assert predict(server, [image], out).exit_code == 0
        record = json.loads((out / "0.json").read_text())
        assert "from an earlier run" in predict(server, [image], out).stdout
        broken: list[Any] = [{**record, key: value} for key, value in BROKEN]
        broken += [{k: v for k, v in record.items() if k != "failure"}, [], None, {"image": record["image"]}]
        for row in broken:
            (out / "0.json").write_text(json.dumps(row))
            result = predict(server, [image], out)
            assert result.exit_code == 0, (row, result.output)
            assert json.loads((out / "0.json").read_text()) == record
        (out / ".predict.run").write_text('{"settings": 3}')
        result = predict(server, [image], out)
    assert ".predict.run: expected the settings of a run, found other JSON" in str(result.exception)


BROKEN = [
    ("frame", "x"),
    ("frame", [0, 0]),
    ("completion", None),
    ("objects", 5),
    ("objects", [{"id": 3}]),
    ("objects", []),  # relationships refer to them
    ("relationships", [{}]),
    ("exchanges", 7),
    ("left_out", [1]),
]


def test_names_of_files_and_relations_are_printed_as_they_are(data: Path, tmp_path: Path) -> None:
    """Not as the markup of the terminal's table, and also where they are no text in UTF-8."""
    names = ["[red]a[bold].png", os.fsdecode(b"\xff\xfe.png")]
    for name in names:
        (tmp_path / name).write_bytes((data.parent / "0.png").read_bytes())
    rider = Rider("Qwen3-VL", relations=TRIPLETS.replace("riding", "[/red] on"))
    with FakeServer(rider) as server:
        result = predict(server, [tmp_path / name for name in names], tmp_path / "graphs")
    assert result.exit_code == 0, result.output
    for said in (names[0], r"\udcff\udcfe.png", "man [/red] on horse"):
        assert said in result.stdout


def test_a_number_that_no_file_can_hold_is_refused_before_anything_is_asked(data: Path, tmp_path: Path) -> None:
    with FakeServer(Rider("Qwen3-VL")) as server:
        result = predict(server, [data.parent / "0.png"], tmp_path / "graphs", "--seed", str(2**63))
        assert f"--seed: expected a number below 2^63, found {2**63}" in str(result.exception)
        assert not server.asked


def test_a_pipe_is_no_image_file_and_nobody_waits_for_it(data: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with FakeServer(Rider("Qwen3-VL")) as server:
        result = predict(server, [tmp_path / "pipe.png", data.parent / "0.png"], tmp_path / "graphs")
    assert result.exit_code == 1
    assert "pipe.png: expected an image file, found a pipe or a device; save it to a file first" in result.stderr
    assert (tmp_path / "graphs/0.json").is_file()


def test_python_logs_that_only_objects_were_answered(caplog: pytest.LogCaptureFixture) -> None:
    engine = Scripted(Rider("Qwen3-VL"))
    whole = engine.generate

    def generate(*arguments: Any, **more: Any) -> list[Completion]:
        answers = whole(*arguments, **more)
        return answers if len(engine.tags) == 1 else [Completion("", 0, "error", error="the server is gone")]

    engine.generate = generate  # type: ignore[method-assign]
    reading = Reader(remote("m", "Qwen3-VL"), engine, ask="native").read(Image.new("RGB", SIZES[0]))
    assert reading.graph.labels == ("man", "horse")
    assert reading.unread == (
        "the question for relationships got no answer, only that for objects did: the server is gone"
    )
    assert reading.unread in caplog.text


def test_samples_keep_their_answers_in_a_record_and_say_which_have_none(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "graphs"
    rider = Rider("Qwen3-VL")
    with FakeServer(lambda asked: fails(400, "too hot") if asked.number == 2 else rider(asked)) as server:
        result = predict(server, [data.parent / "0.png"], out, "--samples", "2", "--temperature", "1")
    assert result.exit_code == 1, result.output
    record = json.loads((out / "0.json").read_text())
    assert record["fault"].startswith("1 of 2 samples got no answer: ")
    assert (record["ask"], len(record["exchanges"])) == ("native", 2)
    assert record["relationships"][0]["predicate"] == "riding"


def test_options_that_native_questions_do_not_have_are_refused_and_their_names_are_not(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.txt").write_text("What is there?")
    rider = Rider("Qwen3-VL")
    with FakeServer(rider) as server:
        for options, named in (
            (("--think",), "--think: expected --ask paper too"),
            (("--no-think", "--prompt", "open"), "--no-think: expected"),
            (("--think", "--answer-format", "json"), "--think and --answer-format: expected"),
            (("--prompt", str(tmp_path / "own.txt")), "--prompt FILE: expected"),
            (("--prompt", "column:question"), "--prompt column:NAME: expected"),
        ):
            result = generate(server, data, tmp_path / "p.jsonl", "qwen3-vl:4b", "--ask", "native", *options)
            assert isinstance(result.exception, ConfigError), result.output
            assert str(result.exception).startswith(named)
        assert not server.asked
        for prompt, listed in (("open", False), ("closed", True)):
            out = tmp_path / f"{prompt}.jsonl"
            result = generate(server, data, out, "qwen3-vl:4b", "--ask", "native", "--prompt", prompt)
            assert result.exit_code == 0, result.output
            assert "prompt" not in result.stderr
            assert ("airplane" in lines(out)[0]["exchanges"][0]["prompt"]) is listed


def test_a_checkpoint_trained_with_a_prompt_says_that_it_is_not_asked_it(capsys: pytest.CaptureFixture[str]) -> None:
    plain = remote("m", "Qwen3-VL")
    trained = dataclasses.replace(plain, settings=AnswerSettings(think=True, column="prompt_close"))
    announce(plain, "native")
    announce(trained, "paper")
    assert capsys.readouterr().err == ""
    announce(trained, "native")
    said = "m: was trained with another prompt, which native questions leave out; --ask paper asks that prompt"
    assert capsys.readouterr().err == f"{said}\n"


def test_a_family_that_was_taught_no_layout_is_asked_for_json_and_that_is_said(data: Path, tmp_path: Path) -> None:
    with FakeServer(Rider("SmolVLM")) as server:
        result = generate(server, data, tmp_path / "p.jsonl", "smolvlm2-500m", "--ask", "native")
        assert result.exit_code == 0, result.output
        asked = text_of(server.asked[0])
    assert "SmolVLM was taught no layout of boxes that r1sgg knows; asked for JSON with boxes from 0 to 1000" in (
        " ".join(result.stderr.split())
    )
    assert asked.endswith("x runs from 0 to 1000, y from 0 to 1000, in integers.")


def test_several_samples_are_merged_and_given_objects_are_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    with FakeServer(Rider("Qwen3-VL")) as server:
        options = ("--ask", "native", "--samples", "2", "--temperature", "1")
        assert generate(server, data, out, "qwen3-vl:4b", *options).exit_code == 0
        assert len(server.asked) == 8
        refused = generate(server, data, tmp_path / "q.jsonl", "qwen3-vl:4b", "--ask", "native", "--task", "predcls")
    assert "task predcls: expected --ask paper" in str(refused.exception)
    assert len(lines(out)[0]["exchanges"]) == 4
    assert lines(out)[0]["relationships"][0]["predicate"] == "riding"
    wrong = CliRunner().invoke(app, ["predict", "a.png", "--out", str(out.parent / "o"), "--ask", "x"])
    assert "--ask: expected paper or native, found 'x'" in str(wrong.exception)


ON = ("man", "on", "horse")


@pytest.mark.parametrize(
    ("text", "triplets", "kinds", "lost"),
    [
        ('{"relationships": [{"subject": "man.1", "predicate": "on", "object": "horse.1"}]}', [ON], [], 0),
        ('```json\n[{"subject": "man.1", "predicate": "on", "object": "horse.1"}]\n```', [ON], ["other_key"], 0),
        ('[["man.1", "on", "horse.1"]]', [ON], ["other_key"], 0),
        ('{"relationships": []}', [], [], 0),
        (
            '{"relationships": [{"subject": "man.1", "predicate": "on", "object": "horse.1"}, {"su',
            [ON],
            ["truncated"],
            0,
        ),
        ('{"relationships": [{"subject": "man.1", "predicate": "on", "object": "dog.1"}]}', [], ["dangling"], 1),
        (
            '{"objects": [{"id": "horse.1", "bbox": [1, 2, 3, 4]}, {"id": "man.1", "bbox": [1, 2, 3, 4]}, '
            '{"id": "dog.1", "bbox": [1, 2, 3, 4]}], "relationships": [{"subject": "man.1", "predicate": "on", '
            '"object": "horse.1"}, {"subject": "dog.1", "predicate": "near", "object": "man.1"}]}',
            [ON],
            ["dangling"],
            1,
        ),
        ("There are none.", [], ["no_json"], 0),
        ("[1, 2]", [], ["wrong_schema"], 0),
        ("", [], ["no_json"], 0),
    ],
)
def test_the_second_answer_is_read_in_every_shape_that_models_give_it(
    text: str, triplets: list[tuple[str, str, str]], kinds: list[str], lost: int
) -> None:
    named = SceneGraph(("man.1", "horse.1"), ("man", "horse"), np.array([MAN, HORSE]))
    graph, issues, dropped = read_relationships(text, named, (1000, 1000))
    assert list(graph.triplets) == triplets
    assert [issue.kind for issue in issues] == kinds
    assert dropped == lost
    assert np.array_equal(graph.boxes, named.boxes), "objects are those of the first answer"


def test_a_reader_asks_natively_and_streams_the_whole_answer() -> None:
    reader = Reader(remote("m", "Qwen3-VL"), Scripted(Rider("Qwen3-VL")), ask="native")
    (reading,) = reader.stream(Image.new("RGB", SIZES[0]))
    assert reading.graph.triplets == (("man", "riding", "horse"),)
    record = reading.to_record("a", Path("a.png"), "m")
    assert record["ask"] == "native"
    assert len(record["exchanges"]) == 2


@pytest.mark.parametrize("build", [build_qwen2_5_vl, build_qwen2_vl])
def test_transformers_is_guided_in_the_family_s_layout_and_then_to_its_objects(
    build: Callable[[Path], Path], data: Path, tmp_path: Path
) -> None:
    """Random weights: what they write is noise, but where the layout is JSON it is a list, and then a graph of it."""
    path, out = build(tmp_path / "model"), tmp_path / "p.jsonl"
    run = ["generate", "--images", str(data), "--out", str(out), "--model", str(path), "--device", "cpu"]
    options = ["--ask", "native", "--guide", "--vocabulary", "vg150", "--max-new-tokens", "500", "--threads", "1"]
    result = CliRunner().invoke(app, [*run, *options])
    assert result.exit_code == 0, result.output
    for row in lines(out):
        first, *second = row["exchanges"]
        if build is build_qwen2_vl:  # tags, which no guide writes: noise, and so a failure that is counted
            assert first["issues"]
            continue
        assert first["reply"].startswith('```json\n[\n\t{"bbox_2d": [')
        assert not first["issues"] or {issue["kind"] for issue in first["issues"]} <= {"duplicate_id"}
        parsed = parse(row["completion"], tuple(row["frame"]))
        assert not parsed.failure
        assert set(parsed.graph.labels) <= set(load_vocabulary("vg150").objects)
        assert len(parsed.graph) == len(json.loads(row["completion"])["objects"])
        if second:
            assert "scores" in row
            assert set(parsed.graph.predicates) <= set(load_vocabulary("vg150").predicates)
