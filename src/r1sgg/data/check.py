"""`r1sgg data check`: everything that is wrong with a set, counted by kind, with the first finding of each kind.

A ground-truth file is read line by line, however broken it is; the other formats are read by their own readers, whose
notes become findings. Images are decoded in threads. With `fix` the corrected set is written as a ground-truth file
that passes the same check, and every change goes into a log. The set itself is never changed.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import orjson

from r1sgg.data.base import image_path
from r1sgg.data.captions.provenance import CaptionLedger
from r1sgg.data.dataset import DataSet
from r1sgg.data.findings import IGNORABLE, LIKE_SIZES, Finding
from r1sgg.data.images import image_size, open_image
from r1sgg.data.jsonl import read_lines, record_of_line
from r1sgg.data.repair import Repairer
from r1sgg.data.sources import open_data, refuse_other_formats
from r1sgg.data.spec import Spec, parse_spec
from r1sgg.data.units import TruthUnits, WrongUnit
from r1sgg.errors import ConfigError, ImageError, InputError
from r1sgg.files import write_lines, writing
from r1sgg.graph.mapping import mapper
from r1sgg.graph.vocabulary import OPEN, Vocabulary

Looking = Literal["decode", "header", "none"]
LOOKING: tuple[Looking, ...] = get_args(Looking)
ImageSize = tuple[int, int] | ImageError | None
"""Width and height of an image, why it cannot be read, or None if it was not opened."""


class FirstFinding(NamedTuple):
    """The first finding of a kind, and its file and line."""

    where: str
    finding: Finding


@dataclass(slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        lines: lines (or records) that were checked.
        kept, changed: lines of the corrected set, and how many of them differ from the set's.
        found: findings of each kind.
        in_lines: lines that have a finding of each kind.
        first: the first finding of each kind.
        like_sizes: degenerate boxes that would be right as [x, y, width, height].
        unit: how the boxes of the whole file are written, if not as they should be; then no copy is written.
        captions: what became of captions, of graphs that were made of them.
    """

    lines: int = 0
    kept: int = 0
    changed: int = 0
    found: Counter[str] = field(default_factory=Counter)
    in_lines: Counter[str] = field(default_factory=Counter)
    first: dict[str, FirstFinding] = field(default_factory=dict)
    like_sizes: int = 0
    unit: WrongUnit | None = None
    captions: CaptionLedger = field(default_factory=CaptionLedger)

    def add(self, where: str, findings: Collection[Finding]) -> None:
        """Count the findings of one line."""
        self.found.update(f.kind for f in findings)
        self.in_lines.update({f.kind for f in findings})
        for finding in findings:
            self.first.setdefault(finding.kind, FirstFinding(where, finding))


class _CheckedLine(NamedTuple):
    """A line, its JSON object or None, what is wrong so far, and its image: a file to look at, or what was found."""

    where: str
    row: dict[str, Any] | None
    findings: list[Finding]
    image: Path | ImageSize = None


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
) -> CheckReport:
    """Check every line of a set.

    Args:
        spec: the set, as --data takes it.
        vocabulary: names that count.
        ignore: kinds of IGNORABLE that are no fault of this set.
        looking: "decode" images, read the "header" only, or open "none".
        workers: threads that decode.
        fix: where to write the corrected ground truth; nothing is written if `CheckReport.unit` is set.
        log: where to write a line for each finding.
        advance: called with the number of lines that are done, and of all lines.

    Raises:
        ConfigError: `ignore` has a kind that is unknown, or that no readable file may have.
        InputError: the set cannot be opened, or a file cannot be written.
    """
    if wrong := sorted(set(ignore) - IGNORABLE):
        raise ConfigError(f"--ignore: expected some of {', '.join(sorted(IGNORABLE))}, found {wrong[0]!r}")
    closed = vocabulary.objects or vocabulary.predicates
    repairer = Repairer(mapper(vocabulary, "normal") if closed else None, ignore, images=looking != "none")
    parts = parse_spec(spec)
    report, notes = CheckReport(), list[Finding]()
    if parts.kind == "jsonl" and not parts.options.keys() - {"split"}:
        refuse_other_formats(parts.path)
        units = _units_of(parts)
        total, lines, report.unit = units.lines, _of_file(parts), units.verdict()
        if report.unit is not None:
            repairer.boxes, fix = False, None
            notes = [Finding("wrong_frame", str(report.unit), report.unit.remedy)]
            report.add(str(parts.path), notes)
    else:
        data = open_data(spec, strict=False)
        total, lines = len(data), _of_data(data, looking)
        repairer.images = False  # this reader may draw its images or have them inside: no path is no fault
        report.add(spec, [Finding("left_out", n.text, "left out") for n in data.notes if "left_out" not in ignore])
    with contextlib.ExitStack() as files:
        kept_file = files.enter_context(writing(fix)) if fix else None
        log_file = files.enter_context(writing(log)) if log else None
        if log_file:
            write_lines(log_file, ({"where": str(parts.path), **f._asdict()} for f in notes))
        files.enter_context(warnings.catch_warnings())  # here, because a thread would undo the others' filters
        warnings.simplefilter("ignore")
        for line, size in _with_sizes(lines, looking, workers):
            row, findings = None, [f for f in line.findings if f.kind not in ignore]
            if line.row is not None:
                row, more = repairer.repair(line.row, size)
                findings += more
                if row is not None:
                    report.captions.add(row.get("meta"), (r.get("predicate") for r in row["relationships"]))
            report.lines += 1
            report.add(line.where, findings)
            report.like_sizes += sum(f.found.endswith(LIKE_SIZES) for f in findings)
            if log_file:
                write_lines(log_file, ({"where": line.where, **f._asdict()} for f in findings))
            if row is not None:
                report.kept += 1
                report.changed += any(f.kind != "left_out" for f in findings)
                if kept_file and fix:
                    write_lines(kept_file, [_rebased(row, parts, fix)])
            advance(report.lines, total)
    return report


