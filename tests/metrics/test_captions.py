"""`r1sgg captions check`, its page, and the reward that is the same metric."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from r1sgg.cli import app
from r1sgg.data.base import Example, write_ground_truth
from r1sgg.errors import InputError
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.rewards.adapters import label, ms_swift_orm, trl_rewards, verl_compute_score
from r1sgg.rewards.captions import WEIGHTS, caption_rubric
from r1sgg.rewards.rubric import Rubric

OBJECTS = ("man", "horse", "hat", "tree")


def scene(*triplets: tuple[int, str, int]) -> SceneGraph:
    boxes = [(0.2 * k, 0.1, 0.2 * k + 0.15, 0.9) for k in range(4)]
    things = [SceneObject(f"{n}.1", n, b) for n, b in zip(OBJECTS, boxes, strict=True)]
    return SceneGraph.build(things, [Relationship(s, p, o) for s, p, o in triplets])


GRAPHS = [Example(str(k), 100, 100, scene((0, "riding", 1), (0, "wearing", 2), (1, "near", 3))) for k in range(3)]
CAPTIONS = [
    {"image_id": "0", "captions": ["A man rides a horse.", "A man wearing a hat."]},
    {"image_id": "1", "caption": "A man holds an umbrella near a horse on a tree."},
    {"image_id": "9", "caption": "A dog."},
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    graphs, captions = tmp_path / "graphs.jsonl", tmp_path / "captions.jsonl"
    write_ground_truth(graphs, GRAPHS)
    captions.write_text("".join(json.dumps(row) + "\n" for row in CAPTIONS))
    return graphs, captions


def check(graphs: Path, captions: Path, *more: object) -> Result:
    arguments = ["captions", "check", graphs, "--captions", captions, "--extract", "rules:plain", *more]
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_figures_are_those_by_hand(files: tuple[Path, Path], tmp_path: Path) -> None:
    out, log, figures = tmp_path / "page.html", tmp_path / "claims.jsonl", tmp_path / "figures.json"
    result = check(*files, "--out", out, "--log", log, "--json", figures)
    assert result.exit_code == 0, result.output
    found = json.loads(figures.read_text())
    assert (found["images"], found["captions"], found["statements"]) == (2, 3, 5)
    # read: man riding horse, man wearing hat; man holding umbrella, umbrella near horse, horse on tree
    assert found["outcomes"] == {"supported": 2, "predicate": 1, "reversed": 0, "unrelated": 0, "invented": 2}
    assert found["precision"] == pytest.approx(2 / 5)
    assert found["coverage"] == pytest.approx(2 / 6)
    assert found["CHAIR_i"] == pytest.approx(1 / 8)
    assert found["CHAIR_s"] == pytest.approx(1 / 3)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) == 6
    assert [row["object"] for row in rows if "object" in row] == ["umbrella"]
    assert next(row for row in rows if row["outcome"] == "predicate")["graph"] == ["horse", "near", "tree"]
    assert "1 graphs have no caption" in result.output
    assert "1 captioned images have no graph, the first: 9" in result.output
    page = out.read_text()
    assert "umbrella" in page
    assert "A man rides a horse." not in page  # a caption without an error of an image without one
    assert page.count("<section") == 1


def test_predictions_are_judged_like_ground_truth(files: tuple[Path, Path], tmp_path: Path) -> None:
    answer = {"objects": [{"id": "man.1", "bbox": [0, 0, 9, 9]}], "relationships": []}
    predictions = tmp_path / "predictions.jsonl"
    row = {"image_id": "0", "frame": [10, 10], "completion": json.dumps(answer)}
    predictions.write_text(
        json.dumps(row) + "\n" + json.dumps({**row, "image_id": "1", "completion": "no graph"}) + "\n"
    )
    figures = tmp_path / "figures.json"
    assert check(predictions, files[1], "--json", figures).exit_code == 0
    found = json.loads(figures.read_text())
    assert (found["precision"], found["coverage"]) == (0, None)
    assert found["outcomes"]["invented"] == 5


def test_what_cannot_be_checked_is_said(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"image_id": "x", "caption": "a man"}\n')
    assert isinstance(check(files[0], other).exception, InputError)
    other.write_text('{"image_id": "0", "caption": "a man on a horse"}\nno json\n')
    result = check(files[0], other)
    assert result.exit_code == 1
    assert "other.jsonl:2" in result.output


def test_captions_of_one_image_on_several_lines_are_all_judged(files: tuple[Path, Path], tmp_path: Path) -> None:
    lines = [{"image_id": "0", "caption": text} for text in ("A man rides a horse.", "A cat on a mat.", "x" * 9000)]
    captions, figures = tmp_path / "several.jsonl", tmp_path / "figures.json"
    captions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = check(files[0], captions, "--json", figures)
    found = json.loads(figures.read_text())
    assert (found["captions"], found["images"], found["outcomes"]["supported"]) == (3, 1, 1)
    assert "1 captions of which only the beginning was read" in result.output


def test_graphs_without_objects_are_said(files: tuple[Path, Path], tmp_path: Path) -> None:
    graphs = tmp_path / "predictions.jsonl"
    lines = [{"image_id": "0", "error": "no such image"}, {"image_id": "1", "completion": "junk", "frame": [9, 9]}]
    graphs.write_text("".join(json.dumps({**line, "model": "m"}) + "\n" for line in lines))
    result = check(graphs, files[1])
    assert result.exit_code == 0, result.output
    assert "2 graphs have no object: all that is said of these images counts as invented" in result.output


# ---------------------------------------------------------------- the reward


@pytest.mark.parametrize(
    ("caption", "precision", "coverage", "objects"),
    [
        ("A man wearing a hat is riding a horse. The horse is near a tree.", 1.0, 1.0, 1.0),
        ("<think>an umbrella on a dog</think>A man rides a horse.", 1.0, 1 / 3, 1.0),
        ("A man holds an umbrella near a horse on a tree.", 0.0, 0.0, 0.75),
        ("A man.", 0.0, 0.0, 1.0),
        ("", 0.0, 0.0, 0.0),
    ],
)
def test_terms_of_a_caption(caption: str, precision: float, coverage: float, objects: float) -> None:
    (score,) = caption_rubric().score([caption], [GRAPHS[0].graph], [(100.0, 100.0)])
    assert [score.terms[name] for name in WEIGHTS] == pytest.approx([precision, coverage, objects])
    assert score.total == pytest.approx((2 * precision + coverage + objects) / 4)


def test_the_reward_goes_through_the_adapters_of_every_trainer() -> None:
    truths = [label(example, (100.0, 100.0)) for example in GRAPHS[:2]]
    texts = ["A man rides a horse.", "A dog."]
    functions, weights = trl_rewards(caption_rubric())
    assert [f.__name__ for f in functions] == list(WEIGHTS)
    assert weights == list(WEIGHTS.values())
    columns = [f([[{"role": "assistant", "content": t}] for t in texts], truths) for f in functions]
    assert columns == [[1.0, 0.0], [pytest.approx(1 / 3), 0.0], [1.0, 0.0]]
    assert verl_compute_score(caption_rubric())("x", texts[0], truths[0])["caption_precision"] == 1.0
    orms = ms_swift_orm(caption_rubric())
    assert orms["r1sgg_caption_coverage"]()(texts, ground_truth=truths)[0] == pytest.approx(1 / 3)


def test_metric_and_reward_are_the_same_code(files: tuple[Path, Path], tmp_path: Path) -> None:
    captions, figures = tmp_path / "one.jsonl", tmp_path / "figures.json"
    text = "A man wearing a hat holds an umbrella. A pony is next to a tree."
    captions.write_text(json.dumps({"image_id": "0", "caption": text}) + "\n")
    check(files[0], captions, "--json", figures)
    found = json.loads(figures.read_text())
    (score,) = caption_rubric().score([text], [GRAPHS[0].graph], [(100.0, 100.0)])
    assert score.terms["caption_precision"] == pytest.approx(found["precision"])
    assert score.terms["caption_coverage"] == pytest.approx(found["coverage"])
    assert score.terms["caption_objects"] == pytest.approx(1 - found["CHAIR_i"])


def test_the_terms_can_be_asked_for_by_name() -> None:
    rubric = Rubric.of('{"r1sgg.rewards.captions:caption_precision": 1}')
    (score,) = rubric.score(["A man rides a horse."], [GRAPHS[0].graph], [(100.0, 100.0)])
    assert score.total == 1.0
