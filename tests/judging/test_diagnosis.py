"""Findings over a whole file: each is made by what it is for, and nothing is said where all is well."""

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from r1sgg.data.detections import prediction_line
from r1sgg.data.predictions import prediction_of_record
from r1sgg.graph.dialects.registry import choose_dialect
from r1sgg.graph.frames import BoxFrame, Frame, frame_of_value
from r1sgg.graph.ledger import Ledger
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids, parse, render
from r1sgg.graph.vocabulary import VG150
from r1sgg.judging.diagnosis import SystematicFinding, diagnosis, findings
from r1sgg.judging.frames import MOST_IMAGES, FrameEvidence

FRAME = (1000.0, 1000.0)
SIZE = (640.0, 480.0)
NAMES = ("man", "dog", "tree", "car", "hat", "street")


def scenes(count: int, seed: int = 0) -> list[SceneGraph]:
    """Random scenes of five objects and two relationships."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        labels = [NAMES[k] for k in rng.permutation(len(NAMES))[:5]]
        low = rng.uniform(0, 0.6, (5, 2))
        boxes = np.concatenate((low, low + rng.uniform(0.1, 0.4, (5, 2))), axis=1)
        out.append(SceneGraph(number_ids(labels), tuple(labels), boxes, ((0, 1), (2, 3)), ("on", "near")))
    return out


def with_boxes(truth: SceneGraph, frame: BoxFrame, digits: int) -> str:
    boxes = np.round(frame.written(truth.boxes), digits).tolist()
    rows = ", ".join(f'{{"id": "{i}", "bbox": {box}}}' for i, box in zip(truth.ids, boxes, strict=True))
    return f'{{"objects": [{rows}], "relationships": []}}'


def read(texts: list[str], truths: list[SceneGraph] | None = None) -> tuple[Ledger, FrameEvidence | None]:
    ledger, evidence = Ledger(), None if truths is None else FrameEvidence()
    for k, text in enumerate(texts):
        parsed = parse(text, FRAME)
        ledger.add(parsed, str(k))
        if truths is not None and evidence is not None:
            evidence.add(parsed, truths[k], SIZE)
    return ledger, evidence


def found(texts: list[str], truths: list[SceneGraph] | None = None) -> dict[str, SystematicFinding]:
    return {finding.kind: finding for finding in findings(*read(texts, truths))}


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_nothing_is_said_where_all_is_well(count: int) -> None:
    truths = scenes(count)
    for texts in ([render(t, FRAME) for t in truths], [f"```json\n{render(t, FRAME)}\n```" for t in truths]):
        assert found(texts, truths) == {}
    assert findings(Ledger()) == []


def test_second_answers_that_are_missing_are_one_finding_and_not_two() -> None:
    alone = [render(SceneGraph(t.ids, t.labels, t.boxes), FRAME) for t in scenes(20)]
    whole = render(scenes(1)[0], FRAME)
    ledger = Ledger()
    for k, text in enumerate([*alone, whole]):
        ledger.add(parse(text, FRAME), str(k), unread="no_json: no JSON" if k % 2 == 0 else "")
    (finding,) = findings(ledger)
    assert (finding.kind, ledger.unread) == ("unread", 10), "the one with relationships does not count"
    assert "48 % of the completions have objects alone" in finding.found
    assert "(first in image 0: no_json: no JSON)" in finding.found


@pytest.mark.parametrize("error", [0.05, 0.15, 0.4])
def test_a_model_that_localises_badly_has_no_wrong_frame(error: float) -> None:
    rng = np.random.default_rng(3)
    truths = scenes(60)
    texts = []
    for t in truths:
        low = t.boxes[:, :2] + rng.normal(0, error, (5, 2))
        moved = np.concatenate((low, low + t.boxes[:, 2:] - t.boxes[:, :2]), axis=1).clip(0, 1)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 0.01)
        texts.append(with_boxes(SceneGraph(t.ids, t.labels, moved), BoxFrame(FRAME), 0))
    assert "frame" not in found(texts, truths)


WRONG = [
    (BoxFrame((1.0, 1.0)), 3, "fractions (0 to 1)", '"frame": [1, 1]'),
    (BoxFrame(SIZE), 0, "pixels of the image", '"frame": [width, height]'),
    (BoxFrame(FRAME, axes="yx"), 0, "y before x", '"frame": {"size": [1000, 1000], "axes": "yx"}'),
    (BoxFrame(FRAME, shape="centre"), 0, "[centre x, centre y, width, height]", '"shape": "centre"'),
    (BoxFrame(SIZE, axes="yx"), 0, "pixels of the image, y before x", '{"size": [width, height], "axes": "yx"}'),
]


@pytest.mark.parametrize(("frame", "digits", "called", "do"), WRONG, ids=[row[2] for row in WRONG])
@pytest.mark.parametrize("count", [4, 60])
def test_a_wrong_frame_is_named(frame: BoxFrame, digits: int, called: str, do: str, count: int) -> None:
    truths = scenes(count)
    finding = found([with_boxes(t, frame, digits) for t in truths], truths)["frame"]
    assert called in finding.found
    assert do in finding.do
    assert finding.share == 1


@pytest.mark.parametrize("size", [(100.0, 100.0), (448.0, 448.0), (1280.0, 720.0)])
def test_a_size_that_nobody_declared_is_measured(size: Frame) -> None:
    truths = scenes(40)
    finding = found([with_boxes(t, BoxFrame(size), 0) for t in truths], truths)["frame"]
    assert "relative to about {:.0f} x {:.0f}".format(*size) in finding.found
    assert f'"frame": [{size[0]:.0f}, {size[1]:.0f}]' in finding.do


def test_a_padded_square_is_named() -> None:
    truths = scenes(40)
    finding = found([with_boxes(t, BoxFrame.padded(1000, SIZE), 0) for t in truths], truths)["frame"]
    assert "a square that the image is in the middle of" in finding.found
    assert '"origin": ' in finding.do


def test_frames_that_differ_are_not_advised_as_one() -> None:
    truths, evidence, ledger = scenes(40), FrameEvidence(), Ledger()
    for k, truth in enumerate(truths):
        frame = (600.0 + 10 * k, 480.0)
        parsed = parse(with_boxes(truth, BoxFrame(frame, axes="yx"), 0), frame)
        ledger.add(parsed, str(k))
        evidence.add(parsed, truth, frame)
    said = {finding.kind: finding for finding in findings(ledger, evidence)}
    assert said["frame"].do == 'write "frame": {"size": [width, height], "axes": "yx"}'


def test_advice_comes_on_top_of_how_boxes_were_read() -> None:
    """What is written as advised must be read without the finding: a dialect's own order of axes is replaced, too."""
    truths = scenes(40)

    def said(frame: Any) -> dict[str, SystematicFinding]:
        ledger, evidence = Ledger(), FrameEvidence()
        for truth in truths:
            boxes = np.round(truth.boxes * 1000).tolist()
            rows = [{"box_2d": box, "label": label} for box, label in zip(boxes, truth.labels, strict=True)]
            parsed = parse(json.dumps(rows), frame_of_value(frame, "frame"), dialect="gemini")
            ledger.add(parsed)
            evidence.add(parsed, truth, SIZE)
        return {finding.kind: finding for finding in findings(ledger, evidence)}

    wrong = said([1000, 1000])["frame"]
    assert "x before y" in wrong.found
    assert wrong.do == 'write "frame": {"size": [1000, 1000], "axes": "xy"}'
    assert "frame" not in said({"size": [1000, 1000], "axes": "xy"})
    assert said({"size": [1000, 1000], "axes": "yx"})["frame"].do == wrong.do


