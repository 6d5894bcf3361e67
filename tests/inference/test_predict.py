"""`r1sgg predict`, and a model as a function from images to graphs."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

import r1sgg
from r1sgg.bulk.photos import find_photos
from r1sgg.cli import main
from r1sgg.endpoint.remote import remote
from r1sgg.errors import ImageError, ModelError
from r1sgg.graph.scene import SceneGraph
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.lines import prediction_line
from r1sgg.inference.reader import Reader
from r1sgg.miniature.shipped import unpack
from r1sgg.models.families import LoadedModel
from r1sgg.models.prompts import Message

from .pretend import Parrot

ANSWER = (
    '{"objects":[{"id":"man.1","bbox":[100,200,500,1200]},{"id":"horse.1","bbox":[0,500,1000,1000]}],'
    '"relationships":[{"subject":"man.1","predicate":"riding","object":"horse.1"},'
    '{"subject":"man.1","predicate":"on","object":"roof.9"}]}'
)


class Oracle:
    """Says what it is told to."""

    name = "oracle"

    def __init__(self, text: str) -> None:
        self.text = text

    def generate(
        self,
        images: Sequence[Image.Image],
        messages: Sequence[list[Message]],
        sampling: Sampling,
        keys: Sequence[str] | None = None,
        **held: object,
    ) -> list[Completion]:
        assert all(image.mode == "RGB" for image in images)
        return [Completion(self.text, 60, "stop") for _ in images]


def test_a_reading_is_a_record_in_pixels_with_what_was_wrong(tiny: LoadedModel, tmp_path: Path) -> None:
    reader = Reader(tiny, Oracle(ANSWER))
    reading = reader.read(Image.new("L", (200, 100)))
    record = reading.to_record("photo", tmp_path / "photo.jpg", "tiny")
    assert (record["width"], record["height"]) == (200, 100)
    assert record["objects"][0] == {"id": "man.1", "bbox": [20, 20, 100, 100]}, "clipped to the image"
    assert record["relationships"] == [{"subject": "man.1", "predicate": "riding", "object": "horse.1"}]
    assert record["completion"] == ANSWER
    assert record["failure"] is None
    assert {issue["kind"] for issue in record["issues"]} == {"box_out_of_frame", "dangling"}
    assert reader(Image.new("CMYK", (30, 30))).triplets == (("man", "riding", "horse"),)


def test_an_answer_that_is_none_gives_the_empty_graph(tiny: LoadedModel) -> None:
    reader = Reader(tiny, Oracle("I cannot see anything."))
    assert reader(Image.new("RGB", (30, 30))) == SceneGraph((), (), np.zeros((0, 4)))
    assert reader.read(Image.new("RGB", (30, 30))).parsed.failure == "no_json"
    with pytest.raises(ImageError, match="no such file"):
        reader("gone.jpg")


def test_scores_and_a_threshold(tmp_path: Path) -> None:
    reader = Reader(remote("parrot", "0-1000"), Parrot(says=lambda key: ANSWER, sure=0.9))
    image = Image.new("RGB", (200, 100))
    reading = reader.read(image, scores=True)
    assert reading.graph.object_scores is not None
    assert reading.graph.relationship_scores is not None
    assert reading.graph.triplet_scores is not None
    man, horse = reading.graph.object_scores.tolist()
    (riding,) = reading.graph.relationship_scores.tolist()
    (triplet,) = reading.graph.triplet_scores.tolist()
    assert 0 < horse < man < 1, "the longer a name, the less sure is this parrot"
    assert triplet == riding < min(man, horse), "the score of a relationship is that of the whole triplet"
    record = reading.to_record("a", tmp_path, "parrot")
    assert [row["score"] for row in record["objects"]] == [round(man, 6), round(horse, 6)]
    assert [row["score"] for row in record["relationships"]] == [round(riding, 6)]
    assert len(reading.above(triplet).graph.pairs) == 1
    assert reading.above(triplet + 1e-9).graph.pairs == ()
    assert reading.above(horse).graph.ids == ("man.1", "horse.1")
    high = reading.above(man)
    assert high.graph.ids == ("man.1",)
    assert high.to_record("a", tmp_path, "parrot")["failure"] is None
    assert [row["id"] for row in high.to_record("a", tmp_path, "parrot")["objects"]] == ["man.1"]
    assert len(reading.above(1.0).graph) == 0
    with pytest.raises(ModelError, match="a threshold needs scores, and this engine gave no log-probabilities"):
        reader.read(image).above(0.5)


def test_a_repeated_triplet_is_in_the_graph_once_and_among_the_issues(tmp_path: Path) -> None:
    """Evaluation still counts the repeats: they stay in what was parsed, and in the line of predictions."""
    row = '{"subject":"man.1","predicate":"riding","object":"horse.1"}'
    text = ANSWER.replace(row, ",".join([row] * 3))
    reader = Reader(remote("parrot", "0-1000"), Parrot(says=lambda key: text, sure=0.9))
    reading = reader.read(Image.new("RGB", (200, 100)), scores=True)
    once = Reader(remote("parrot", "0-1000"), Parrot(says=lambda key: ANSWER, sure=0.9))
    assert reading.graph.relationships == once.read(Image.new("RGB", (200, 100)), scores=True).graph.relationships
    assert reading.above(0.01).graph.triplets == (("man", "riding", "horse"),)
    record = reading.to_record("a", tmp_path, "parrot")
    assert len(record["relationships"]) == 1
    assert [issue["kind"] for issue in record["issues"]].count("repeated_triplet") == 2
    assert len(reading.parsed.graph.pairs) == len(prediction_line(reading, "parrot")["relationships"]) == 3


def test_one_without_an_answer_does_not_stop_the_others() -> None:
    reader = Reader(remote("parrot", "0-1000"), Parrot(says=lambda key: None if key == "b" else ANSWER))
    images = [Image.new("RGB", (20, 20))] * 3
    readings = reader.read_batch(images, keys=["a", "b", "c"])
    assert [reading.completion.error for reading in readings] == [None, "nothing to say about b", None]
    assert len(readings[1].graph) == 0
    with pytest.raises(ModelError, match="nothing to say about 0"):
        Reader(remote("parrot", "0-1000"), Parrot(says=lambda key: None)).read(images[0])


def test_an_engine_that_cannot_tell_streams_the_whole_answer() -> None:
    reader = Reader(remote("parrot", "0-1000"), Parrot(says=lambda key: ANSWER, sure=0.9))
    (reading,) = reader.stream(Image.new("RGB", (20, 20)))
    assert reading.completion.text == ANSWER
    assert reading.graph.object_scores is not None


def test_a_streamed_answer_is_read_while_it_grows(tiny: LoadedModel) -> None:
    reader = Reader(tiny, TransformersEngine(tiny))
    image = Image.new("RGB", (60, 60))
    sampling = Sampling(max_new_tokens=60)
    *parts, last = list(reader.stream(image, sampling, guide=True))
    assert parts
    assert all(last.completion.text.startswith(part.completion.text) for part in parts)
    assert all(part.completion.finish_reason == "unfinished" for part in parts)
    assert last.completion.text == reader.read(image, sampling, guide=True).completion.text
    assert len(last.graph)
    assert last.graph.object_scores is not None


def test_a_threshold_leaves_out_and_needs_scores(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # so that no cell of the table is wrapped
    Image.new("RGB", (60, 40), "red").save(tmp_path / "red.png")
    arguments = ["predict", str(tmp_path / "red.png"), "--model", str(tiny_checkpoint), "--max-new-tokens", "60"]
    for options, count in (([], 1), (["--threshold", "1"], 0)):
        out = tmp_path / str(count)
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--guide", "--out", str(out), *options])
        assert left.value.code == 0, capsys.readouterr().err
        record = orjson.loads((out / "red.json").read_bytes())
        assert len(record["objects"]) >= count
        assert bool(record["objects"]) == bool(count)
        assert record["failure"] is None
        assert all(0 <= row["score"] <= 1 for row in record["objects"] + record["relationships"])
    assert "no score as high as the threshold" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--samples", "2", "--out", str(tmp_path)])
    assert left.value.code == 2
    assert "at temperature 0 are all the same" in capsys.readouterr().err


def test_load_reads_any_image(tiny_checkpoint: Path, tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), "red").save(tmp_path / "red.png")
    reader = r1sgg.load(tiny_checkpoint, device="cpu")
    graph = reader(tmp_path / "red.png", Sampling(max_new_tokens=4))
    assert isinstance(graph, SceneGraph)
    assert not hasattr(r1sgg, "lode")


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, r1sgg, r1sgg.cli, r1sgg.models.prompts, r1sgg.inference.engine, r1sgg.inference.reader; "
        "sys.exit(bool({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_photos_of_every_kind_give_json_and_a_picture(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    picture.save(folder / "rgb.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("P").save(folder / "palette.gif")
    picture.convert("RGBA").save(folder / "rgb.webp")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=turned)
    (folder / "text.jpg").write_text("no image")
    out = tmp_path / "out"
    paths = sorted(folder.iterdir())
    with pytest.raises(SystemExit) as left:
        main(["predict", *map(str, paths), "--model", str(tiny_checkpoint), "--out", str(out), "--max-new-tokens", "4"])
    assert left.value.code == 1
    written = capsys.readouterr()
    assert "text.jpg: expected an image" in written.err
    assert "failed" in written.out
    stems = {"cmyk", "deep", "palette", "rgb", "rgb-2", "turned"}
    assert {p.name for p in out.iterdir()} - {".predict.run"} == {
        f"{s}{end}" for s in stems for end in (".json", ".overlay.png")
    }
    record = orjson.loads((out / "turned.json").read_bytes())
    assert (record["width"], record["height"]) == (40, 60), "of the upright image"
    assert record["image"].endswith("turned.jpg")
    with Image.open(out / "rgb.overlay.png") as overlay:
        assert overlay.size > (0, 0)


def test_outputs_never_overwrite_each_other_or_an_input(tmp_path: Path) -> None:
    names = [tmp_path / "a" / "x.jpg", tmp_path / "b" / "X.png", tmp_path / "b" / "x-2.png"]
    for path in names:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [photo.name for photo in find_photos(names, tmp_path)[0]] == ["x", "X-2", "x-2-2"]
    clash = [tmp_path / "y.jpg", tmp_path / "y.overlay.png"]
    for path in clash:
        path.touch()
    assert [photo.name for photo in find_photos(clash, tmp_path)[0]] == ["y-2", "y.overlay"]


def test_all_real_photos_are_handled(
    shared: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = sorted((shared / "data" / "vg_sample" / "images").iterdir())
    assert photos
    arguments = ["predict", *map(str, photos), "--model", str(tiny_checkpoint), "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--max-new-tokens", "2", "--max-pixels", "12544"])
    assert left.value.code == 0
    assert len(list(tmp_path.glob("[!.]*.json"))) == len(list(tmp_path.glob("*.overlay.png"))) == len(photos)


def test_the_tiny_command_makes_a_checkpoint_and_spares_a_full_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for code in (0, 2):
        with pytest.raises(SystemExit) as left:
            main(["tiny", "--out", str(tmp_path / "tiny"), "--seed", "3"])
        assert left.value.code == code
    assert "expected a new or empty folder" in capsys.readouterr().err
    assert (tmp_path / "tiny" / "model.safetensors").is_file()
    made, ships = (
        orjson.loads((at / "processor_config.json").read_bytes()) for at in (tmp_path / "tiny", unpack("tiny"))
    )
    assert made["image_processor"]["size"] == ships["image_processor"]["size"]
