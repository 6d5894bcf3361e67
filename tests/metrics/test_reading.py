"""`r1sgg evaluate` and its kin on files that others wrote: true numbers, or a sentence that says why not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from r1sgg.cli import app
from r1sgg.errors import ConfigError
from r1sgg.graph.dialects.registry import DIALECTS
from r1sgg.graph.frames import BoxFrame

SCENES = [
    (640, 480, {"man.1": [64, 38, 269, 432], "horse.1": [58, 144, 512, 475], "tree.1": [448, 5, 634, 288]}),
    (300, 600, {"man.1": [30, 48, 126, 540], "horse.1": [27, 180, 240, 594], "tree.1": [210, 6, 297, 360]}),
    (900, 500, {"man.1": [90, 40, 378, 450], "horse.1": [81, 150, 720, 495], "tree.1": [630, 5, 891, 300]}),
]
RELATIONS = [("man.1", "riding", "horse.1"), ("horse.1", "near", "tree.1")]


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def rows(relations: Any = RELATIONS) -> list[dict[str, str]]:
    return [dict(zip(("subject", "predicate", "object"), r, strict=True)) for r in relations]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    file = tmp_path / "gt.jsonl"
    lines = [
        {"image_id": str(k), "width": w, "height": h,
         "objects": [{"id": i, "bbox": b} for i, b in boxes.items()], "relationships": rows()}
        for k, (w, h, boxes) in enumerate(SCENES)
    ]  # fmt: skip
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def written(frame: Any, digits: int = 0) -> list[dict[str, list[float]]]:
    """The boxes of each scene as numbers of a frame, given the size of its image."""
    return [
        {i: np.round(frame((w, h)).written(np.array(b) / (w, h, w, h)), digits)[0].tolist() for i, b in boxes.items()}
        for w, h, boxes in SCENES
    ]


def predictions(truth: Path, texts: list[str], frame: Any = (1000, 1000)) -> Path:
    file = truth.with_name("predictions.jsonl")
    file.write_text("".join(json.dumps({"image_id": str(k), "frame": frame, "completion": text}) + "\n"
                            for k, text in enumerate(texts)))  # fmt: skip
    return file


def evaluated(truth: Path, file: Path | str, *more: Any) -> tuple[dict[str, Any], str]:
    out = truth.with_name("results.json")
    done = run("evaluate", file, "--ground-truth", truth, "--vocabulary", "vg150", "--json", out, *more)
    assert done.exit_code == 0
    return json.loads(out.read_text()), done.stderr


def answers(boxes: list[dict[str, list[float]]], relations: Any = None) -> list[str]:
    return [
        json.dumps({"objects": [{"id": i, "bbox": box} for i, box in scene.items()],
                    "relationships": rows() if relations is None else relations})
        for scene in boxes
    ]  # fmt: skip


THOUSANDTHS = written(lambda size: BoxFrame((1000.0, 1000.0)))


def test_our_own_answers_are_read_without_a_word(truth: Path) -> None:
    results, said = evaluated(truth, predictions(truth, answers(THOUSANDTHS)))
    assert (results["failure_rate"], results["AP50"], results["R@50"]) == (0, 1, 1)
    assert said == ""
    assert results["ledger"]["findings"] == results["remarks"] == []
    assert results["ledger"]["relations"] == {"read": 6, "lost": 0, "lost_share": 0}


WRONG = [
    (lambda size: BoxFrame((1.0, 1.0)), 3, "fractions (0 to 1)", [1, 1]),
    (lambda size: BoxFrame((1000.0, 1000.0), axes="yx"), 0, "y before x", {"size": [1000, 1000], "axes": "yx"}),
    (lambda size: BoxFrame((1000.0, 1000.0), shape="size"), 0, "as [x, y, width, height]",
     {"size": [1000, 1000], "shape": "size"}),
    (BoxFrame, 0, "pixels of the image", None),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "digits", "called", "right"), WRONG, ids=[row[2] for row in WRONG])
def test_a_wrong_frame_is_said_and_the_right_one_gives_the_numbers(
    truth: Path, frame: Any, digits: int, called: str, right: Any
) -> None:
    texts = answers(written(frame, digits))
    results, said = evaluated(truth, predictions(truth, texts))
    assert results["R@50"] < 1
    assert called in said
    assert any(called in remark for remark in results["remarks"])
    if right is not None:
        results, said = evaluated(truth, predictions(truth, texts, right))
        assert (results["AP50"], results["R@50"], said) == (1, 1, "")


def test_ground_truth_in_fractions_is_said(truth: Path) -> None:
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    for line in lines:
        for row in line["objects"]:
            row["bbox"] = [v / (line["width"], line["height"])[k % 2] for k, v in enumerate(row["bbox"])]
    truth.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, said = evaluated(truth, predictions(truth, answers(THOUSANDTHS)))
    assert "all true boxes lie within one pixel of the corner in 100 % of the images" in said
    assert "r1sgg data check" in said


def test_thousandths_declared_as_pixels(truth: Path) -> None:
    file = predictions(truth, answers(THOUSANDTHS))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line, (width, height, _) in zip(lines, SCENES, strict=True):
        line["frame"] = [width, height]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results, said = evaluated(truth, file)
    assert results["R@50"] < 1
    assert "read as thousandths (0 to 1000)" in said
    assert 'write "frame": [1000, 1000]' in said


@pytest.mark.parametrize("name", [name for name in DIALECTS if name != "ours"])
def test_a_file_of_each_dialect(truth: Path, name: str) -> None:
    """The example describes one picture; it is the answer to an image of which it is the truth."""
    line = {"image_id": "a", "width": 1000, "height": 1000, "relationships": rows(),
            "objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, {"id": "horse.1", "bbox": [90, 300, 800, 990]},
                        {"id": "tree.1", "bbox": [700, 10, 990, 600]}]}  # fmt: skip
    truth.write_text(json.dumps(line) + "\n")
    file = truth.with_name("predictions.jsonl")
    text = f"<think>A horse.</think>{DIALECTS[name].example}"
    file.write_text(json.dumps({"image_id": "a", "frame": [1000, 1000], "completion": text}) + "\n")
    results, said = evaluated(truth, file)
    assert (results["failure_rate"], results["AP50"]) == (0, 1)
    assert results["R@50"] == (1 if DIALECTS[name].relations else 0)
    assert f"read as dialect '{name}'" in said
    assert results["ledger"]["dialect"]["name"] == name
    if not DIALECTS[name].relations:
        assert f"dialect '{name}' has none" in said
    results, said = evaluated(truth, file, "--dialect", "ours")
    assert results["failures"] == {"other_dialect": 1}
    assert f"it looks like '{name}'" in said
    assert "read as dialect" not in said
    again, _ = evaluated(truth, file, "--dialect", name)
    assert again["AP50"] == 1


def test_the_report_takes_a_dialect_and_shows_what_was_read(truth: Path) -> None:
    file = predictions(truth, [DIALECTS["toon"].example] * 3)
    out = truth.with_name("report.html")
    done = run("report", file, "--ground-truth", truth, "--out", out, "--bootstrap", 0)
    assert done.exit_code == 0
    for said in ("read as dialect", "all 3 completions hold the same graph"):
        assert said in done.stderr
        assert said in out.read_text()
    with pytest.raises(ConfigError, match="found 'latin'"):
        run("report", file, "--ground-truth", truth, "--out", out, "--bootstrap", 0, "--dialect", "latin")


def test_score_reads_ours_alone_and_says_what_it_sees(truth: Path) -> None:
    def score(texts: list[str], frame: Any = (1000, 1000)) -> tuple[list[dict[str, Any]], str]:
        cases = truth.with_name("cases.jsonl")
        lines = [json.loads(line) for line in truth.read_text().splitlines()]
        cases.write_text("".join(json.dumps({**line, "completion": text, "frame": frame}) + "\n"
                                 for line, text in zip(lines, texts, strict=True)))  # fmt: skip
        out = truth.with_name("scores.jsonl")
        done = run("score", cases, "--out", out, "--similarity", "exact")
        assert done.exit_code == 0
        return [json.loads(line) for line in out.read_text().splitlines()], done.stderr

    scores, said = score(answers(THOUSANDTHS))
    assert [row["node"] for row in scores] == pytest.approx([1, 1, 1], abs=0.01)
    assert said == ""
    for name in DIALECTS:
        if name != "ours":
            scores, said = score([DIALECTS[name].example] * 3)
            assert [row["node"] for row in scores] == [0, 0, 0]
            assert "other_dialect" in said
    _, said = score(answers(written(lambda size: BoxFrame((1.0, 1.0)), 3)))
    assert "fractions" in said


@pytest.mark.parametrize(
    ("texts", "R50", "said"),
    [
        (answers(THOUSANDTHS, [{"subject": 0, "predicate": "riding", "object": 1},
                               {"subject": 1, "predicate": "near", "object": 2}]), 1, "end_by_index"),
        (answers(THOUSANDTHS, rows([("man", "riding", "horse"), ("horse", "near", "tree")])), 1, "end_by_class"),
        (answers(THOUSANDTHS, [["man.1", "riding", "horse.1"]]), 0, "3 of 3 relationships were lost: 3 bad"),
        (answers(THOUSANDTHS, rows([("man.2", "riding", "horse.1"), RELATIONS[1]])), 0.5, "3 of 6 relationships"),
        ([t.replace('.1"', '"') for t in answers(THOUSANDTHS)], 1, ""),
        ([t.replace('.1"', '#1"') for t in answers(THOUSANDTHS)], 1, "odd_id"),
        ([t.replace('.1"', '1"') for t in answers(THOUSANDTHS)], 1, "odd_id"),
        ([answers(THOUSANDTHS)[0] + "\nFinal:\n" + t for t in answers(THOUSANDTHS)], 1, "several_graphs"),
        ([f"[THINK]{answers(THOUSANDTHS)[0]}[/THINK]{t}" for t in answers(THOUSANDTHS)], 1, ""),
    ],
)  # fmt: skip
def test_reader_rules_are_counted(truth: Path, texts: list[str], R50: float, said: str) -> None:
    results, errors = evaluated(truth, predictions(truth, texts))
    assert results["R@50"] == pytest.approx(R50)
    assert said in errors
    assert bool(said) == bool(errors)


# ---------------------------------------------------------------- ../shared/cases


def case(shared: Path, name: str, file: str, out: Path) -> tuple[dict[str, Any], str]:
    folder = shared / "cases" / name
    done = run("evaluate", folder / file, "--ground-truth", folder / "gt.jsonl", "--vocabulary", "vg150", "--json", out)
    assert done.exit_code == 0
    return json.loads(out.read_text()), done.stderr


CASES = [
    ("03-pred-fractions", "predictions.jsonl", 0, "8 of 8 boxes lie within one unit of the frame's corner"),
    ("04-prompt-in-completion", "predictions.jsonl", 1, "prompt_text"),
    ("05-sgg-r3-tags", "predictions.jsonl", 1, "read as dialect 'sgg-r3'"),
    ("06-id-obj1-label", "predictions.jsonl", 1, "class_key"),
    ("08-relations-lost-unsaid", "arrow.jsonl", 1, "read as dialect 'arrows'"),
    ("08-relations-lost-unsaid", "bylabel.jsonl", 1, "end_by_class"),
    ("08-relations-lost-unsaid", "double_closed.jsonl", 1, "closed_early"),
    ("08-relations-lost-unsaid", "relations.jsonl", 1, "other_key"),
]


@pytest.mark.parametrize(("name", "file", "R50", "said"), CASES)
def test_the_shared_cases(shared: Path, tmp_path: Path, name: str, file: str, R50: float, said: str) -> None:
    if not (shared / "cases" / name / file).is_file():
        pytest.skip("needs ../shared/cases")
    results, errors = case(shared, name, file, tmp_path / "out.json")
    assert results["failure_rate"] == 0
    assert results["R@50"] == R50
    assert said in errors


@pytest.mark.parametrize("name", ["01-gt-fractions", "02-gt-thousandths-fix"])
def test_the_shared_cases_of_ground_truth(shared: Path, tmp_path: Path, name: str) -> None:
    if not (shared / "cases" / name).is_dir():
        pytest.skip("needs ../shared/cases")
    fixed = tmp_path / "fixed.jsonl"
    done = run("data", "check", "--data", shared / "cases" / name / "gt.jsonl", "--images", "none", "--fix", fixed)
    assert done.exit_code == 1
    assert "8 of 8" in done.stdout
    assert not fixed.exists()


@pytest.mark.parametrize(
    ("frame", "digits", "given", "right"),
    [
        (lambda size: BoxFrame((1.0, 1.0)), 3, "", "frame=1"),
        (lambda size: BoxFrame((1000.0, 1000.0)), 0, "frame=pixels", "frame=1000"),
        (lambda size: BoxFrame((1000.0, 1000.0), axes="yx"), 0, "frame=1000", "frame=1000,axes=yx"),
        (lambda size: BoxFrame((1000.0, 1000.0)), 0, "axes=yx", "axes=xy"),
        (lambda size: BoxFrame((1000.0, 1000.0), shape="size"), 0, "", "shape=size"),
        (BoxFrame, 0, "frame=1", "frame=pixels"),
        (lambda size: BoxFrame((448.0, 336.0)), 2, "", "frame=448x336"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_advice_on_another_tools_file_is_an_option_that_works(
    truth: Path, frame: Any, digits: int, given: str, right: str
) -> None:
    file = truth.with_name("swift.jsonl")
    lines = [
        {"response": text, "images": [f"{k}.jpg"], "messages": []}
        for k, text in enumerate(answers(written(frame, digits)))
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results, said = evaluated(truth, f"swift:{file}" + (f",{given}" if given else ""))
    assert results["AP50"] < 1
    assert '"frame"' not in said
    assert f"evaluate it as swift:{file},{right}" in said
    right_results, _ = evaluated(truth, f"swift:{file},{right}")
    assert (right_results["AP50"], right_results["R@50"]) == (1, 1)


def test_a_frame_that_no_option_names_is_told_so(truth: Path) -> None:
    """No option names a padded square: the file has to be converted."""
    file = truth.with_name("swift.jsonl")
    boxes = written(lambda size: BoxFrame.padded(1000.0, size))
    texts = enumerate(answers(boxes))
    file.write_text("".join(json.dumps({"response": t, "images": [f"{k}.jpg"], "query": ""}) + "\n" for k, t in texts))
    _, said = evaluated(truth, file)
    assert 'its options have no such frame: make our lines of it (docs/others.md) and write "frame": {"size": ' in said


@pytest.mark.parametrize("cut", [-20, "]]"])
def test_a_broken_answer_is_told_of_the_option_alone(truth: Path, cut: int | str) -> None:
    """`repair=True` is Python's; the option does what is said of it."""
    whole = answers(THOUSANDTHS)
    texts = [text[:cut] if isinstance(cut, int) else text.replace("]", cut, 1) for text in whole]
    file = predictions(truth, texts)
    results, said = evaluated(truth, file)
    assert results["failure_rate"] == 1
    assert said.count("repair") == said.count("--repair keeps the complete items") == 1
    results, _ = evaluated(truth, file, "--repair")
    assert results["failure_rate"] == 0