R3 = '<OBJECT>{"objects": [{"id": "man.1", "bbox": [1, 2, 3, 4]}, {"id": "hat.1", "bbox": [1, 2, 3, 3]}]}</OBJECT>'
KIND = '<RELATION>{"relations": [{"subject": "man.1", "predicate": "wearing", "object": "hat.1"}]}</RELATION>'


@pytest.mark.parametrize("text", [R3 + KIND + R3 + KIND, R3 + KIND + KIND])
def test_of_several_blocks_in_tags_the_last_counts_and_it_is_said(text: str) -> None:
    ledger = Ledger()
    ledger.add(parse(text, FRAME, dialect="sgg-r3"))
    assert "several_graphs" in {finding.kind for finding in findings(ledger)}


def test_a_dialect_that_has_ours_as_a_part_is_no_mixture() -> None:
    ours = render(scenes(1)[0], FRAME)
    arrows = ours.split(', "relationships"')[0] + ', "relationships": ["man.1 -> on -> dog.1"]}'
    for texts, mixed in (([arrows] * 6 + [ours] * 4, False), ([arrows] * 4 + [ours] * 6, True)):
        ledger = Ledger()
        ledger.dialect = choose_dialect(texts)
        for text in texts:
            ledger.add(parse(text, FRAME, dialect=ledger.dialect.dialect))
        assert any("split the file" in finding.do for finding in findings(ledger)) is mixed