# ---------------------------------------------------------------- reading


def _units_of(parts: Spec) -> TruthUnits:
    """Return how the boxes of a ground-truth file are written; lines that are no JSON do not count."""
    units = TruthUnits()
    for number, _, content in read_lines(parts.path):
        units.lines += 1
        with contextlib.suppress(InputError):
            units.add(record_of_line(content, str(parts.path), first=number == 1))
    return units


def _of_file(parts: Spec) -> Iterator[_CheckedLine]:
    """Yield the lines of a ground-truth file, also those that no reader takes."""
    for number, _, content in read_lines(parts.path):
        where = f"{parts.path}:{number}"
        try:
            row = _tolerant(content, where, first=number == 1)
        except InputError as error:
            yield _CheckedLine(where, None, [Finding("broken_line", error.found, "line dropped")])
            continue
        if "split" not in parts.options or row.get("split") == parts.options["split"]:
            image = row.get("image")
            path = parts.path.parent / image if isinstance(image, str) and image else None
            yield _CheckedLine(where, row, [], path)


def _tolerant(line: bytes, where: str, *, first: bool) -> dict[str, Any]:
    """Return a line's object; NaN and Infinity, which are no JSON, cost only the box that they are in."""
    try:
        return record_of_line(line, where, first=first)
    except InputError:
        if b"NaN" in line or b"Infinity" in line:
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                row = orjson.loads(orjson.dumps(json.loads(line.decode("utf-8-sig"))))  # NaN becomes null
                if isinstance(row, dict):
                    return row
        raise


def _of_data(data: DataSet, looking: Looking) -> Iterator[_CheckedLine]:
    """Yield the records of any other set."""
    for k in range(len(data)):
        try:
            example, faults = data.read(k)
        except InputError as error:
            yield _CheckedLine(f"{data.name}: record {k}", None, [Finding("left_out", str(error), "left out")])
            continue
        image: Path | ImageSize = example.image
        if image is None and looking == "decode":  # inside another file, whose reader need not be safe for threads
            try:
                image = data.image(example).size
            except ImageError as error:
                image = error
        findings = [Finding("left_out", f.text, "left out or clipped") for f in faults]
        yield _CheckedLine(f"{data.name}: image_id {example.image_id!r}", example.to_record(), findings, image)


def _with_sizes(
    lines: Iterator[_CheckedLine], looking: Looking, workers: int
) -> Iterator[tuple[_CheckedLine, ImageSize]]:
    """Yield lines in their order with the sizes of their images; threads decode a few images ahead."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        ahead: deque[tuple[_CheckedLine, Future[ImageSize] | None, ImageSize]] = deque()
        for line in lines:
            if isinstance(line.image, Path):
                ahead.append((line, pool.submit(_look, line.image, looking) if looking != "none" else None, None))
            else:
                ahead.append((line, None, line.image))
            if len(ahead) > 4 * workers:
                line, future, size = ahead.popleft()
                yield line, future.result() if future else size
        for line, future, size in ahead:
            yield line, future.result() if future else size


def _look(path: Path, looking: Looking) -> ImageSize:
    try:
        return image_size(path) if looking == "header" else open_image(path).size
    except ImageError as error:
        return error


# ---------------------------------------------------------------- writing


def _rebased(row: dict[str, Any], parts: Spec, out: Path) -> dict[str, Any]:
    """Return a row whose image is named relative to the new file."""
    if "image" not in row:
        return row
    here = parts.path.parent if parts.kind == "jsonl" else Path()
    return {**row, "image": image_path(here / row["image"], out.parent)}
