"""The diagnostic record: its credits add up to the scores, and every fate has its reason."""

import gzip
import json
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from r1sgg.cli import PARTLY_FAILED, app
from r1sgg.errors import InputError
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import render
from r1sgg.judging.labels import load_similarity
from r1sgg.rewards.explain import explain_completion
from r1sgg.rewards.rubric import Rubric

FRAME = (1000.0, 1000.0)
GLOVE = load_similarity("glove")
BOXES = ((0.1, 0.1, 0.3, 0.5), (0.1, 0.3, 0.5, 0.7), (0.6, 0.6, 0.9, 0.9))
TRUTH = {
    "image_id": "7",
    "width": 1000,
    "height": 1000,
    "objects": [
        {"id": "man.1", "bbox": [100, 100, 300, 500]},
        {"id": "bike.1", "bbox": [100, 300, 500, 700]},
        {"id": "dog.1", "bbox": [600, 600, 900, 900]},
    ],
    "relationships": [
        {"subject": "man.1", "predicate": "riding", "object": "bike.1"},
        {"subject": "dog.1", "predicate": "near", "object": "bike.1"},
    ],
}


def scene(labels: tuple[str, ...], *triplets: tuple[int, str, int]) -> SceneGraph:
    objects = [SceneObject(f"{n}.{k}", n, b) for k, (n, b) in enumerate(zip(labels, BOXES, strict=True))]
    return SceneGraph.build(objects, [Relationship(s, p, o) for s, p, o in triplets])


def case(**changes: object) -> dict[str, object]:
    completion = json.dumps({k: TRUTH[k] for k in ("objects", "relationships")})
    return {**TRUTH, "completion": completion, "frame": [1000, 1000], **changes}


def test_credits_add_up_to_the_scores(cases: list) -> None:
    rubric = Rubric(similarity=GLOVE)
    chosen = [c for c in cases if c.row["category"] in ("mixture", "jitter_large", "truncated")][:40]
    scores = rubric.score([c.text for c in chosen], [c.truth for c in chosen], [c.frame for c in chosen])
    assert chosen
    for c, score in zip(chosen, scores, strict=True):
        told = explain_completion(rubric, c.text, c.truth, c.frame)
        node = sum(o["credit"] for o in told["objects"] if o["truth"]) / len(c.truth)
        assert node == pytest.approx(score.terms["node"], abs=1e-9)
        true = [t for t in told["triplets"] if t["truth"]]
        if true:
            assert sum(t["credit"] for t in true) / len(true) == pytest.approx(score.terms["edge"], abs=1e-9)
            assert sum(t["hard"] for t in true) / len(true) == pytest.approx(score.terms["hard_recall"])
        orjson.dumps(told)


def test_every_fate_has_its_reason() -> None:
    truth = scene(("man", "bike", "dog"), (0, "riding", 1), (1, "near", 2), (2, "under", 0))
    answer = scene(("man", "bicycle", "dog"), (0, "on", 1), (0, "on", 1), (2, "near", 1), (1, "beside", 0))
    told = explain_completion(Rubric(similarity=GLOVE), render(answer, FRAME), truth, FRAME)
    assert [o["fate"] for o in told["objects"]] == ["matched", "weak", "matched"]
    assert "'bicycle' for 'bike'" in told["objects"][1]["why"]
    fates = [(t["fate"], t["why"]) for t in told["triplets"]]
    assert fates[0] == ("weak", "predicate 'on' for 'riding'; object 'bicycle' for 'bike'")
    assert fates[1] == ("missed", "predicted in the other direction only: dog.2 to bicycle.1")
    assert fates[2] == ("missed", "nothing is predicted from dog.2 to man.0")
    assert ("spurious", "repeats another triplet") in fates
    assert told["issues"][0]["kind"] == "repeated_triplet"
    assert told["issues"][0]["policy"]


def run(tmp_path: Path, lines: list[object], *options: str) -> tuple[int, list[dict], str]:
    path, out = tmp_path / "cases.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    result = CliRunner().invoke(app, ["score", str(path), "--out", str(out), *options])
    return (
        result.exit_code,
        [json.loads(x) for x in out.read_text().splitlines()] if out.exists() else [],
        result.output,
    )


def test_score_writes_every_term(tmp_path: Path) -> None:
    code, (line,), output = run(tmp_path, [case()])
    assert code == 0
    assert list(line) == ["image_id", "format", "node", "edge", "hard_recall", "hard_recall_relax", "total", "issues"]
    assert [line[k] for k in ("format", "edge", "hard_recall", "hard_recall_relax")] == [0.5, 1.0, 1.0, 1.0]
    assert line["node"] == pytest.approx(1.0)
    assert "1 completions, similarity glove" in output


def test_score_goes_on_after_a_bad_case(tmp_path: Path) -> None:
    bad_box = case(objects=[{"id": "man.1", "bbox": [5, 5, 1, 1]}], relationships=[])
    lines = [
        case(),
        "{not json",
        bad_box,
        {k: v for k, v in case().items() if k != "frame"},
        case(image_id="9", extra=1),
    ]
    code, rows, _ = run(tmp_path, [*lines, case(image_id="8", completion="nothing")])
    assert code == PARTLY_FAILED
    assert ["error" in r for r in rows] == [False, True, True, True, True, False]
    assert "cases.jsonl:2: expected a JSON object, found broken JSON" in rows[1]["error"]
    assert "objects[0].bbox: expected x1 < x2" in rows[2]["error"]
    assert "frame: expected [width, height]" in rows[3]["error"]
    assert "'extra'" in rows[4]["error"]
    assert rows[3]["image_id"] == "7"
    assert rows[3]["line"] == 4
    assert rows[5]["issues"][0]["kind"] == "no_json"