def test_images_with_errors_are_named_with_the_reason() -> None:
    ledger, _ = read([render(t, FRAME) for t in scenes(8)])
    ledger.add_error("the request failed: rate limit", "7")
    assert "(first in image 7: the request failed: rate limit)" in str(findings(ledger)[0])
    assert ledger.as_json()["errors"] == 1
    failed = Ledger()
    failed.add_error("no content", "1")
    assert [finding.kind for finding in findings(failed)] == ["error"]


def test_names_that_are_in_no_truth_are_shown() -> None:
    """With an open vocabulary no name is outside: recall 0 alone would not tell why."""
    truths = scenes(10)
    said = found([render(t, FRAME).replace('.1"', '(1)"') for t in truths], truths)
    assert "(1)'" in said["no_common_class"].found


def test_graphs_without_any_relationship_are_named() -> None:
    truths = scenes(5)
    said = found([with_boxes(t, BoxFrame(FRAME), 0) for t in truths], truths)
    assert "none of 5 graphs has a relationship" in said["no_relations_written"].found


@pytest.mark.parametrize("related", [True, False])
def test_relationships_are_missed_only_where_there_are_some(related: bool) -> None:
    """Boxes alone (plain COCO) are ground truth too: a graph without relationships is right there."""
    ledger, _ = read([with_boxes(t, BoxFrame(FRAME), 0) for t in scenes(5)])
    for truth in scenes(5):
        ledger.add_truth(truth if related else truth.take(range(len(truth)), []), SIZE)
    assert ("no_relations_written" in {finding.kind for finding in findings(ledger)}) is related


LOST = [
    ('["dog.1", "on", "man.1"]', '"bbox": [1, 2, 30, 40]', 'write {"subject"'),
    ('{"subject": "cat.1", "predicate": "on", "object": "man.1"}', '"bbox": [1, 2, 30, 40]', "write ends as ids"),
    ('{"subject": "dog.1", "predicate": "on", "object": "man.1"}', '"bbox": "1, 2, 30, 40"', "were dropped"),
]


@pytest.mark.parametrize(("row", "box", "do"), LOST)
def test_lost_relationships_come_with_what_to_do(row: str, box: str, do: str) -> None:
    text = (
        f'{{"objects": [{{"id": "man.1", "bbox": [1, 2, 3, 4]}}, {{"id": "dog.1", {box}}}], "relationships": [{row}]}}'
    )
    assert do in found([text] * 2)["lost_relations"].do


def test_sizes_in_place_of_corners_are_named() -> None:
    """Many such boxes are inverted, and dropped before they are compared; the others tell."""
    truths = scenes(60)
    said = found([with_boxes(t, BoxFrame(FRAME, shape="size"), 0) for t in truths], truths)
    assert "as [x, y, width, height]" in said["frame"].found
    assert "inverted_box" in said


def test_detections_are_not_called_completions_and_box_faults_are_counted_in_boxes() -> None:
    """A detector writes no text, and a fault in a tenth of its files may be one box of each."""
    ledger = Ledger()
    for k in range(20):
        boxes = [[1, 2, 30, 40], [5, 5, 90, 90], *([[50, 5, 9, 9]] if k % 2 else [[1, 2, 3, 4000]])]
        line = prediction_line(str(k), [*boxes, boxes[0]], ["man", "dog", "hat", "man"])
        prediction = prediction_of_record(line, "line")
        ledger.add(prediction.read(image=SIZE), str(k), detections=prediction.completion is None)
    said = {finding.kind: str(finding) for finding in findings(ledger)}
    assert said["inverted_box"].startswith("50 % of the predictions have inverted_box: 10 of 80 boxes (first in image")
    assert said["box_out_of_frame"].startswith("50 % of the predictions have box_out_of_frame: 10 of 80 boxes (first")
    assert not any("completion" in text for text in said.values())
    assert ledger.as_json()["objects"] == {"listed": 80, "read": 70, "lost": 10}


def test_boxes_of_repeated_objects_count_among_all_boxes() -> None:
    """A repeated object is dropped, but its box was written and counts."""
    row = '{"id": "man.1", "bbox": [1, 2, 3, 4000]}'
    ledger, _ = read([f'{{"objects": [{", ".join([row] * 5)}], "relationships": []}}'] * 2)
    assert "10 of 10 boxes" in {f.kind: f.found for f in findings(ledger)}["box_out_of_frame"]


def test_a_frame_that_a_part_of_the_images_is_in() -> None:
    truths = scenes(60)
    frames = [BoxFrame(SIZE) if k % 5 == 0 else BoxFrame(FRAME) for k in range(60)]
    finding = found([with_boxes(t, f, 0) for t, f in zip(truths, frames, strict=True)], truths)["frame"]
    assert 0.1 <= finding.share < 0.3
    assert "of the images" in finding.found


