"""No command writes over what it reads: every output of every command is given the name of every input."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import pytest
import typer

from r1sgg.cli import app, main
from r1sgg.cli.root import OUTPUTS, SOURCES
from r1sgg.miniature.scenes import SMALL, scene


class Writes(NamedTuple):
    """What a command writes and reads; `given` is what it also needs, `folders` are outputs that are folders."""

    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    given: str = ""
    folders: tuple[str, ...] = ()


TABLE = {
    "bench": Writes(("--out",), ("--model",), folders=("--out",)),
    "captions check": Writes(("--out", "--log", "--json"), ("", "--captions", "--ground-truth")),
    "data build": Writes(("--out",), ("--data", "--data jsonl:"), folders=("--out",)),
    "data captions": Writes(("--out",), ("", "--image-data", "--leak", "--ground", "--vocabulary")),
    "data check": Writes(("--fix", "--log", "--json"), ("--data", "--data jsonl:", "--vocabulary")),
    "data scenes": Writes(("--out",), (), folders=("--out",)),
    "data split": Writes(("--out",), ("--data", "--data coco:"), folders=("--out",)),
    "data stats": Writes(("--out", "--json"), ("--data", "--data coco:", "--vocabulary", "--against")),
    "data vg": Writes(("--out",), ("--objects", "--relationships", "--image-data", "--vocabulary")),
    "data view": Writes(("--out",), ("--data", "--data psg:")),
    "doctor": Writes(("--json",), ("--config", "--model", "--image", "--prompt", "--vocabulary")),
    "draw": Writes(("--out",), ("", " psg:", "--ground-truth"), folders=("--out",)),
    "evaluate": Writes(
        ("--json", "--out"),
        ("", " swift:", "--ground-truth", "--train", "--train jsonl:", "--vocabulary", "--groups", "--zero-shot"),
    ),
    "export": Writes(("--out",), ("", " swift:", " coco:", "--ground-truth"), "--format csv"),
    "generate": Writes(("--out",), ("--images", "--images webdataset:", "--vocabulary", "--prompt"), "--overwrite"),
    "predict": Writes(("--out", "--json"), ("--model", "--vocabulary", "--prompt"), "photo.jpg", folders=("--out",)),
    "probe": Writes(("--out",), ("--model", "--ground-truth", "--train"), "--overwrite", folders=("--out",)),
    "publish": Writes(("--out",), ("", "--results"), folders=("--out",)),
    "report": Writes(("--out", "--json", "--figure"), ("", " r1sgg:", "--ground-truth", "--runs", "--vocabulary")),
    "score": Writes(("--out",), ("", "--rewards")),
    "tiny": Writes(("--out",), (), folders=("--out",)),
}
NEEDED = {
    "bench": {"": "idea", "--config": "r.yaml", "--out": "new"},
    "captions check": {"": "g.jsonl", "--captions": "c.jsonl"},
    "data captions": {"": "c.jsonl", "--out": "new"},
    "data build": {"--data": "d.jsonl", "--out": "new"},
    "data check": {"--data": "d.jsonl"},
    "data split": {"--data": "d.jsonl", "--out": "new"},
    "data stats": {"--data": "d.jsonl"},
    "data vg": {"--objects": "o.json", "--relationships": "r.json", "--out": "new"},
    "data view": {"--data": "d.jsonl", "--out": "new"},
    "draw": {"": "g.jsonl", "--out": "new"},
    "evaluate": {"": "p.jsonl", "--ground-truth": "g.jsonl"},
    "export": {"": "g.jsonl", "--out": "new"},
    "generate": {"--images": "i.jsonl", "--out": "new"},
    "predict": {"--out": "new", "--json": "new.jsonl"},
    "probe": {"--ground-truth": "g.jsonl", "--out": "new"},
    "publish": {"": "run", "--out": "new"},
    "report": {"": "p.jsonl", "--out": "new"},
    "score": {"": "c.jsonl", "--out": "new"},
}
RECIPES = {"sft", "grpo"}
"""Their options are a recipe's: tests/training/test_resume.py does the same for them."""
NOTHING = {"calibrate", "serve", "web"}
"""They write no file that an option names (calibrate: into the folder of its checkpoint)."""

