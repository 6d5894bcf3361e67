"""`r1sgg data check`: everything that is wrong with a set, each thing counted and the first of each kind shown.

A ground-truth file is read line by line, however broken it is; the other formats are read by their own readers, whose
notes are taken over. Images are decoded in threads. With `fix` the corrected set is written as a ground-truth file
that passes the same check, and every change goes into a log. It corrects nothing in place.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import orjson

from r1sgg.data.dataset import DataSet
from r1sgg.data.findings import IGNORABLE, LIKE_SIZES, Finding
from r1sgg.data.images import image_size, open_image
from r1sgg.data.jsonl import record_of_line
from r1sgg.data.mend import Mender
from r1sgg.data.sources import open_data
from r1sgg.data.spec import Spec, parse_spec
from r1sgg.errors import ConfigError, ImageError, InputError
from r1sgg.files import write_lines, writing
from r1sgg.graph.mapping import mapper
from r1sgg.graph.vocabulary import OPEN, Vocabulary

Looking = Literal["decode", "header", "none"]
LOOKING: tuple[Looking, ...] = get_args(Looking)
Size = tuple[int, int] | ImageError | None


class First(NamedTuple):
    """The first finding of a kind, and where it is."""

    where: str
    finding: Finding


@dataclass(slots=True)
class Report:
    """What a check found.

    Attributes:
        lines: lines (or records) that were looked at.
        kept, changed: lines of the corrected set, and how many of them differ from the set's.
        found: findings of each kind.
        in_lines: lines that have a finding of each kind.
        first: the first finding of each kind.
        like_sizes: degenerate boxes that would be right as [x, y, width, height].
    """

    lines: int = 0
    kept: int = 0
    changed: int = 0
    found: Counter[str] = field(default_factory=Counter)
    in_lines: Counter[str] = field(default_factory=Counter)
    first: dict[str, First] = field(default_factory=dict)
    like_sizes: int = 0

    def add(self, where: str, findings: Collection[Finding]) -> None:
        """Count the findings of one line."""
        self.found.update(f.kind for f in findings)
        self.in_lines.update({f.kind for f in findings})
        for finding in findings:
            self.first.setdefault(finding.kind, First(where, finding))


class _Record(NamedTuple):
    """A line: where it stands, its JSON object or None, what is known to be wrong, and how to see its image."""

    where: str
    row: dict[str, Any] | None
    findings: list[Finding]
    look: Callable[[], Size] | None


def check(
    spec: str,
    *,
    vocabulary: Vocabulary = OPEN,
    ignore: Collection[str] = (),
    looking: Looking = "decode",
    workers: int = 1,
    fix: Path | None = None,
    log: Path | None = None,
    advance: Callable[[int, int], object] = lambda done, total: None,
) -> Report:
    """Look at every line of a set.

    Args:
        spec: what stands behind --data.
        vocabulary: names that count.
        ignore: kinds of IGNORABLE that are no fault of this set.
        looking: whether images are decoded, only their headers read, or not opened at all.
        workers: threads that decode.
        fix: where to write the corrected ground truth.
        log: where to write a line for each finding.
        advance: called with the number of lines that are done and of all.

    Raises:
        ConfigError: a kind that is unknown or that no readable file may have.
        InputError: the set cannot be opened at all, or a file not written.
    """
    if wrong := sorted(set(ignore) - IGNORABLE):
        raise ConfigError(f"--ignore: expected some of {', '.join(sorted(IGNORABLE))}, found {wrong[0]!r}")
    closed = vocabulary.objects or vocabulary.predicates
    mender = Mender(mapper(vocabulary, "normal") if closed else None, ignore, images=looking != "none")
    parts = parse_spec(spec)
    report = Report()
    if parts.kind == "jsonl" and not parts.options.keys() - {"split"}:
        total, records = _lines_of(parts), _of_file(parts, looking)
    else:
        data = open_data(spec, strict=False)
        total, records = len(data), _of_data(data, looking)
        mender.images = False  # a reader that gives no path may draw its images, or hold them
        notes = [Finding("left_out", note.text, "left out") for note in data.notes if "left_out" not in ignore]
        report.add(spec, notes)
    with contextlib.ExitStack() as files:
        kept_file = files.enter_context(writing(fix)) if fix else None
        log_file = files.enter_context(writing(log)) if log else None
        files.enter_context(warnings.catch_warnings())  # once for all threads: each of them would undo the others'
        warnings.simplefilter("ignore")
        for record, size in _looked_at(records, workers):
            row, findings = None, [f for f in record.findings if f.kind not in ignore]
            if record.row is not None:
                row, more = mender.mend(record.row, size)
                findings += more
            report.lines += 1
            report.add(record.where, findings)
            report.like_sizes += sum(f.found.endswith(LIKE_SIZES) for f in findings)
            if log_file:
                write_lines(log_file, ({"where": record.where, **f._asdict()} for f in findings))
            if row is not None:
                report.kept += 1
                report.changed += any(f.kind != "left_out" for f in findings)
                if kept_file and fix:
                    write_lines(kept_file, [_rebased(row, parts, fix)])
            advance(report.lines, total)
    return report


# ---------------------------------------------------------------- reading


def _lines_of(parts: Spec) -> int:
    try:
        with parts.path.open("rb") as handle:
            return sum(1 for line in handle if line.strip())
    except OSError as error:
        raise InputError(
            str(parts.path), expected="a readable JSON Lines file", found=error.strerror or "an error"
        ) from error


def _of_file(parts: Spec, looking: Looking) -> Iterator[_Record]:
    """The lines of a ground-truth file, also those that no reader takes."""
    with parts.path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            where = f"{parts.path}:{number}"
            try:
                row = _tolerant(line, where, first=number == 1)
            except InputError as error:
                yield _Record(where, None, [Finding("broken_line", error.found, "line dropped")], None)
                continue
            if "split" in parts.options and row.get("split") != parts.options["split"]:
                continue
            image = row.get("image")
            look = None
            if looking != "none" and isinstance(image, str) and image:
                look = _looker(parts.path.parent / image, looking)
            yield _Record(where, row, [], look)


def _tolerant(line: bytes, where: str, *, first: bool) -> dict[str, Any]:
    """A line's object; NaN and Infinity, which are no JSON, cost only the box they stand in."""
    try:
        return record_of_line(line, where, first=first)
    except InputError:
        if b"NaN" in line or b"Infinity" in line:
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                row = orjson.loads(orjson.dumps(json.loads(line.decode("utf-8-sig"))))  # NaN becomes null
                if isinstance(row, dict):
                    return row
        raise