def test_evidence_is_bounded_and_spread_over_the_file() -> None:
    truths = scenes(50)
    evidence = FrameEvidence()
    for k in range(5 * MOST_IMAGES):
        truth = truths[k % 50]
        frame = FRAME if k < 4 * MOST_IMAGES else (1.0, 1.0)
        written = parse(with_boxes(truth, BoxFrame(frame), 3), FRAME)
        evidence.add(written, truth, SIZE)
    verdict = evidence.verdict()
    assert verdict is not None
    assert verdict.named <= 2 * MOST_IMAGES * 5
    assert verdict.votes == pytest.approx(0.2, abs=0.03)
    assert evidence.as_json() is not None


ANSWER = render(scenes(1)[0], FRAME)


def many(change: Callable[[str], str], count: int = 20) -> list[str]:
    return [change(render(t, FRAME)) for t in scenes(count)]


@pytest.mark.parametrize(
    ("kind", "texts", "said"),
    [
        ("same_graph", [ANSWER] * 3, "all 3 completions hold the same graph"),
        ("same_graph", [ANSWER] * 12 + many(str, 60), "of 72 completions hold the same graph"),
        ("lost_relations", many(lambda t: t.replace('"on"', "3")), "20 of 40 relationships were lost: 20 bad_rel"),
        ("no_relations_written", many(lambda t: t.partition(', "relationships"')[0] + "}"), "100 % of the completions"),
        ("truncated", many(lambda t: t[:-5]), "100 % of the completions fail with truncated"),
        ("other_dialect", ['[{"bbox_2d": [1, 2, 3, 4], "label": "a"}]'] * 3, "looks like 'qwen-json'"),
        ("class_key", many(lambda t: t.replace('"man.1", ', '"o.1", "label": "man", ')), "objects["),
        ("closed_early", many(lambda t: t.replace('], "rel', ']}, "rel')), "completions have closed_early"),
        ("no_json", ["I can't."] * 5 + many(str, 20), "20 % of the completions fail with no_json"),
    ],
)  # fmt: skip
def test_each_finding(kind: str, texts: list[str], said: str) -> None:
    finding = found(texts)[kind]
    assert said in finding.found
    assert finding.do
    assert 0.1 <= finding.share <= 1


def test_what_happens_now_and_then_is_in_the_json_alone() -> None:
    texts = [*many(str, 40), ANSWER[:-5], ANSWER.replace('"on"', "3")]
    ledger, evidence = read(texts, scenes(42))
    result = diagnosis(ledger, evidence)
    assert result["findings"] == []
    assert result["failures"] == {"truncated": 1}
    assert result["relations"]["lost"] == 1
    assert result["first"]["bad_relationship"] == {
        "image_id": "41",
        "detail": "relationships[0] lacks a subject, predicate or object",
    }
    assert result["frame"]["overlap"] > 0.9


def test_names_outside_the_vocabulary_come_with_the_nearest() -> None:
    ledger, _ = read(many(str))
    for _ in range(5):
        ledger.add_outside([("object", "helmets"), ("predicate", "ridin")])
    (finding,) = findings(ledger, vocabulary=VG150)
    assert finding.kind == "outside_vocabulary"
    assert "'helmets' 5 (nearest 'helmet')" in finding.found
    assert "'ridin' 5 (nearest 'riding')" in finding.found


def test_the_example_of_a_prompt() -> None:
    from r1sgg.models.prompts import AnswerSettings, build_messages

    prompt = build_messages(AnswerSettings())[-1]["content"]
    example = prompt.partition("Example:\n")[2].partition("\n")[0]
    assert "prompt_example" in found([example, *many(str, 9)])
    assert found([prompt] * 3)["prompt_echo"].share == 1
    assert found([prompt + t for t in many(str)])["prompt_text"].share == 1


def test_random_texts_never_raise() -> None:
    rng = random.Random(1)
    pieces: list[Any] = [ANSWER, ANSWER[:40], "{}", "[1, 2]", "objects", '"a -> b -> c"', " ", "\n"]
    texts = ["".join(rng.choices(pieces, k=4)) for _ in range(300)]
    ledger, evidence = read(texts, scenes(300))
    diagnosis(ledger, evidence, VG150)


def test_units_of_a_family_are_candidates() -> None:
    truths = scenes(30)
    evidence = FrameEvidence()
    resized: Frame = (616.0, 476.0)
    for truth in truths:
        parsed = parse(with_boxes(truth, BoxFrame(resized), 0), FRAME)
        evidence.add(parsed, truth, (2000.0, 1500.0), {"pixels of the resized image": resized})
    verdict = evidence.verdict()
    assert verdict is not None
    assert verdict.wrong
    assert verdict.best.unit == "pixels of the resized image"