PATHS = {
    *("predictions", "train", "file", "cases", "images", "image_data", "objects", "relationships", "results", "runs"),
    *("folders", "config", "ground_truth", "image", "model", "zero_shot", "captions", "against"),
}
"""Options and arguments that are paths to read."""
PLAIN = {
    *("align", "answer_format", "answering", "annotation", "api_key", "allow_host", "ask", "boxes", "claims", "device"),
    *("dialect", "distractors", "dtype", "engine", "extract", "format", "host", "id", "ignore", "launch", "mapping"),
    *("method", "name", "open_vocabulary", "preset", "protocol", "parts", "push", "ray", "recipe", "repair", "scores"),
    *("family", "series", "settings", "similarity", "source", "split", "stage", "task", "title"),
}
"""Options that are texts and name no file."""


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_every_option_is_known_as_an_output_an_input_or_a_plain_value() -> None:
    """A new option that names a file fails here until somebody says whether it is read or written."""
    found = dict(commands(typer.main.get_command(app)))
    assert set(found) == {*TABLE, *RECIPES, *NOTHING}
    for name, command in found.items():
        outputs = set()
        for option, kind in get_type_hints(inspect.unwrap(command.callback)).items():
            if option in OUTPUTS:
                outputs.add(f"--{option}")
            elif "Path" in str(kind):
                assert option in PATHS, (name, option)
            elif "str" in str(kind):
                assert option in PLAIN | SOURCES, (name, option)
        assert outputs == set(TABLE[name].outputs if name in TABLE else ()), name


WAYS = ("directly", "by a way round", "through a symbolic link", "through a hard link")


def another_name(path: Path, way: str) -> str:
    """A name of the same file or folder."""
    if way == "by a way round":
        return os.path.join(path.parent, "..", path.parent.name, ".", path.name)
    other = path.with_name(f"other{path.suffix}")
    if way == "through a symbolic link":
        other.symlink_to(path.name)
    elif way == "through a hard link":
        other.hardlink_to(path)
    return str(path if way == "directly" else other)


CASES = [
    pytest.param(name, output, given, way, id=f"{name} {output} = {given or 'argument'} {way}")
    for name, writes in TABLE.items()
    for output in writes.outputs
    for given in writes.inputs
    for way in (WAYS[:3] if output in writes.folders else WAYS)
]


