"""The frame probe: every frame of the registry is recovered, wrong ones are caught, and what cannot be told is said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from r1sgg.cli import app
from r1sgg.doctor.conventions import Candidate, Sizes, candidates
from r1sgg.doctor.fitting import TWIN, Answers, Verdict, fit
from r1sgg.doctor.frame import expected_of, sizes_of
from r1sgg.doctor.shapes import COLOURS, SIZES, Picture, draw_pictures
from r1sgg.endpoint.remote import remote
from r1sgg.graph.dialects.registry import DIALECTS
from r1sgg.models.registry import FAMILIES
from r1sgg.models.tongue import tongue_of

from ..endpoint.fake_server import FakeServer, fails, says
from ..models.tiny_families import build_qwen2_5_vl, build_qwen2_vl
from .shape_server import FrameOf, ShapeModel, bbox_json, bins, pixels, shapes_in

PICTURES = draw_pictures()


def answers(candidate: Candidate, pictures: Sequence[Picture], *, noise: float, wrong: float, seed: int = 0) -> Answers:
    """The true boxes as the candidate writes them, with noise on each side, and a share of them anywhere."""
    draw = np.random.default_rng(seed)
    written, true, places = [], [], []
    for k, picture in enumerate(pictures):
        boxes = picture.boxes + draw.normal(0, noise, picture.boxes.shape)
        anywhere = np.sort(draw.random((len(boxes), 2, 2)), axis=1).reshape(-1, 4)
        boxes = np.where(draw.random((len(boxes), 1)) < wrong, anywhere, boxes)
        written.append(candidate.frames[k].written(boxes).round(3 if max(candidate.frames[k].size) <= 1 else 0))
        true.append(picture.boxes)
        places += [k] * len(boxes)
    return Answers(np.array(places), np.concatenate(written), np.concatenate(true))


def decide(known: Sequence[Candidate], found: Answers, pictures: Sequence[Picture] = PICTURES) -> Verdict:
    return fit(found, known, [picture.boxes for picture in pictures])


# ---------------------------------------------------------------- the pictures


def test_the_pictures_differ_in_what_frames_differ_in_and_are_drawn_the_same_each_time() -> None:
    ratios = [width / height for width, height in SIZES]
    assert min(ratios) < 0.6 < 1.5 < max(ratios)
    areas = [width * height for width, height in SIZES]
    assert sum(area > 1280 * 28 * 28 for area in areas) >= 3, "larger than what is kept"
    assert min(areas) < 40_000
    for width, height in SIZES:
        assert width % 28 or height % 28
        assert width % 32 or height % 32
    for first, again in zip(PICTURES, draw_pictures(), strict=True):
        assert first.names == again.names
        assert np.array_equal(first.image, again.image)
        assert np.array_equal(first.boxes, again.boxes)


def test_the_shapes_are_where_the_boxes_say() -> None:
    for picture in PICTURES:
        colours, boxes = shapes_in(picture.image)
        places = [next(k for k, name in enumerate(picture.names) if name.startswith(colour)) for colour in colours]
        assert sorted(places) == list(range(4))
        width, height = picture.image.size
        assert (np.abs(boxes - picture.boxes[places]) * ((width, height) * 2)).max() <= 1.5, "pixels"
    assert len({name.split()[0] for picture in PICTURES for name in picture.names}) == len(COLOURS)


# ---------------------------------------------------------------- the fit


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_every_frame_of_the_registry_is_recovered_with_noise_and_a_third_of_wrong_boxes(family: str) -> None:
    checkpoint = remote("m", family)
    known = candidates([sizes_of(checkpoint, picture.image) for picture in PICTURES])
    expected, known = expected_of(checkpoint, PICTURES, known)
    for noise in (0.0, 0.004, 0.01):
        verdict = decide(known, answers(expected, PICTURES, noise=noise, wrong=0.3, seed=int(noise * 1000)))
        assert not verdict.why_not, (noise, verdict.why_not)
        assert not verdict.shifted
        same = [verdict.best, *verdict.twins]
        assert expected in [each.candidate for each in same], (noise, verdict.best.candidate.name)
        assert 0.5 < verdict.best.right < 0.85
        if noise == 0.0:
            assert verdict.best.candidate is expected, "without noise even 999 and 1000 differ"
        assert all(
            verdict.best.candidate.distance(twin.candidate, [p.boxes for p in PICTURES]) <= TWIN for twin in same
        )
        assert verdict.margin > 20


def test_every_candidate_is_recovered_without_noise_whatever_its_axes_and_corners() -> None:
    known = candidates([sizes_of(remote("gpt"), picture.image) for picture in PICTURES])
    assert len(known) > 80
    assert len({candidate.frames for candidate in known}) == len(known)
    for candidate in known[:: max(1, len(known) // 24)]:
        verdict = decide(known, answers(candidate, PICTURES, noise=0.0, wrong=0.3))
        assert verdict.best.candidate is candidate, (candidate.name, verdict.best.candidate.name, verdict.why_not)


def test_boxes_that_are_anywhere_tell_nothing() -> None:
    known = candidates([sizes_of(remote("gpt"), picture.image) for picture in PICTURES])
    for seed in range(6):
        verdict = decide(known, answers(known[0], PICTURES, noise=0.0, wrong=1.0, seed=seed))
        assert "no known frame explains them" in verdict.why_not


def test_too_few_boxes_tell_nothing() -> None:
    known = candidates([sizes_of(remote("gpt"), picture.image) for picture in PICTURES])
    few = answers(known[0], PICTURES[:2], noise=0.0, wrong=0.0)
    expected = "answers with at least 6 boxes of named shapes, in at least 3 pictures"
    assert decide(known, few).why_not == f"expected {expected}, found 8 in 2"
    nothing = Answers(np.zeros(0, dtype=np.int64), np.zeros((0, 4)), np.zeros((0, 4)))
    assert decide(known, nothing).why_not


def test_frames_that_the_pictures_do_not_tell_apart_are_said_to_be_so() -> None:
    """Two units that differ by half a percent on these pictures, and noise above it: neither is chosen."""
    sizes = [
        Sizes((1000.0, 1000.0), (1000.0, 1000.0), (("a", (1000.0, 1000.0)), ("b", (1006.0, 1006.0)))) for _ in PICTURES
    ]
    known = [candidate for candidate in candidates(sizes) if candidate.name in ("thousandths", "b")]
    assert len(known) == 2
    verdict = decide(known, answers(known[0], PICTURES, noise=0.03, wrong=0.3))
    assert verdict.why_not == "these answers do not tell 'thousandths' from 'b'" or verdict.why_not.endswith(
        "'b' from 'thousandths'"
    )


def test_boxes_beside_their_shapes_are_a_fault_of_the_engine() -> None:
    """As when a server drops rows of the image's positions: all boxes 90 pixels off, in the right unit."""
    known = candidates([sizes_of(remote("gpt"), picture.image) for picture in PICTURES])
    right = np.array([0.14, 0.0, 0.14, 0.0])
    moved = [Picture(p.image, p.names, p.boxes + right) for p in PICTURES]
    found = answers(known[0], moved, noise=0.003, wrong=0.3)
    found = Answers(found.pictures, found.written, found.true - right)
    verdict = decide(known, found)
    assert verdict.shifted
    assert verdict.best.candidate.name == "thousandths"
    assert verdict.best.shift == pytest.approx((0.14, 0.0), abs=0.004)


