"""Images by position: folders, JSON Lines, parquet, WebDataset shards and data sets, whole and damaged."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from r1sgg.bulk.archives import ParquetImages, expand
from r1sgg.bulk.inputs import open_inputs
from r1sgg.bulk.parts import line_of_place, place_of_line
from r1sgg.bulk.stored import Inputs
from r1sgg.errors import ConfigError, ImageError, InputError


def png(shade: int, size: tuple[int, int] = (6, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def shades(inputs: Inputs) -> dict[str, int]:
    """The red of each image by its id; places go through JSON, as they do on a cluster."""
    places = [place_of_line(line_of_place(place)) for place in inputs]
    return {place.image_id: inputs.image(place).getpixel((0, 0))[0] for place in places}


def shard(path: Path, files: dict[str, bytes], tar_format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def parquet(path: Path, columns: dict[str, list[object]], rows: int = 2) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


# ---------------------------------------------------------------- folders


def test_a_folder_gives_its_images_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for k, name in enumerate(("b/2.PNG", "b/10.jpeg.png", "b/z/1.png", "a.png", "c d.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(k))
    for name in ("b/notes.txt", ".hidden.png", ".cache/x.png", "gt.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    inputs = open_inputs(str(tmp_path))
    assert len(inputs) == 5
    assert shades(inputs) == {"a.png": 3, "b/10.jpeg.png": 1, "b/2.PNG": 0, "b/z/1.png": 2, "c d.png": 4}
    assert [p.image_id for p in inputs] == sorted((p.image_id for p in inputs), key=lambda name: name.split("/"))
    assert [inputs.size(place) for place in inputs] == [(6, 4)] * 5
    assert inputs.notes == [f"{tmp_path}: 2 files that are not images were left out"]


def test_a_folder_that_links_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(png(1))
    (tmp_path / "real" / "back").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    assert [place.image_id for place in open_inputs(str(tmp_path))] == ["linked/a.png", "real/a.png"]


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_a_file_name_that_is_not_utf8_is_written_out(tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.png"), "wb") as handle:
        handle.write(png(7))
    inputs = open_inputs(str(tmp_path))
    assert shades(inputs) == {"caf\\xe9.png": 7}
    assert orjson.dumps([place.image_id for place in inputs])


def test_a_folder_s_digest_knows_its_names(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    before = open_inputs(str(tmp_path)).digest
    assert open_inputs(str(tmp_path)).digest == before
    (tmp_path / "b.png").write_bytes(png(1))
    assert open_inputs(str(tmp_path)).digest != before


# ---------------------------------------------------------------- JSON Lines


def test_lines_may_name_nothing_but_an_image(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for k, name in enumerate(("x/a.png", "b.png", "c.png")):
        (tmp_path / name).write_bytes(png(k))
    rows = [{"image": "x/a.png"}, {"image": "b.png", "image_id": 7, "split": "val"}, {"image": "c.png", "split": "val"}]
    path = tmp_path / "list.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)) + b"\n\n")
    assert shades(open_inputs(str(path))) == {"x/a.png": 0, "7": 1, "c.png": 2}
    assert shades(open_inputs(f"jsonl:{path},split=val")) == {"7": 1, "c.png": 2}


def test_a_wrong_truth_is_no_obstacle_and_a_wrong_line_is(tmp_path: Path) -> None:
    path = tmp_path / "gt.jsonl"
    boxes = [{"id": "man.1", "bbox": [9, 9, 0, 0]}]
    path.write_bytes(orjson.dumps({"image_id": "a", "width": 6, "height": 4.0, "image": "a.png", "objects": boxes}))
    (place,) = open_inputs(str(path))
    assert place.size is None, "a height of 4.0 is looked up in the file"
    for row, message in (
        ({"width": 3}, 'expected an "image" or an "image_id"'),
        ({"image": 3}, "image: expected a path"),
        ({"image_id": "", "image": "a"}, "image_id: expected a string"),
    ):
        path.write_bytes(orjson.dumps(row))
        with pytest.raises(InputError, match=message):
            len(open_inputs(str(path)))
    path.write_bytes(b'{"image_id":"a","image":"a"}\n{"image_id":"b","image":"a"}\n{"image_id":"a","image":"c"}\n')
    with pytest.raises(InputError, match="unique image ids, found 'a' twice"):
        len(open_inputs(str(path)))


# ---------------------------------------------------------------- parquet


def test_parquet_holds_bytes_paths_or_both(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(9))
    struct = [{"bytes": png(k), "path": None} for k in range(4)] + [{"bytes": None, "path": "p.png"}]
    path = parquet(tmp_path / "a.parquet", {"image_id": list("vwxyz"), "image": struct})
    inputs = open_inputs(str(path))
    assert shades(inputs) == {"v": 0, "w": 1, "x": 2, "y": 3, "z": 9}
    assert isinstance(inputs, ParquetImages)
    assert len(inputs._held) == 2, "no more row groups than two are held"
    (tmp_path / "more").mkdir()
    parquet(tmp_path / "more" / "0.parquet", {"photo": [png(5)], "key": [11]})
    parquet(tmp_path / "more" / "1.parquet", {"photo": [png(6), None], "key": [12, 13]})
    named = open_inputs(f"parquet:{tmp_path / 'more'},image=photo,id=key")
    assert [place.image_id for place in named] == ["11", "12", "13"]
    places = list(named)
    assert named.image(places[1]).getpixel((0, 0)) == (6, 0, 0)
    assert named.size(places[2]) == (0, 0)
    with pytest.raises(ImageError, match="13: expected bytes or a path, found none"):
        named.image(places[2])
    unnamed = open_inputs(f"parquet:{tmp_path / 'more'},image=photo")
    assert [place.image_id for place in unnamed] == ["0/0", "1/0", "1/1"]


def test_parquet_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"photo": [png(5)]})
    with pytest.raises(InputError, match="expected a column 'image', found photo; choose columns with"):
        open_inputs(str(path))
    with pytest.raises(InputError, match="expected a column 'key', found photo"):
        open_inputs(f"parquet:{path},image=photo,id=key")
    with pytest.raises(ConfigError, match="expected the options image=COLUMN, id=COLUMN, found 'size'"):
        open_inputs(f"parquet:{path},size=3")
    path.write_bytes(b"PAR1 no parquet")
    with pytest.raises(InputError, match="expected a readable parquet file, found an error"):
        open_inputs(str(path))
    with pytest.raises(InputError, match=r"expected a \.parquet file, found no such file"):
        open_inputs("parquet:nowhere")


# ---------------------------------------------------------------- WebDataset


def sample(key: str, shade: int) -> dict[str, bytes]:
    return {f"{key}.json": b"{}", f"{key}.seg.png": png(200), f"{key}.png": png(shade), f"{key}.jpg": png(201)}


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_shards_give_each_sample_s_image(tmp_path: Path, tar_format: int) -> None:
    long = "d/" + "x" * 90
    shard(tmp_path / "s-08.tar", sample("./a", 1) | sample("v1.0/b", 2) | {"only.txt": b"text"}, tar_format)
    shard(tmp_path / "s-09.tar", sample(long, 3), tar_format)
    shard(tmp_path / "s-10.tar", sample("a2", 4), tar_format)
    inputs = open_inputs(str(tmp_path / "s-{08..10}.tar"))
    assert len(inputs) == 4
    assert shades(inputs) == {"a": 1, "v1.0/b": 2, long: 3, "a2": 4}
    assert inputs.notes == [f"{tmp_path / 's-08.tar'}: 1 samples have no image and were left out"]
    assert shades(open_inputs(f"webdataset:{tmp_path}")) == shades(inputs)


def test_a_damaged_shard_costs_what_comes_after_the_damage(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", {f"{k}.png": png(k) for k in range(5)})
    whole = path.read_bytes()
    places = list(open_inputs(str(path)))
    header = int(places[3].where[1]) - tarfile.BLOCKSIZE
    for name, content, left in (
        ("cut in an image", whole[: header + 540], 4),
        ("cut in a header", whole[: header + 100], 3),
        ("broken header", whole[:header] + b"\xff" * 512 + whole[header + 512 :], 3),
    ):
        path.write_bytes(content)
        inputs = open_inputs(str(path))
        assert len(inputs) == left, name
        assert "expected an intact tar file, found damage" in inputs.notes[0], name
        assert [inputs.image(place).getpixel((0, 0))[0] for place in list(inputs)[:3]] == [0, 1, 2]
        for place in list(inputs)[3:]:
            with pytest.raises(ImageError, match="damaged data"):
                inputs.image(place)
    path.write_bytes(b"no tar at all")
    with pytest.raises(InputError, match=r"at least one image, found none \(.*found damage"):
        len(open_inputs(str(path)))


def test_keys_that_repeat_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        shard(tmp_path / f"{name}.tar", {"0.png": png(1)})
    with pytest.raises(InputError, match="unique image ids, found '0' twice"):
        len(open_inputs(str(tmp_path / "{a,b}.tar")))


def test_brace_patterns_are_written_out() -> None:
    assert expand("s-{08..10}.tar") == ["s-08.tar", "s-09.tar", "s-10.tar"]
    assert expand("{a,b}/{1..2}.tar") == ["a/1.tar", "a/2.tar", "b/1.tar", "b/2.tar"]
    assert expand("{odd}.tar") == ["{odd}.tar"]
    assert expand("{3..1}.tar") == ["{3..1}.tar"]


# ---------------------------------------------------------------- any of them


def test_any_data_set_gives_its_images() -> None:
    inputs = open_inputs("scenes:3,seed=2,split=test")
    places = list(inputs)
    assert len(inputs) == 3
    assert all(place.image_id.startswith("scene-") for place in places)
    assert inputs.size(places[0]) == inputs.image(places[0]).size == (112, 112)
    assert open_inputs("scenes:3,seed=3,split=test").digest != inputs.digest
    both = {np.asarray(inputs.image(place)).tobytes() for place in places}
    assert len(both) == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "expected a folder of images, FILE.jsonl"),
        ("photo.jpg", "found an image; use `r1sgg predict`"),
        ("moon:DIR", "expected one of jsonl:"),
        ("a.tar.gz", "expected a .tar file, found no such file"),
        ("webdataset:{empty}", "expected a folder with .tar files, found none in it"),
        ("{empty}", "expected at least one image, found none"),
    ],
)
def test_what_is_no_input_is_said_in_one_sentence(tmp_path: Path, spec: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises((InputError, ConfigError)) as error:
        len(open_inputs(spec.format(empty=tmp_path / "empty")))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_packed_shard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"expected an uncompressed \.tar file, found \.gz; unpack it"):
        open_inputs(str(tmp_path / "a.tar.gz"))