def test_score_of_predictions_alone_says_what_is_missing_and_stops_repeating_it(tmp_path: Path) -> None:
    alone = {"image_id": "7", "completion": "nothing", "frame": [1, 1]}
    code, rows, output = run(tmp_path, [alone] * 25)
    assert code == PARTLY_FAILED
    assert len(rows) == 25
    assert "cases.jsonl:25: expected completion, frame, width, height, objects and relationships in one line" in str(
        rows[24]
    )
    assert output.count("found a prediction without its ground truth; two files are for `r1sgg evaluate`") == 20
    assert "5 more lines cannot be read" in output


def test_score_reads_a_byte_order_mark_and_says_what_other_files_are(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_bytes(orjson.dumps(case()) + b"\n")
    plain = (tmp_path / "cases.jsonl").read_bytes()
    scored = []
    for content in (plain, b"\xef\xbb\xbf" + plain):
        (tmp_path / "cases.jsonl").write_bytes(content)
        done = CliRunner().invoke(app, ["score", str(tmp_path / "cases.jsonl"), "--out", str(tmp_path / "out.jsonl")])
        assert done.exit_code == 0, done.output
        scored.append((tmp_path / "out.jsonl").read_bytes())
    assert scored[0] == scored[1]
    for content, found in ((gzip.compress(plain), "a gzip file; unpack"), (plain.decode().encode("utf-16"), "UTF-16")):
        (tmp_path / "cases.jsonl").write_bytes(content)
        done = CliRunner().invoke(app, ["score", str(tmp_path / "cases.jsonl"), "--out", str(tmp_path / "out.jsonl")])
        assert isinstance(done.exception, InputError)
        assert f"cases.jsonl: expected JSON as UTF-8 text, found {found}" in str(done.exception)
        assert (tmp_path / "out.jsonl").read_bytes() == scored[0]


def test_score_options_change_the_result(tmp_path: Path) -> None:
    cut = case(completion=case()["completion"][:-90])
    assert run(tmp_path, [cut])[1][0]["node"] == 0.0
    assert run(tmp_path, [cut], "--repair")[1][0]["node"] == pytest.approx(1.0)
    assert "precision" not in run(tmp_path, [case()], "--rewards", "paper-v4")[1][0]
    assert run(tmp_path, [case()], "--rewards", "balanced")[1][0]["triplet_f1"] == 1.0
    assert run(tmp_path, [case()], "--task", "det")[1][0]["edge"] is None
    _, (line,), output = run(tmp_path, [case()], "--explain")
    assert line["explain"]["objects"][0]["fate"] == "matched"
    assert output.startswith("image 7 (line 1): total 0.938 (format 0.500, node 1.000, edge 1.000)\n")
    assert "  objects: 3 of 3 matched\n  triplets: 2 of 2 matched\n" in output


def test_explained_faults_are_a_short_line_each_under_their_heading(tmp_path: Path) -> None:
    answer = scene(("man", "bicycle", "dog"), (0, "wearing", 1))
    dangling = ', {"subject": "man.0", "predicate": "on", "object": "' + "x" * 90 + '.1"}]}'
    lines = [case(completion=render(answer, FRAME)[:-2] + dangling), case(image_id="8", completion="no idea")]
    _, rows, output = run(tmp_path, lines, "--explain")
    first, _, second = output.partition("image 8 (line 2): ")
    for text in (
        "  objects: 2 of 3 matched\n    weak     bike.1, predicted bicycle.1: label 'bicycle' for 'bike'",
        "  triplets: 0 of 2 matched\n    weak     man.1 riding bike.1, predicted man.0 wearing bicycle.1: ",
        "    missed   dog.1 near bike.1: nothing is predicted from dog.2 to bicycle.1\n",
        "  reading:\n    dangling: relationships[1] names 'xxx",
    ):
        assert f"\n{text}" in first
    assert second.splitlines()[1:5] == [
        "  format: neither the tags nor an answer alone: no mark",
        "  objects: 0 of 3 matched",
        "  triplets: 0 of 2 matched",
        "  reading:",
    ]
    assert max(len(line) for line in output.splitlines() if line.startswith((" ", "image"))) < 100
    assert len(rows[0]["explain"]["objects"]) == 3


def test_the_task_has_the_name_that_it_has_elsewhere(tmp_path: Path) -> None:
    _, plain, said = run(tmp_path, [case()], "--task", "sgdet")
    _, old, told = run(tmp_path, [case()], "--task", "sgg")
    assert plain == old == run(tmp_path, [case()])[1]
    assert "now called" not in said
    assert "--task sgg is now called sgdet" in told


def test_the_completions_of_a_run_are_scored_as_cases(tmp_path: Path) -> None:
    one = case()
    logged = {"step": 3, "image_id": "7", "completion": one["completion"], "frame": [1000, 1000], "truth": TRUTH}
    rows = [{**logged, "terms": {"format": 0.5}, "total": 0.5}]
    assert run(tmp_path, rows)[1] == run(tmp_path, [one])[1]
    _, _, output = run(tmp_path, [*rows, *rows, {**rows[0], "step": 6}], "--explain")
    headings = [line.partition(": total")[0] for line in output.splitlines() if line.startswith("image ")]
    assert headings == [f"image 7 (line {line}, step {step})" for line, step in ((1, 3), (2, 3), (3, 6))]
