"""How every output file is written: never over an input, whole or not at all, and by one process at a time.

    with protected([predictions, ground_truth]):      # what the command reads
        refuse_inputs([out])                           # before hours of work, not after them
        with writing(out) as handle:                   # a temporary file beside `out`, renamed at the end
            handle.write(b"...")

A file that exists is replaced in one step when its successor is complete and on the disk, so a full disk or a kill
leaves the old one. A symbolic link keeps its place: the file that it points to is replaced. What is no ordinary file
(/dev/stdout, a pipe) is written to directly, and inside a `standard_output` block the name `-` is standard output. It
does not decide where files go, and it reads none.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import orjson

from r1sgg.errors import InputError

if sys.platform != "win32":
    import fcntl

_log = logging.getLogger(__name__)

NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""Error numbers of a disk, a quota or a file that is full."""
_READ_ENDINGS = frozenset(
    (*(".safetensors", ".bin", ".pt", ".jinja", ".parquet", ".tar", ".tgz", ".gz", ".zip", ".h5", ".yaml"),
     *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".jp2", ".avif"))
)  # fmt: skip
_READ_NAMES = frozenset(
    (*("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json", "r1sgg.json"),
     *("tokenizer.json", "tokenizer_config.json", "vocab.json", "adapter_config.json", "trained_on.json"),
     *("trainer_state.json", "metrics.jsonl", "completions.jsonl", "warnings.jsonl", "dataset.json", "gt.jsonl"),
     *("full.jsonl", "answers.jsonl", "questions.jsonl", "results.json", "summary.json", "psg.json", "objects.json"),
     *("relationships.json", "image_data.json", "scene_graphs.json", "VG-SGG-dicts.json"),
     *("VG-SGG-dicts-with-attri.json", "_annotations.coco.json"))
)  # fmt: skip
"""What commands read in a folder that they are given: an existing file with such a name or ending is an input."""

_Identity = tuple[int, int]  # device and inode: the same through every name of a file

_inputs: dict[_Identity, str] = {}

STANDARD_OUTPUT = Path("-")
"""The name of standard output, for outputs that can go there."""

_standard_output: BinaryIO | None = None  # what `-` is inside a `standard_output` block


@contextlib.contextmanager
def standard_output() -> Iterator[None]:
    """Give standard output to the file named `-`, and send what is printed inside the block to standard error."""
    global _standard_output
    before, _standard_output = _standard_output, sys.stdout.buffer
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _standard_output = before


@contextlib.contextmanager
def protected(inputs: Iterable[Path]) -> Iterator[None]:
    """Refuse, inside the block, to write over any of these files and folders.

    Args:
        inputs: paths; those that do not exist are left out.
    """
    before = dict(_inputs)
    protect(inputs)
    try:
        yield
    finally:
        _inputs.clear()
        _inputs.update(before)


def protect(inputs: Iterable[Path]) -> None:
    """Add inputs that are known only now, until the surrounding `protected` block ends."""
    for path in inputs:
        if (identity := _identity(path)) is not None:
            _inputs.setdefault(identity, str(path))


def refuse_inputs(outputs: Iterable[Path]) -> None:
    """See that none of the outputs is an input.

    Raises:
        InputError: one is, by whatever name, or lies in an input folder and has the name of a file that is read there.
    """
    if not _inputs:
        return
    for path in outputs:
        if (identity := _identity(path)) is None:
            continue
        found = _inputs.get(identity)
        if found is None and (path.suffix.lower() in _READ_ENDINGS or path.name in _READ_NAMES):
            real = Path(os.path.realpath(path))
            found = next((_inputs[i] for p in real.parents if (i := _identity(p)) in _inputs), None)
            found = None if found is None else f"a file of {found}"
        if found is not None:
            raise InputError(
                str(path),
                expected="an output that the command does not read",
                found=f"its input {found}" if found != str(path) else "its input",
                hint="choose another name",
            )


def refuse_removal(path: Path) -> None:
    """See that a work file or folder of ours, which is removed, is no input and holds none.

    Raises:
        InputError: it is or does, whatever its name promises.
    """
    if (identity := _identity(path)) is None or not _inputs:
        return
    inside = f"{os.path.realpath(path)}{os.sep}"
    held = (name for i, name in _inputs.items() if i == identity or os.path.realpath(name).startswith(inside))
    if (found := next(held, None)) is not None:
        expected, hint = "a name that this command may use for its work", "move the input"
        raise InputError(str(path), expected=expected, found=f"its input {found}", hint=hint)