def test_an_axis_order_a_size_and_an_offset_read_each_other_wrong() -> None:
    """The distance of two readings: nothing for one's own, half a bin for an offset, much for swapped axes."""
    known = {c.name: c for c in candidates([sizes_of(remote("gpt"), picture.image) for picture in PICTURES])}
    boxes = [picture.boxes for picture in PICTURES]
    one = known["thousandths"]
    assert one.distance(one, boxes) == pytest.approx(0, abs=1e-9)
    assert one.distance(known["thousandths, the middle of each bin"], boxes) == pytest.approx(0.0005)
    assert one.distance(known["0 to 999"], boxes) == pytest.approx(0.001, abs=1e-4)
    assert one.distance(known["thousandths, y first"], boxes) > 0.5
    assert one.distance(known["thousandths, width and height in place of the second corner"], boxes) > 0.3


# ---------------------------------------------------------------- the command


def probe(frame: FrameOf, model: str, *options: str, write: object = bbox_json, **faults: object) -> tuple[Result, int]:
    """Ask a server that answers truthfully in a frame; return the result and how many requests it had."""
    with FakeServer(ShapeModel(frame, write, **faults)) as server:  # type: ignore[arg-type]
        command = ["doctor", "--frame", "--model", model, "--engine", f"openai:{server.url},retries=0,timeout=60"]
        return CliRunner().invoke(app, [*command, *options]), len(server.asked)