@pytest.mark.parametrize(("name", "output", "given", "way"), CASES)
def test_an_output_that_is_an_input_is_refused_and_the_input_stays(
    name: str,
    output: str,
    given: str,
    way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    option, _, kind = given.partition(" ")
    folder = output in TABLE[name].folders
    path = tmp_path / ("read.py" if option == "--rewards" else "read.jsonl")
    kept = path / "kept" if folder else path
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(b"precious\n")
    options = {**NEEDED.get(name, {}), option: f"{kind}{path}{':term' if option == '--rewards' else ''}"}
    options[output] = another_name(path, way)
    arguments = [text for key, value in options.items() for text in (key, value) if text]
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), *arguments, *TABLE[name].given.split()])
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1), said
    assert "expected an output that the command does not read, found its input" in said
    assert kept.read_bytes() == b"precious\n"
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    "arguments",
    [
        "report p.jsonl --runs run --out run/metrics.jsonl",
        "generate --images i.jsonl --model run --out run/config.json --overwrite",
        "generate --images pictures --out pictures/a.jpg --overwrite",
        "generate --images shards/{00..01}.tar --out shards/01.tar --overwrite",
        "data view --data vg150:vg,split=test --out vg/image_data.json",
        "data check --data d.jsonl --fix d2.jsonl --log run/../d.jsonl",
        "data check --data d2.changes.jsonl --fix d2.jsonl",
    ],
)
def test_a_file_of_an_input_folder_or_beside_an_output_is_an_input_too(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("run/metrics.jsonl", "run/config.json", "pictures/a.jpg", "shards/01.tar", "vg/image_data.json")
    for name in (*names, "d.jsonl", "d2.changes.jsonl", "p.jsonl", "i.jsonl"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("precious")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1), said
    assert "an output that the command does not read" in said
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_set_is_not_built_over_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done(["data", "scenes", "--count", "1", "--preset", "small", "--out", "set"])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main(["data", "build", "--data", "set/gt.jsonl", "--out", "set"])
    assert stop.value.code == 2
    assert "found its input" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        "generate --images .p.jsonl.lock --out p.jsonl",
        "generate --images .p.jsonl.part --out p.jsonl",
        "publish .out.part --out out",
        "report r_files.part/p.jsonl --ground-truth g.jsonl --out r.html",
        "data build --data new/.unfinished/g.jsonl --out new",
        "data captions o.jsonl.parts/c.jsonl --extract rules:plain --out o.jsonl",
        "data captions o.jsonl.run.json --extract rules:plain --out o.jsonl",
    ],
)
def test_an_input_with_the_name_of_a_work_file_is_not_removed(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done(["data", "scenes", "--count", "1", "--preset", "small", "--out", "set"])
    line = Path("set/gt.jsonl").read_text().replace("images/", f"{tmp_path}/set/images/")
    prediction = '{"image_id": "scene-0", "frame": [1, 1], "completion": ""}\n'
    files = {".p.jsonl.lock": line, "g.jsonl": line, "new/.unfinished/g.jsonl": line, ".p.jsonl.part": line}
    files |= {"o.jsonl.parts/c.jsonl": line, "o.jsonl.run.json": line}
    for name, text in {**files, "r_files.part/p.jsonl": prediction, ".out.part/config.json": "{}"}.items():
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Path(name).write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    said = capsys.readouterr().err
    assert stop.value.code == 2, said
    assert "found its input" in said
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: after.get(path) for path in before} == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("data check --data g.jsonl --fix f.jsonl --json f.changes.jsonl", "a file for each output"),
        ("report p.jsonl --ground-truth g.jsonl --out r.html --json r_files/s0.js", "a folder of its own"),
        ("report p.jsonl p.jsonl --ground-truth g.jsonl --out r.html", "expected different predictions files"),
        ("data build --data scenes:1 --out /", "a file or folder with a name"),
        ("data stats --data ~nobody-here/g.jsonl", "the home folder of an unknown user"),
        ("predict a.png --model ~nobody-here/m --out o", "the home folder of an unknown user"),
    ],
)
def test_names_that_cannot_be_meant(
    arguments: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("g.jsonl", "p.jsonl", "a.png"):
        Path(name).write_text("precious")
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1), said
    assert says in said
    assert sorted(os.listdir()) == ["a.png", "g.jsonl", "p.jsonl"]


def test_files_of_one_stem_have_a_column_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done(["data", "scenes", "--count", "1", "--preset", "small", "--out", "set"])
    for name in ("p.jsonl", "p.json"):
        Path(name).write_text('{"image_id": "scene-0", "frame": [1, 1], "completion": ""}\n')
    done(["report", "p.jsonl", "p.json", *["--ground-truth", "set/gt.jsonl", "--out", "r.html", "--json", "r.json"]])
    assert list(json.loads(Path("r.json").read_text())) == ["p.jsonl", "p.json"]


def test_two_outputs_need_two_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x"
    with pytest.raises(SystemExit):
        main(["data", "stats", "--data", "scenes:1", "--out", str(out), "--json", f"{tmp_path}/./x"])
    assert "expected a file for each output, found one name for two of them" in capsys.readouterr().err
    assert not out.exists()


