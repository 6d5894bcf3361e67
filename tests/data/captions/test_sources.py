"""Four formats of captions: what is read, and what is skipped with a reason."""

import gzip
import json
from pathlib import Path

import pytest
from PIL import Image

from r1sgg.data.captions.records import Captioned, Skipped
from r1sgg.data.captions.sources import Sizes, Source, read_captions
from r1sgg.errors import InputError


def write(path: Path, content: object, *, lines: bool = False) -> Path:
    if lines:
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in content))
    else:
        path.write_text(json.dumps(content))
    return path


NO_SIZES = Sizes()


def split(path: Path, source: Source, sizes: Sizes = NO_SIZES) -> tuple[list[Captioned], list[str]]:
    rows = list(read_captions(path, source, sizes))
    return [r for r in rows if isinstance(r, Captioned)], [r.reason for r in rows if isinstance(r, Skipped)]


GOOD = {"image_id": 7, "width": 64, "height": 48, "captions": ["a man", "a dog on a mat"], "image": "7.png"}


def test_jsonl(tmp_path: Path) -> None:
    boxes = [{"name": "The-Man", "bbox": [1, 2, 30, 40], "score": 0.5}, {"id": "dog.2", "bbox": [0, 0, 9, 9]}]
    rows = [{**GOOD, "boxes": boxes, "coco_id": 12, "vg_id": None}, {**GOOD, "image_id": "b", "caption": "one"}]
    del rows[1]["captions"]
    found, reasons = split(write(tmp_path / "c.jsonl", rows, lines=True), "jsonl")
    assert reasons == []
    first, second = found
    assert [c.text for c in first.captions] == ["a man", "a dog on a mat"]
    assert first.boxes is not None
    assert [(b.name, b.score) for b in first.boxes] == [("the man", 0.5), ("dog", 1.0)]
    assert (first.image_id, first.coco_id, first.vg_id, first.image) == ("7", "12", "", tmp_path / "7.png")
    assert (second.boxes, second.coco_id, second.vg_id) == (None, None, None)
    again = write(tmp_path / "again.jsonl", [record.to_record(tmp_path) for record in found], lines=True)
    assert split(again, "jsonl") == (found, [])


JUNK = [
    ("not json", "JSON"),
    ("[1]", "JSON object"),
    ({"width": 1, "height": 1, "caption": "x"}, "image_id"),
    ({**GOOD, "captions": []}, "captions"),
    ({**GOOD, "captions": ["a", " "]}, "captions"),
    ({**GOOD, "captions": {"a": 1}}, "captions"),
    ({**GOOD, "width": -1}, "width"),
    ({**GOOD, "width": 0.5}, "width"),
    ({**GOOD, "width": 0}, "width"),
    ({**GOOD, "boxes": [{"name": "a", "bbox": [5, 5, 1, 1]}]}, "x1 < x2"),
    ({**GOOD, "boxes": [{"bbox": [0, 0, 1, 1]}]}, "name"),
    ({**GOOD, "boxes": "none"}, "a list"),
    ({**GOOD, "boxes": [{"name": "a", "bbox": [0, 0, 1, 1], "score": 7}]}, "score"),
    ({**GOOD, "colour": 1}, "unknown key"),
    ({**GOOD, "split": 3}, "split"),
]


@pytest.mark.parametrize(("line", "said"), JUNK)
def test_a_wrong_line_is_skipped_with_file_line_and_reason(tmp_path: Path, line: object, said: str) -> None:
    path = write(tmp_path / "c.jsonl", [GOOD, line, {**GOOD, "image_id": "c"}], lines=True)
    found, (reason,) = split(path, "jsonl")
    assert [r.image_id for r in found] == ["7", "c"]
    assert "c.jsonl:2" in reason
    assert said in reason


def test_coco(tmp_path: Path) -> None:
    document = {
        "images": [
            {"id": 9, "file_name": "9.jpg", "height": 48, "width": 64},
            {"id": 10, "file_name": "10.jpg", "height": 48, "width": 64},
            {"id": 11, "file_name": "x", "height": None, "width": 64},
            7,
        ],
        "annotations": [
            {"image_id": 9, "id": 1, "caption": "A cat."},
            {"image_id": 9, "id": 2, "caption": "A cat on a mat."},
            {"image_id": 10, "id": 3},
            {"image_id": 99, "id": 4, "caption": "nobody"},
        ],
    }
    found, reasons = split(write(tmp_path / "captions.json", document), "coco")
    assert [(r.image_id, r.coco_id, len(r.captions), r.width) for r in found] == [("9", "9", 2, 64)]
    assert [r.partition(": ")[2].split(":")[0] for r in reasons] == [
        "annotations[2]", "images[2]", "images[3]", "captions of 1 images that are not listed, the first",
    ]  # fmt: skip
    for wrong in ([1], {"images": []}):
        with pytest.raises(InputError, match=r"list|object"):
            split(write(tmp_path / "wrong.json", wrong), "coco")