def _of_data(data: DataSet, looking: Looking) -> Iterator[_Record]:
    """The records of any other set."""
    for k in range(len(data)):
        try:
            example, faults = data.read(k)
        except InputError as error:
            yield _Record(f"{data.name}: record {k}", None, [Finding("left_out", str(error), "left out")], None)
            continue
        findings = [Finding("left_out", f.text, "left out or clipped") for f in faults]
        size: Size = None
        look = None
        if example.image is not None and looking != "none":
            look = _looker(example.image, looking)
        elif looking == "decode":  # inside another file: its reader need not be safe for threads
            try:
                size = data.image(example).size
            except ImageError as error:
                size = error
            look = _constant(size)
        yield _Record(f"{data.name}: image_id {example.image_id!r}", example.to_record(), findings, look)


def _looker(path: Path, looking: Looking) -> Callable[[], Size]:
    def look() -> Size:
        try:
            return image_size(path) if looking == "header" else open_image(path).size
        except ImageError as error:
            return error

    return look


def _constant(size: Size) -> Callable[[], Size]:
    return lambda: size


def _looked_at(records: Iterator[_Record], workers: int) -> Iterator[tuple[_Record, Size]]:
    """Records in their order with what their images are; a few images ahead are decoded meanwhile."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        ahead: deque[tuple[_Record, Future[Size] | None]] = deque()
        for record in records:
            ahead.append((record, pool.submit(record.look) if record.look else None))
            if len(ahead) > 4 * workers:
                done, size = ahead.popleft()
                yield done, size.result() if size else None
        while ahead:
            done, size = ahead.popleft()
            yield done, size.result() if size else None


# ---------------------------------------------------------------- writing


def _rebased(row: dict[str, Any], parts: Spec, out: Path) -> dict[str, Any]:
    """A row whose image is named as seen from the new file."""
    if "image" not in row:
        return row
    here = parts.path.parent if parts.kind == "jsonl" else Path()
    image, folder = Path(os.path.abspath(here / row["image"])), Path(os.path.abspath(out.parent))
    return {**row, "image": (image.relative_to(folder) if image.is_relative_to(folder) else image).as_posix()}