JSON = {
    "captions check": "captions check p.jsonl --captions c.jsonl --out captions.html",
    "data check": "data check --data gt.jsonl --images none",
    "data stats": "data stats --data gt.jsonl --out stats.html",
    "doctor": "doctor",
    "evaluate": "evaluate p.jsonl q.jsonl --ground-truth gt.jsonl --compare --train gt.jsonl",
    "predict": "predict scene.png",
    "report": "report p.jsonl --ground-truth gt.jsonl --out report.html",
}
"""A run of every command that has --json; each also prints a table."""


def test_every_command_with_json_writes_it_and_nothing_else_to_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    truth = {"image_id": "1", "width": 100, "height": 100, "objects": []}
    rows = {"objects": [{"id": f"{name}.1", "bbox": [1, 1, 50, 50]} for name in ("man", "horse")]}
    rows["relationships"] = [{"subject": "man.1", "predicate": "on", "object": "horse.1"}]
    Path("gt.jsonl").write_text(json.dumps(truth | rows) + "\n")
    Path("p.jsonl").write_text(json.dumps({"image_id": "1", "frame": [100, 100], "completion": json.dumps(rows)}))
    Path("q.jsonl").write_bytes(Path("p.jsonl").read_bytes())
    Path("c.jsonl").write_text(
        json.dumps({"image_id": "1", "width": 100, "height": 100, "caption": "A man on a horse."})
    )
    scene(5, SMALL).image.save("scene.png")
    found = dict(commands(typer.main.get_command(app)))
    assert set(JSON) == {
        name for name, command in found.items() if "--json" in {o for p in command.params for o in p.opts}
    }
    for name, line in JSON.items():
        done([*line.split(), "--json", "file.json"])
        capfd.readouterr()
        done([*line.split(), "--json", "-"])
        printed, said = capfd.readouterr()
        assert json.loads(printed).keys() == json.loads(Path("file.json").read_text()).keys(), name
        assert said, name  # the table
    assert not Path("-").exists()


def done(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0


def test_pictures_are_not_drawn_over_the_images_they_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done(["data", "scenes", "--count", "2", "--preset", "small", "--out", "set"])
    before = {path.name: path.read_bytes() for path in Path("set/images").iterdir()}
    assert len(before) == 2
    with pytest.raises(SystemExit) as stop:
        main(["draw", "set/gt.jsonl", "--out", "set/images"])
    assert stop.value.code == 2
    assert "found its input" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in Path("set/images").iterdir()} == before


def test_an_output_may_be_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is an input, not every file that exists."""
    monkeypatch.chdir(tmp_path)
    done(["data", "scenes", "--count", "2", "--preset", "small", "--out", "set"])
    for _ in range(2):
        done(["data", "stats", "--data", "set/gt.jsonl", "--json", "set/stats.json", "--out", "set/stats.html"])
        done(["draw", "set/gt.jsonl", "--out", "set/drawn"])
        done(["data", "build", "--data", "set/gt.jsonl", "--out", "set/built"])


SCENES = ["data", "scenes", "--preset", "small", "--out", "set"]


def test_scenes_do_not_replace_another_set_unless_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done([*SCENES, "--count", "3"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done([*SCENES, "--count", "3"])  # the same set again
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(SystemExit) as stop:
        main([*SCENES, "--count", "2", "--seed", "5"])
    assert stop.value.code == 2
    assert "set: expected no other set in the folder, found scenes:3,seed=0" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    Path("set/images/mine.png").write_bytes(b"not theirs")
    done([*SCENES, "--count", "2", "--seed", "5", "--overwrite"])
    assert len(Path("set/gt.jsonl").read_bytes().splitlines()) == 2
    assert len(list(Path("set/images").iterdir())) == 3  # two of the new set, none of the old, and mine
