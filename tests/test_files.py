"""`r1sgg.files`: whole or not at all, whatever happens to the disk, the process or a second process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from r1sgg import files
from r1sgg.errors import InputError
from r1sgg.files import append, locked, new_folder, protected, refuse_inputs, write_file, write_json, writing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    with writing(path) as handle:
        handle.write(b"first")
        assert not path.exists()
    assert path.read_bytes() == b"first"
    write_json(path, {"a": 1})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert names(tmp_path) == ["new", "x.json"]


def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")

    def half() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), writing(tmp_path / "x") as handle:
        handle.writelines(half())
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many file systems say so only when the bytes are to reach the disk."""
    (tmp_path / "x").write_text("old")

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(InputError, match=r"x: expected room to write it, found .*; what was there before is kept"):
        write_file(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]
    (tmp_path / "lines").write_text("one\n")
    with pytest.raises(InputError, match="what was written before is kept; make room"):
        append(tmp_path / "lines", b"two\n")
    assert (tmp_path / "lines").read_text() == "one\n"


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from r1sgg.cli import main
main(sys.argv[1:])
"""


def test_a_command_whose_file_grows_too_large_keeps_the_old_one(tmp_path: Path) -> None:
    lines = "".join(
        f'{{"image_id": "{k}", "width": 9, "height": 9, "objects": [], "relationships": []}}\n' for k in range(99)
    )
    (tmp_path / "gt.jsonl").write_text(lines)
    (tmp_path / "out.csv").write_text("old")
    commands = (
        ["export", "gt.jsonl", "--format", "json", "--out", "out.csv"],
        [
            "data",
            "check",
            "--data",
            "gt.jsonl",
            "--images",
            "none",
            "--ignore",
            "empty_graph",
            "--fix",
            "out.csv",
            "--log",
            "new.jsonl",
        ],
        ["data", "stats", "--data", "gt.jsonl", "--out", "out.csv"],
    )
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert "out.csv: expected room to write it, found File too large; what was there before is kept" in done.stderr
        assert (tmp_path / "out.csv").read_text() == "old"
        assert names(tmp_path) == ["gt.jsonl", "out.csv"]


def test_a_link_keeps_its_place_and_a_file_its_rights(tmp_path: Path) -> None:
    real = tmp_path / "real" / "x"
    real.parent.mkdir()
    real.write_text("old")
    real.chmod(0o640)
    (tmp_path / "link").symlink_to("real/x")
    write_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("new", 0o640)


def test_what_is_no_ordinary_file_is_written_directly(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "pipe", "hello")
    assert os.read(reader, 99) == b"hello"
    os.close(reader)
    assert names(tmp_path) == ["pipe"]


@pytest.mark.parametrize("place", ["file/x", "folder"])
def test_a_place_that_cannot_be_written_is_one_sentence(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"expected a (place|file) to write.*; choose another"):
        write_file(tmp_path / place, "new")


def test_inputs_are_protected_inside_the_block_alone(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("old")
    (tmp_path / "hard").hardlink_to(tmp_path / "in")
    with protected([tmp_path / "in", tmp_path / "missing"]):
        for write in (write_file, append):
            with pytest.raises(InputError, match=r"hard: expected an output .* found its input .*in; choose another"):
                write(tmp_path / "hard", b"new")
        refuse_inputs([tmp_path / "missing", tmp_path / "another"])
    assert (tmp_path / "in").read_text() == "old"
    write_file(tmp_path / "in", "new")


def test_a_process_that_is_killed_leaves_the_old_file_and_its_successor_cleans_up(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    if (child := os.fork()) == 0:
        with writing(tmp_path / "x") as handle:
            handle.write(b"half" * 100_000)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / "x").read_text() == "old"
    assert len(names(tmp_path)) == 2
    write_file(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "new"
    assert names(tmp_path) == ["x"]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    with writing(tmp_path / "x") as first:
        first.write(b"first")
        with writing(tmp_path / "x") as second:
            second.write(b"second, and longer")
        assert (tmp_path / "x").read_bytes() == b"second, and longer"
    assert (tmp_path / "x").read_bytes() == b"first"
    assert names(tmp_path) == ["x"]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(ZeroDivisionError), new_folder(folder) as part:
        (part / "x").write_text(str(1 / 0))
    assert names(tmp_path) == []
    folder.mkdir()
    with new_folder(folder) as part:
        (part / "x").write_text("1")
        assert names(folder) == []
        with pytest.raises(InputError, match="another process"), new_folder(folder):
            pass
    assert names(tmp_path) == ["out", "x"]
    with pytest.raises(InputError, match="out: expected a new or empty folder"), new_folder(folder):
        pass
    with pytest.raises(InputError, match="x: expected a new or empty folder, found a file"), new_folder(folder / "x"):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from r1sgg.files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_lock_takes_its_empty_folders_with_it(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for path in (tmp_path / "there" / "p", tmp_path / "there" / "new" / "run" / "p"):
        with pytest.raises(ZeroDivisionError), locked(path):
            path.write_text(str(1 / 0))
    assert names(tmp_path) == ["there"]
    with locked(tmp_path / "new" / "run" / "p"), locked(tmp_path / "new" / "other" / "p"):
        (tmp_path / "new" / "run" / "p").write_text("")
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        *("new", "new/run", "new/run/p", "there")
    ]


def test_a_lock_keeps_a_second_process_out_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    (tmp_path / "link").symlink_to("p.jsonl")
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        for name in (path, tmp_path / "link"):
            with pytest.raises(InputError, match="found one that another process is writing"), locked(name):
                pass
        with locked(tmp_path / "another.jsonl"):
            pass
        holder.kill()
    with locked(path):
        assert names(tmp_path) == [".p.jsonl.lock", "link"]
    assert names(tmp_path) == ["link"]
