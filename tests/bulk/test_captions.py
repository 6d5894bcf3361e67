"""Captions to graphs by a language model: a scripted server, recorded answers, and what goes wrong with both."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from r1sgg.bulk.captions import Job, make, said_by
from r1sgg.cli import app
from r1sgg.data.base import Example, read_ground_truth
from r1sgg.data.captions.answers import KeptAnswers
from r1sgg.data.captions.asking import Answer, Question, box_of_row, rows_of_answer, triplet_of_row
from r1sgg.data.captions.plan import Plan
from r1sgg.data.captions.provenance import KEY
from r1sgg.data.captions.run import Parts
from r1sgg.errors import ConfigError, InputError, ModelError

from ..endpoint.fake_server import Asked, FakeServer, Said, fails, says
from .test_ray import STARTS

BOXES = [
    {"name": "man", "bbox": [0, 0, 30, 60]}, {"name": "man", "bbox": [60, 0, 90, 60]},
    {"name": "horse", "bbox": [5, 30, 60, 79]},
]  # fmt: skip
SIZE = {"width": 100, "height": 80}
ROWS = [
    {"image_id": "a", "image": "a.png", "captions": ["A guy rides a mare.", "two men"], "boxes": BOXES, **SIZE},
    {"image_id": "b", "image": "b.png", "captions": ["A horse."], "boxes": BOXES[1:], **SIZE},
]  # fmt: skip


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    for name in "ab":
        Image.new("RGB", (100, 80), (ord(name), 0, 0)).save(tmp_path / f"{name}.png")
    return path


def text_of(asked: Asked) -> str:
    content = asked.body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def triplets(*rows: tuple[int, str, str, str]) -> Said:
    fields = ("caption", "subject", "predicate", "object")
    return says(json.dumps({"triplets": [dict(zip(fields, row, strict=True)) for row in rows]}))


def scripted(asked: Asked) -> Said:
    """A model that does all three steps well."""
    text = text_of(asked)
    if text.startswith("For each name"):
        targets = {"guy": "man", "mare": "horse", "mount": "riding", "rider": "man"}
        names = text.split("Names:\n")[1].split("\n\n")[0].split("\n")
        return says(json.dumps({"names": [{"name": n, "class": targets.get(n, "none")} for n in names]}))
    if text.startswith("Find the named"):
        boxes = [{"label": "guy", "bbox_2d": [0, 0, 300, 750]}, {"label": "mare", "bbox_2d": [50, 400, 600, 990]}]
        return says(f"```json\n{json.dumps({'boxes': boxes})}\n```")
    if "man.1" in text or "horse.1:" in text:
        return triplets((1, "man.1", "riding", "horse.1"), (1, "man.9", "near", "horse.1"))
    if "guy" not in text:
        return triplets()
    if text.startswith("Work in two steps"):
        return triplets((1, "rider", "mount", "mare"))
    return triplets((1, "guy", "mount", "mare"))


def call(server: FakeServer, captions: Path, out: Path, *more: str, options: str = "") -> Result:
    engine = f"openai:{server.url},retries=0,timeout=5,family=0-1000{options}"
    command = ["data", "captions", str(captions), "--out", str(out), "--model", "m", "--leak", "none"]
    return CliRunner().invoke(app, [*command, *(part.replace("ENGINE", engine) for part in more)])


def graphs(path: Path) -> list[Example]:
    return list(read_ground_truth(path))


ALL = ("--extract", "ENGINE", "--align", "ENGINE", "--vocabulary", "vg150")


def test_captions_and_paraphrases_are_extracted_and_aligned(captions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with FakeServer(scripted) as server:
        result = call(server, captions, out, *ALL, "--recipe", "paraphrase")
        assert result.exit_code == 0, result.output
        first, second = graphs(out)
        assert set(first.graph.triplets) == {("man", "riding", "horse")}
        assert second.graph.pairs == ()
        (row,) = first.meta[KEY]["triplets"]
        assert (row["captions"], row["step"], row["said"][1]) == ([0], "engine", "mount")
        assert row["aligned"][1].startswith("openai:")
        assert first.meta[KEY]["counts"]["triplets dropped: said before"] == 1  # the paraphrase says it again
        asked = len(server.asked)
        assert asked == 2 * 2 + 2  # a caption and its paraphrase for each image, nouns and predicates once
        schemas = [a.body["response_format"]["json_schema"]["schema"]["properties"] for a in server.asked]
        assert {tuple(schema) for schema in schemas} == {("triplets",), ("paraphrases", "triplets"), ("names",)}
        targets = [s["names"]["items"]["properties"]["class"]["enum"] for s in schemas if "names" in s]
        assert {len(enum) for enum in targets} == {151, 51}
        before = out.read_bytes()
        again = call(server, captions, out, *ALL, "--recipe", "paraphrase", "--overwrite")
        assert again.exit_code == 0
        assert len(server.asked) == asked  # every answer was kept
        assert out.read_bytes() == before


def test_given_objects_are_named_by_their_ids(captions: Path, tmp_path: Path) -> None:
    with FakeServer(scripted) as server:
        result = call(server, captions, tmp_path / "out.jsonl", "--extract", "ENGINE", "--recipe", "objects")
        text = text_of(server.asked[0])
    assert result.exit_code == 0, result.output
    assert "horse.1: [5, 30, 60, 79]" in text
    first, second = graphs(tmp_path / "out.jsonl")
    ((s, o),) = first.graph.pairs
    assert first.graph.labels[s] == "man"
    # the largest object has the first id of its class: of two equal men the first
    assert first.pixel_boxes[[s, o]].tolist() == [[0, 0, 30, 60], [5, 30, 60, 79]]
    assert first.meta[KEY]["counts"]["triplets of answers that could not be used"] == 1  # man.9
    assert len(second.graph.pairs) == 1


def test_a_model_grounds_the_phrases_of_rules(captions: Path, tmp_path: Path) -> None:
    with FakeServer(scripted) as server:
        result = call(
            server, captions, tmp_path / "out.jsonl", "--extract", "rules:plain", "--ground", "ENGINE",
        )  # fmt: skip
        shown = [a for a in server.asked if not isinstance(a.body["messages"][-1]["content"], str)]
        assert [a.image.size for a in shown] == [(100, 80)] * 2
        assert sum("guy" in text_of(a) for a in shown) == 1, "two requests at a time: either may be the first"
    assert result.exit_code == 0, result.output
    first = graphs(tmp_path / "out.jsonl")[0]
    assert set(first.graph.triplets) == {("guy", "riding", "mare")}
    assert first.pixel_boxes.tolist() == [[0, 0, 30, 60], [5, 32, 60, 79.2]]  # thousandths of 100 x 80


def test_a_model_looks_at_the_image(captions: Path, tmp_path: Path) -> None:
    with FakeServer(scripted) as server:
        result = call(
            server, captions, tmp_path / "out.jsonl", "--extract", "ENGINE", "--recipe", "image", "--ground", "ENGINE",
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    (example,) = graphs(tmp_path / "out.jsonl")
    assert set(example.graph.triplets) == {("guy", "mount", "mare")}
    assert example.meta[KEY]["triplets"][0]["step"] == "engine, image"


# ---------------------------------------------------------------- what goes wrong

REFUSAL = says(None, message={"refusal": "I can't help with that"})
CUT = says('{"triplets": [{"caption": 1, "sub', finish="length")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says("I am sorry, but I cannot see images."), "expected JSON"),
        (says(""), "expected JSON"),
        (says('{"triplets": "none"}'), "expected JSON"),
        (says('{"triplets": [{"caption": 1, "subject": "man"'), "expected JSON"),
        (CUT, "cut off"),
        (REFUSAL, "refused"),
        (fails(500, "overloaded"), "overloaded"),
        (Said(b"<html>"), "expected"),
        (Said(hangs=True), "no response within"),
        (Said(b'{"choices": []}', drips=0.2), "complete within"),
    ],
    ids=lambda value: None if isinstance(value, Said) else str(value),
)
def test_a_failed_answer_is_named_and_the_other_image_is_made(
    captions: Path, tmp_path: Path, answer: Said, said: str
) -> None:
    def half(asked: Asked) -> Said:
        return answer if "guy" in text_of(asked) else triplets((1, "horse", "near", "man"))

    out = tmp_path / "out.jsonl"
    with FakeServer(half) as server:
        options = ",timeout=0.6" if answer.hangs or answer.drips else ""
        result = call(server, captions, out, "--extract", "ENGINE", options=options)
        assert result.exit_code == 1, result.output
        assert "image a: " in result.output
        assert said in " ".join(result.output.split())
        bad, good = graphs(out)
        assert bad.meta[KEY]["counts"]["answers that could not be used"] == 1
        assert set(good.graph.triplets) == {("horse", "near", "man")}
        server.answer = scripted
        again = call(server, captions, out, "--extract", "ENGINE", "--overwrite")
        kept = {"refused", "no response within", "complete within", "overloaded", "expected", "cut off"}
        # what the server failed to answer is asked again; what it did answer is kept, so that a run can be repeated
        assert (again.exit_code == 0) == (said in kept)


def test_invalid_rows_are_counted_and_the_others_used(captions: Path, tmp_path: Path) -> None:
    rows: list[Any] = [
        {"caption": 1, "subject": "man", "predicate": "riding", "object": "horse"},
        {"caption": 9, "subject": "man", "predicate": "riding", "object": "horse"},
        {"caption": 1, "subject": "man", "predicate": "", "object": "horse"},
        {"caption": 1, "subject": ["man"], "predicate": "on", "object": "horse"},
        "man on horse",
        {"subject": "man", "predicate": "near", "object": "horse"},
    ]
    answer = says(f"Sure! {json.dumps({'triplets': rows})} Anything else?")
    with FakeServer(lambda asked: answer) as server:
        result = call(server, captions, tmp_path / "out.jsonl", "--extract", "ENGINE")
    assert result.exit_code == 0, result.output
    first = graphs(tmp_path / "out.jsonl")[0]
    assert set(first.graph.predicates) == {"riding", "near"}
    assert first.meta[KEY]["counts"]["triplets of answers that could not be used"] == 4


def test_alignment_takes_the_name_and_only_from_the_list(captions: Path, tmp_path: Path) -> None:
    def answers(asked: Asked) -> Said:
        if not text_of(asked).startswith("For each name"):
            return triplets((1, "wombat", "frobbing", "quokka"), (1, "man", "near", "yak"))
        rows = [
            {"name": "Wombat", "class": "Dog"}, {"name": "quokka", "class": "unicorn"},
            {"name": "frobbing", "class": "12. on"}, {"name": "other", "class": "cat"},
        ]  # fmt: skip
        return says(json.dumps({"names": rows}))

    with FakeServer(answers) as server:
        result = call(server, captions, tmp_path / "out.jsonl", *ALL)
    assert result.exit_code == 1  # yak was not answered
    assert "1 of 3 object names are missing in an answer" in " ".join(result.output.split())
    counts = [e.meta[KEY]["counts"] for e in graphs(tmp_path / "out.jsonl")]
    assert all(c["triplets dropped: subject or object not in vocabulary"] == 2 for c in counts)


def test_a_server_that_refuses_the_key_stops_the_run_and_parts_are_kept(captions: Path, tmp_path: Path) -> None:
    with FakeServer(lambda asked: fails(401, "no key")) as server:
        result = call(server, captions, tmp_path / "out.jsonl", "--extract", "ENGINE")
    assert isinstance(result.exception, ModelError)
    assert not (tmp_path / "out.jsonl").exists()


def test_an_engine_that_does_not_exist_is_one_sentence(captions: Path) -> None:
    for options in ({"extract": "gpt"}, {"align": "gpt"}, {"ground": "nowhere.jsonl"}):
        with pytest.raises(ConfigError, match="hf, vllm, openai"):
            Job(Plan(captions, "jsonl", **options))  # type: ignore[arg-type]


# ---------------------------------------------------------------- kept answers


class Recorded:
    """Answers from a table, and counts."""

    name = "recorded"

    def __init__(self, answer: Callable[[Question], Answer]) -> None:
        self.answer = answer
        self.asked: list[Question] = []

    def frame(self, size: tuple[int, int]) -> tuple[float, float]:
        return 1000.0, 1000.0

    def ask(self, questions: Any) -> list[Answer]:
        self.asked += questions
        return [self.answer(question) for question in questions]


def test_kept_answers_are_of_an_engine_with_the_options_that_decide_what_it_says() -> None:
    asked = "openai:http://127.0.0.1:9/v1"
    same = [said_by(f"{asked}{more}") for more in ("", ",timeout=9", ",retries=1,concurrency=2,prices=1/2,budget=3")]
    assert same == [asked] * 3
    assert said_by(f"{asked},extra.seed=4,timeout=9") == f"{asked},extra.seed=4"
    assert said_by("hf") == "hf"
    assert said_by("vllm:max_model_len=512") == "vllm:max_model_len=512"


def test_answers_are_kept_by_what_was_asked_and_failures_are_not(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    inner = Recorded(lambda q: Answer(error="busy") if q.text == "c" else Answer(f"to {q.text}"))
    questions = [Question(text, {}) for text in "abca"]
    first = KeptAnswers(inner, path).ask(questions)
    assert [a.text for a in first] == ["to a", "to b", "", "to a"]
    assert [q.text for q in inner.asked] == ["a", "b", "c"]
    with path.open("ab") as handle:
        handle.write(b'{"key": "torn by a kill')
    kept = KeptAnswers(inner, path)
    inner.asked.clear()
    assert [a.text for a in kept.ask(questions[:2])] == ["to a", "to b"]
    assert inner.asked == []
    kept.ask([Question("a", {"another": "schema"}), questions[2]])
    assert [q.text for q in inner.asked] == ["a", "c"]
    assert path.read_bytes().count(b"\n") == 3
    path.write_text('{"key": 3, "answer": "x"}\n')
    with pytest.raises(InputError, match="kept answer"):
        KeptAnswers(inner, path)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('{"boxes": [1]}', [1]), ('[{"label": "a"}]', [{"label": "a"}]), ('```json\n[2]\n```', [2]), ("{}", None),
        ("[", None), ('{"other": []}', None), ("no", None), ('text {"boxes": []} text', []), ("[]", []),
    ],
)  # fmt: skip
def test_answers_in_json_with_words_around_them(text: str, rows: list[Any] | None) -> None:
    found = rows_of_answer(Answer(text), "boxes")
    assert found == rows if rows is not None else isinstance(found, str)
    assert rows_of_answer(Answer(error="why"), "boxes") == "why"


def test_rows_of_boxes_in_several_dialects() -> None:
    for row in ({"label": "Man", "bbox_2d": [0, 0, 500, 500]}, {"name": "man", "bbox": [0, 0, 500, 500]}):
        assert box_of_row(row, (1000, 1000), (100, 40)) == ("man", (0, 0, 50, 20))
    for row in (
        {"label": "x", "bbox_2d": [5, 5, 1, 1]},
        {"label": "x", "bbox": ["1", 2, 3, 4]},
        {"bbox": [0, 0, 1, 1]},
        3,
    ):
        assert box_of_row(row, (1000, 1000), (100, 40)) is None
    assert triplet_of_row({"subject": "a" * 99, "predicate": "on", "object": "b"}, 1) is None


# ---------------------------------------------------------------- the other engines, and many processes


def test_the_transformers_engine_answers_with_and_without_an_image(captions: Path, tmp_path: Path) -> None:
    """The embedded model knows nothing of captions: what counts is that it is asked, and that junk is named."""
    for recipe in ("caption", "image"):
        plan = Plan(captions, "jsonl", extract="hf", recipe=recipe)  # type: ignore[arg-type]
        result = make(Job(plan, "tiny", 24), tmp_path / f"{recipe}.jsonl")
        assert result.counts["answers that could not be used"] == 2
        assert "JSON" in result.notes.first[0] or "cut off" in result.notes.first[0]


RAY = """
import sys
from pathlib import Path
from r1sgg.bulk.captions import Job, make
from r1sgg.data.captions.plan import Plan