def last(result: Result) -> str:
    lines = (result.stderr if result.exit_code else result.stdout).strip().splitlines()
    return next(line for line in reversed(lines) if not line.startswith(("the first answer", "no answer")))


@pytest.mark.parametrize(
    ("family", "frame"), [("Qwen3-VL", bins(1000.0)), ("Gemma 4", bins(1000.0, axes="yx")), ("Qwen2.5-VL", pixels)]
)
def test_a_model_that_keeps_to_its_family_s_frame_passes(family: str, frame: FrameOf, tmp_path: Path) -> None:
    write = tongue_of(remote("m", family)).asking.write
    out = tmp_path / "f.json"
    options = ("--family", family, "--json", str(out))
    result, asked = probe(frame, "m", *options, write=write, noise=0.004, wrong=0.3)
    assert result.exit_code == 0, result.output
    assert asked == len(SIZES)
    assert last(result).endswith(f"as {family} is registered")
    record = json.loads(out.read_text())["frame"]
    assert record["agrees"] is True
    assert record["margin"] > 20
    assert record["answered_in"] == record["asked_in"] == remote("m", family).family.dialect
    assert len(record["boxes"]) > 40
    assert len(record["completions"]) == len(SIZES)


def test_a_checkpoint_in_the_wrong_frame_is_caught(tmp_path: Path) -> None:
    """A Qwen2.5-VL, as its config.json says, whose server answers in thousandths; and a Qwen2-VL in pixels."""
    path = build_qwen2_5_vl(tmp_path / "q25")
    result, _ = probe(bins(1000.0), str(path), noise=0.003, wrong=0.2)
    assert result.exit_code == 3, result.output
    said = " ".join(result.stderr.split())
    assert "expected boxes in 'pixels of the resized image', as Qwen2.5-VL is registered, found 'thousandths'" in said
    assert (
        "its graphs would be read in the wrong frame; families with this frame: Qwen3-VL, Qwen3.5, GLM-V, Qwen2-VL"
        in said
    )
    result, _ = probe(pixels, "Qwen/Qwen2-VL-2B-Instruct", noise=0.003, wrong=0.2)
    assert result.exit_code == 3, result.output
    assert "families with this frame: Qwen2.5-VL" in " ".join(result.stderr.split())


def test_swapped_axes_are_caught(tmp_path: Path) -> None:
    result, _ = probe(bins(1000.0, axes="yx"), "qwen3-vl:4b", noise=0.003, wrong=0.3)
    assert result.exit_code == 3
    assert "found 'thousandths, y first'" in result.stderr
    assert "families with this frame: Gemma 4" in result.stderr


def test_a_shifting_server_is_caught() -> None:
    result, _ = probe(bins(1000.0), "qwen3-vl:4b", noise=0.003, shift=(0.14, 0.0))
    assert result.exit_code == 3, result.output
    assert "of the width and" in last(result)
    assert "the engine loses a part of the image's positions" in last(result)