def test_vg_regions_plain_and_packed(tmp_path: Path) -> None:
    region = {"region_id": 3, "image_id": 1, "phrase": "a man on a horse", "x": 2, "y": 4, "width": 9, "height": 8}
    document = [{"id": 1, "regions": [region, {**region, "width": 0}, {"phrase": 7}]}, {"id": 2, "regions": []}, "x"]
    path = tmp_path / "regions.json.gz"
    path.write_bytes(gzip.compress(json.dumps(document).encode()))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / "1.jpg")
    sizes = Sizes(tmp_path / "images")
    found, reasons = split(path, "vg-regions", sizes)
    assert [(r.image_id, r.width, r.height, r.vg_id) for r in found] == [("1", 40, 30, "1")]
    assert found[0].captions[0].region == (2, 4, 11, 12)
    assert len(reasons) == 3
    data = write(tmp_path / "image_data.json", [{"image_id": 1, "width": 80, "height": 60}])
    assert split(path, "vg-regions", Sizes(None, data))[0][0].width == 80
    assert "--image-data" in split(path, "vg-regions")[1][-1] or "--image-data" in " ".join(
        split(path, "vg-regions")[1]
    )


NARRATIVE = {
    "dataset_id": "mscoco_train2017",
    "image_id": "000000000009",
    "annotator_id": 1,
    "caption": "A man. A Dog.",
    "timed_caption": [
        {"utterance": "A man.", "start_time": 0.0, "end_time": 1.0},
        {"utterance": "a dog.", "start_time": 2.0, "end_time": 3.0},
        {"utterance": "not in it", "start_time": 4.0, "end_time": 5.0},
    ],
    "traces": [[{"x": 0.1, "y": 0.2, "t": 0.5}, {"x": -0.1, "y": 0.2, "t": 0.6}], [{"x": 0.7, "y": 0.8, "t": 2.5}, {}]],
}


def test_narratives(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "000000000009.png")
    other = {**NARRATIVE, "dataset_id": "ADE20k_train", "image_id": "a"}
    path = write(tmp_path / "n.jsonl", [NARRATIVE, {"image_id": "x"}, other], lines=True)
    (found,), reasons = split(path, "narratives", Sizes(tmp_path))
    (caption,) = found.captions
    assert [(s.start, s.end, s.begins) for s in caption.spoken] == [(0, 6, 0.0), (7, 13, 2.0)]
    assert len(caption.trace) == 3
    assert (found.width, found.coco_id, found.vg_id) == (40, "9", "")
    assert ["caption" in reasons[0], "size" in reasons[1]] == [True, True]


@pytest.mark.parametrize(
    "change",
    [
        *({key: value} for key in ("timed_caption", "traces") for value in (5, "abc", {"a": 1}, [5], [None], True)),
        {"traces": [[{"x": "a", "y": 1, "t": 2}]]},
        {"timed_caption": [{"utterance": "a man", "start_time": "x", "end_time": 2}]},
    ],
)
def test_a_narrative_with_junk_in_its_times_keeps_its_caption(tmp_path: Path, change: dict[str, object]) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "000000000009.png")
    path = write(tmp_path / "n.jsonl", [{**NARRATIVE, **change}], lines=True)
    (found,), reasons = split(path, "narratives", Sizes(tmp_path))
    assert (found.captions[0].text, reasons) == ("A man. A Dog.", [])


def test_a_narrative_of_an_unknown_data_set_may_be_anybody_s(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "000000000009.png")
    lines = [{**NARRATIVE, "dataset_id": name} for name in ("", None, 7)]
    lines.append({key: value for key, value in NARRATIVE.items() if key != "dataset_id"})
    found, _ = split(write(tmp_path / "n.jsonl", lines, lines=True), "narratives", Sizes(tmp_path))
    assert [(r.coco_id, r.vg_id) for r in found] == [(None, None)] * 4


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.jsonl").write_text(content)
    with pytest.raises(InputError, match="empty"):
        list(read_captions(tmp_path / "c.jsonl", "jsonl"))