job = Job(Plan(Path(sys.argv[1]), "jsonl", extract="rules:plain"))
result = make(job, Path(sys.argv[2]), ray="local", workers=2, part_size=3)
print(result.parts, result.kept, result.counts["records skipped"])
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_cluster_makes_the_same_file_and_keeps_parts(captions: Path, tmp_path: Path) -> None:
    lines = [json.dumps({**ROWS[0], "image_id": str(k), "captions": [f"A man rides a horse {k}."]}) for k in range(9)]
    captions.write_text("\n".join([*lines[:4], "", "no json", *lines[4:]]) + "\n")
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    job = Job(Plan(captions, "jsonl", extract="rules:plain"))
    make(job, here, part_size=3)
    parts = Parts(there, {**job.settings, "part_size": 3}, overwrite=False)  # a run that was killed after one part
    parts.finished()
    parts.write(0, job.open().make(list(itertools.islice(job.plan.records(), 3)), tmp_path))
    command = [sys.executable, "-W", "ignore", "-c", RAY, str(captions), str(there)]
    for _ in range(STARTS):
        done = subprocess.run(command, capture_output=True, text=True)
        if "timed out during startup" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4", "1", "1"]
    assert there.read_bytes() == here.read_bytes()


def test_a_cluster_reads_lines_only(captions: Path, tmp_path: Path) -> None:
    regions = Plan(captions, "vg-regions", extract="rules:plain", ground="whole")
    with pytest.raises(ConfigError, match="--ray"):
        make(Job(regions), tmp_path / "x.jsonl", ray="local")