def user_path(text: str | Path) -> Path:
    """Return a path whose ~ is a home folder.

    Raises:
        InputError: there is no such user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(str(text), expected="a path", found="the home folder of an unknown user") from error


@contextlib.contextmanager
def writing(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file to write, which replaces `path` when the block ends without an error; else `path` stays as it was.

    Args:
        path: the file; its folder is made where it is missing.
        sync: wait until the disk has it, so that a power cut leaves the old file or the new one.

    Raises:
        InputError: `path` is an input of the command (`protected`), cannot be written, or the disk is full.
    """
    if _standard_output is not None and path == STANDARD_OUTPUT:
        yield _standard_output
        _standard_output.flush()
        return
    refuse_inputs([path])
    real = Path(os.path.realpath(path))
    try:
        mode = _mode(real)
        if mode is not None and stat.S_ISDIR(mode):
            raise InputError(str(path), expected="a file to write", found="a folder", hint="choose another name")
        if mode is not None and not stat.S_ISREG(mode):
            with real.open("wb") as handle:
                yield handle
            return
        real.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = _temporary(real)
    except OSError as error:
        _refuse(path, error)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle
            handle.flush()
            if sync:
                os.fsync(handle.fileno())
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        temporary.replace(real)
        if sync:
            _sync(real.parent)
    except OSError as error:
        if error.errno not in NO_ROOM and not _is_about(error, temporary):
            raise  # of what the block reads
        _refuse(path, error)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `path` when the block ends without an error; else nothing is left.

    Raises:
        InputError: `path` is an input of the command, is no new or empty folder, or another process makes it.
    """
    refuse_inputs([path])
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        found = "one with files in it" if path.is_dir() else "a file"
        raise InputError(str(path), expected="a new or empty folder", found=found)
    real = Path(os.path.realpath(path))
    part = _steady(real)
    refuse_removal(part)
    with locked(path):
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        try:
            part.mkdir(parents=True)
            yield part
            for written in part.rglob("*"):
                _sync(written)
            if real.is_dir():
                real.rmdir()
            part.rename(real)
            _sync(real.parent)
        except OSError as error:
            if error.errno not in NO_ROOM and not _is_about(error, part):
                raise
            _refuse(path, error, kept="nothing half-written is left")
        finally:
            shutil.rmtree(part, ignore_errors=True)


def write_file(path: Path, content: bytes | str, *, sync: bool = True) -> None:
    """Write a whole file; see `writing`."""
    with writing(path, sync=sync) as handle:
        handle.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON; see `writing`."""
    write_file(path, orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")


def write_lines(handle: BinaryIO, rows: Iterable[Any]) -> int:
    """Add a line of JSON for each row and return how many."""
    return sum(handle.write(orjson.dumps(row) + b"\n") > 0 for row in rows)


def move(written: Path, target: Path) -> None:
    """Give a file that was written to its end its name, once the disk has it.

    Raises:
        InputError: `target` is an input of the command.
    """
    refuse_inputs([target])
    with written.open("rb") as handle:
        os.fsync(handle.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    written.replace(target)
    _sync(target.parent)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, all or nothing, and wait until the disk has it.

    Raises:
        InputError: `path` is an input of the command, cannot be written, or the disk is full.
    """
    refuse_inputs([path])
    try:
        with path.open("ab") as handle:
            before = handle.tell()
            try:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            except OSError:
                os.truncate(path, before)
                raise
    except OSError as error:
        _refuse(path, error, kept="what was written before is kept")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from writing `path`, a file or a folder, until the block ends.

    The lock is the system's and ends with the process, however it ends; the empty file beside `path` that carries it
    may stay after a kill and means nothing then. Folders that are made for it go with it if nothing was written there.

    Raises:
        InputError: another process has it, or there is no place for it.
    """
    real = Path(os.path.realpath(path))
    if not real.name:
        raise InputError(str(path), expected="a file or folder with a name", found="the root", hint="choose another")
    lock = real.with_name(f".{real.name[:200]}.lock")
    refuse_removal(lock)
    missing = [folder for folder in real.parents if not folder.exists()]
    descriptor = _lock(path, lock)
    try:
        yield
    finally:
        if descriptor is not None:
            if os.fstat(descriptor).st_size == 0:  # else it is somebody's file
                lock.unlink(missing_ok=True)  # first: nobody waits for it
            os.close(descriptor)
        with contextlib.suppress(OSError):  # there is something in it
            for folder in missing:
                folder.rmdir()


def remove_leftover(path: Path) -> None:
    """Remove what a killed process left beside `path`; for a process that has locked it.

    Raises:
        InputError: it is an input.
    """
    part = _steady(Path(os.path.realpath(path)))
    refuse_removal(part)
    part.unlink(missing_ok=True)


def _steady(real: Path) -> Path:
    return real.with_name(f".{real.name[:200]}.part")


def _temporary(real: Path) -> tuple[Path, int]:
    """A file beside `real`, open and empty: what a killed process left, unless another is writing to it now."""
    steady = _steady(real)
    if sys.platform != "win32" and _identity(steady) not in _inputs:
        descriptor = os.open(steady, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with contextlib.suppress(OSError):  # it is taken, or this file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _identity(steady) == _of_stat(os.fstat(descriptor)):  # else it was renamed between our two calls
                os.ftruncate(descriptor, 0)
                return steady, descriptor
        os.close(descriptor)
    path = real.with_name(f".{real.name[:200]}.{secrets.token_hex(4)}.part")
    return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _lock(path: Path, lock: Path) -> int | None:
    if sys.platform == "win32":
        return None
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # another process that failed removed the folder between our two calls
                lock.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            _refuse(path, error)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _identity(lock) == _of_stat(os.fstat(descriptor)):
                return descriptor
            os.close(descriptor)  # its owner removed it between our two calls
        except BlockingIOError as error:
            os.close(descriptor)
            raise InputError(
                str(path),
                expected="an output that no other process writes",
                found="one that another process is writing",
                hint="wait for it to end, or choose another name",
            ) from error
        except OSError as error:
            os.close(descriptor)
            _log.warning("%s: this file system has no locks (%s); start no second run on it", path, error.strerror)
            return None


def _refuse(path: Path, error: OSError, kept: str = "what was there before is kept") -> NoReturn:
    """Say in one sentence why a file was not written."""
    if error.errno in NO_ROOM:
        expected, hint = "room to write it", f"{kept}; make room"
    else:
        expected, hint = "a place to write a file", "choose another"
    raise InputError(str(path), expected=expected, found=error.strerror or "an error", hint=hint) from error


def _is_about(error: OSError, path: Path) -> bool:
    return str(path) in (error.filename, error.filename2)


def _identity(path: Path) -> _Identity | None:
    try:
        return _of_stat(path.stat())
    except (OSError, ValueError):  # not there, or no name that a file can have
        return None


def _of_stat(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