def test_a_model_of_an_unknown_name_is_measured_and_the_families_with_its_frame_are_named() -> None:
    result, _ = probe(bins(1000.0), "my-model", noise=0.003)
    assert result.exit_code == 0, result.output
    assert "my-model: boxes in 'thousandths'; pass --family with a name that has this frame (Qwen3-VL" in last(result)
    assert "my-model: expected a name" not in result.output


@pytest.mark.parametrize("text", ["", "I cannot see any shapes.", '[{"bbox_2d": [1, 2], "label": "red square"}]'])
def test_a_model_that_gives_no_boxes_cannot_be_told(text: str) -> None:
    with FakeServer(lambda asked: says(text)) as server:
        command = [
            "doctor",
            "--frame",
            "--model",
            "qwen3-vl:4b",
            "--engine",
            f"openai:{server.url},retries=0,timeout=60",
        ]
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 4, result.output
    assert last(result).startswith("qwen3-vl:4b: cannot tell: expected answers with at least 6 boxes of named shapes")
    assert last(result).endswith("in at least 3 pictures, found none")


def test_a_server_that_refuses_every_picture_is_quoted(tmp_path: Path) -> None:
    out = tmp_path / "frame.json"
    with FakeServer(lambda asked: fails(400, "this model takes no images")) as server:
        engine = f"openai:{server.url},retries=0,timeout=60"
        command = ["doctor", "--frame", "--model", "qwen3-vl:4b", "--engine", engine, "--json", str(out)]
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 4, result.output
    assert "12 pictures without an answer" in result.output
    assert "the first picture without an answer: http://127.0.0.1" in result.stderr
    assert "this model takes no images" in result.stderr
    assert "this model takes no images" in json.loads(out.read_text())["frame"]["error"]


def test_random_boxes_cannot_be_told() -> None:
    result, _ = probe(bins(1000.0), "qwen3-vl:4b", wrong=1.0)
    assert result.exit_code == 4, result.output
    assert "cannot tell: no known frame explains them" in last(result)


def test_another_layout_than_the_family_s_is_named(tmp_path: Path) -> None:
    write = DIALECTS["internvl"].asking.write  # type: ignore[union-attr]
    result, _ = probe(bins(1000.0), "qwen3-vl:4b", write=write)
    assert result.exit_code == 0, result.output
    assert "written in internvl (asked in qwen-json)" in result.stdout


def test_a_checkpoint_is_asked_through_transformers(tmp_path: Path) -> None:
    """Random weights write noise: the probe runs, and says that it cannot tell."""
    path = build_qwen2_vl(tmp_path / "q2")
    result = CliRunner().invoke(app, ["doctor", "--frame", "--model", str(path)])
    assert result.exit_code == 4, result.output
    assert "cannot tell" in last(result)


def test_a_trained_checkpoint_is_measured_on_annotated_images_that_it_can_read(tmp_path: Path) -> None:
    """The shipped model knows drawn scenes; about these it writes thousandths, as its family is registered."""
    out = tmp_path / "f.json"
    command = ["doctor", "--frame", "--model", "tiny", "--images", "scenes:12", "--json", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert last(result) == "tiny: boxes in 'thousandths', as Qwen2-VL is registered"
    record = json.loads(out.read_text())["frame"]
    assert record["asked_in"] == record["answered_in"] == "ours"
    assert len(record["pictures"]) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "tiny", "--images", "scenes:3"], "--images scenes:3: expected --frame too"),
        (["--frame"], "--frame: expected --model, and no --config"),
        (["--frame", "--model", "tiny", "--config", "x.yaml"], "--frame: expected --model, and no --config"),
        (["--model", "tiny", "--family", "Qwen2-VL"], "--family Qwen2-VL: expected --frame too"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(options: list[str], message: str) -> None:
    assert message in str(CliRunner().invoke(app, ["doctor", *options]).exception)
