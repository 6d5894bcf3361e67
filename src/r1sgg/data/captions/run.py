"""`r1sgg data captions`: a file of captions to a ground-truth file, in parts that a killed run keeps.

    OUT.jsonl             the graphs, in the order of the captions; written when the last part is done
    OUT.jsonl.run.json    settings and counts
    OUT.jsonl.parts/      until then: part-000000000.jsonl, ..., named by the number of their first record

A part is a fixed number of records, so a resumed run makes the same parts, and the file does not depend on
interruptions or on how many processes made the parts (`r1sgg.bulk.captions` makes them on a Ray cluster). Memory holds
the records of one part. A finished file with the same settings is not made again.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from r1sgg import __version__
from r1sgg.data.captions.extracting import Extractor
from r1sgg.data.captions.identity import number_of_id
from r1sgg.data.captions.leaks import LeakPolicy
from r1sgg.data.captions.making import Maker
from r1sgg.data.captions.provenance import KEY
from r1sgg.data.captions.records import Captioned, Skipped
from r1sgg.data.captions.sources import Notes
from r1sgg.errors import InputError, first_difference, os_errors
from r1sgg.files import locked, refuse_inputs, refuse_removal, write_file, write_json, writing

PART_SIZE = 1000
"""Records per part."""

LEFT_OUT = "images left out"
REPEATED = "records of an image that an earlier record has, too"

Record = Captioned | Skipped


@dataclass(frozen=True)
class Workshop:
    """Everything that makes graphs of records.

    Attributes:
        extractor: reads triplets.
        maker: aligns and grounds.
        policy: what is left out.
        closers: let go of what engines hold.
    """

    extractor: Extractor
    maker: Maker
    policy: LeakPolicy
    closers: Sequence[Callable[[], None]] = ()

    def close(self) -> None:
        """Let go of connections and processes of engines."""
        for close in self.closers:
            close()

    def make(self, records: Sequence[Record], root: Path) -> Part:
        """Return the lines of some records, and what became of them.

        Args:
            records: as a source yields them.
            root: folder of the file that they are for.
        """
        counts: Counter[str] = Counter()
        notes = [record.reason for record in records if isinstance(record, Skipped)]
        used: list[Captioned] = []
        for record in records:
            counts["images read"] += isinstance(record, Captioned)
            if isinstance(record, Captioned):
                reason = self.policy.leaks(record)
                counts[f"{LEFT_OUT}: {reason}"] += bool(reason)
                if not reason:
                    used.append(record)
        found = self.extractor.extract(used)
        self.maker.prepare(used, found)
        objects: set[str] = set()
        predicates: set[str] = set()
        for record, extractions in zip(used, found, strict=True):
            more = self.maker.names(record, extractions)
            objects |= more[0]
            predicates |= more[1]
        self.maker.aligner.prepare(sorted(objects), sorted(predicates))
        notes += self.maker.notes()
        lines: list[bytes] = []
        for record, extractions in zip(used, found, strict=True):
            example = self.maker.make(record, extractions)
            counts.update(example.meta[KEY]["counts"])
            notes += [f"image {record.image_id}: {e.error}" for e in extractions if e.error]
            if not len(example.graph):
                counts["images dropped: no object"] += 1
                continue
            counts["images kept"] += 1
            counts["images kept without a relationship"] += not example.graph.pairs
            lines.append(orjson.dumps(example.to_record(root)) + b"\n")
        kept = {name: n for name, n in counts.items() if n or name == "images read"}
        ids = [number_of_id(record.image_id) for record in used]
        return Part(b"".join(lines), kept, notes, sum(isinstance(r, Skipped) for r in records), ids)


class Part(NamedTuple):
    """The lines of some records, and what is known of them.

    Attributes:
        lines: of the ground truth.
        counts: what became of the records.
        notes: sentences about what was not used.
        skipped: how many records were skipped.
        ids: a number for each image that was used, the same for the same id.
    """

    lines: bytes
    counts: Mapping[str, int]
    notes: Sequence[str]
    skipped: int
    ids: Sequence[int] = ()


@dataclass(slots=True)
class Result:
    """What a run made.

    Attributes:
        counts: over all records, see `r1sgg.data.captions.provenance`.
        notes: records that were skipped, and captions that were not answered.
        kept: parts of an earlier run; `parts` of all; both 0 where the file was finished before.
    """

    counts: Counter[str] = field(default_factory=Counter)
    notes: Notes = field(default_factory=Notes)
    parts: int = 0
    kept: int = 0

    def add(self, header: Mapping[str, Any]) -> None:
        """Add a part by what is stored of it."""
        self.counts.update(header["counts"])
        self.counts["records skipped"] += header["skipped"]
        self.notes.add(header["notes"])
        self.notes.count += header["more_notes"]


Batches = Iterator[tuple[int, Sequence[Record]]]
_MOST_NOTES = 20


def run(
    records: Iterable[Record],
    out: Path,
    workshop: Callable[[], Workshop],
    settings: Mapping[str, Any],
    *,
    part_size: int = PART_SIZE,
    overwrite: bool = False,
    advance: Callable[[int], object] = lambda done: None,
) -> Result:
    """Make graphs of records in this process.

    Args:
        records: the source.
        out: the file to write.
        workshop: opens what is needed, when there is something to make.
        settings: what decides the content; a run that is resumed must have the same.
        part_size: records per part.
        overwrite: start over if there is a file or parts of another run.
        advance: called with the number of records that are done.

    Raises:
        InputError: `out` has graphs that were made with other settings, or cannot be written.
        ModelError: an engine cannot go on; finished parts are kept.
    """
    with locked(out):
        plan = Parts(out, {**settings, "part_size": part_size}, overwrite)
        if (found := plan.finished()) is not None:
            return found
        with contextlib.ExitStack() as stack:
            opened: Workshop | None = None
            done = 0
            source = iter(records)
            while batch := list(itertools.islice(source, part_size)):
                if not plan.has(done):
                    opened = opened or stack.enter_context(contextlib.closing(workshop()))
                    plan.write(done, opened.make(batch, out.parent))
                done += len(batch)
                advance(done)
        return plan.finish(done)


class Parts:
    """The parts of a run and its settings."""

    def __init__(self, out: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
        """Prepare the folder of the parts.

        Raises:
            InputError: there are parts of a run with other settings.
        """
        self.out, self.settings = out, dict(settings)
        self.size = int(settings["part_size"])
        self.folder = out.with_name(out.name + ".parts")
        self.side = out.with_name(out.name + ".run.json")
        refuse_inputs([out, self.folder, self.side])
        refuse_removal(self.folder)
        self.overwrite = overwrite
        self.kept = 0
        if overwrite or not any(self.folder.glob("part-*")):
            shutil.rmtree(self.folder, ignore_errors=True)
        elif (self.folder / _SETTINGS).is_file():
            self._check(self.folder / _SETTINGS, self.folder)
        with os_errors(self.folder, "a folder that can be written", "choose another --out"):
            self.folder.mkdir(parents=True, exist_ok=True)

    def _check(self, path: Path, what: Path) -> dict[str, Any]:
        try:
            record = orjson.loads(path.read_bytes())
            earlier = dict(record["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                str(path), expected="the settings of a run", found="something else", hint=_AGAIN
            ) from error
        if (differs := first_difference(self.settings, earlier)) is not None:
            where, value, was = differs
            expected = f"a run with the same settings ({value!r})"
            raise InputError(f"{what}: {where}", expected=expected, found=repr(was), hint=_AGAIN)
        return dict(record)

    def finished(self) -> Result | None:
        """Return the result of an earlier run that made the file; None where there is something to do.

        Raises:
            InputError: the file was made with other settings, or by something else.
        """
        if self.out.is_file() and not self.overwrite and not any(self.folder.glob("part-*")):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.side.is_file():
                raise InputError(
                    str(self.out), expected="no such file, or one of this command", found="another", hint=_AGAIN
                )
            record = self._check(self.side, self.out)
            result = Result(Counter(record.get("counts") or {}))
            result.notes.count = int(record.get("notes") or 0)
            result.notes.first = list(record.get("first_notes") or ())
            return result
        if not (self.folder / _SETTINGS).is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / _SETTINGS, {"settings": self.settings})
        return None

    def path(self, first: int) -> Path:
        """Return the file of the part that begins with record `first`."""
        return self.folder / f"part-{first:09}.jsonl"

    def has(self, first: int) -> bool:
        """Return whether a part is finished."""
        found = self.path(first).is_file()
        self.kept += found
        return found

    def write(self, first: int, part: Part) -> None:
        """Write a part: a line with its counts, then its lines."""
        header = {
            "counts": dict(part.counts),
            "skipped": part.skipped,
            "notes": list(part.notes[:_MOST_NOTES]),
            "more_notes": max(0, len(part.notes) - _MOST_NOTES),
            "ids": part.ids,
        }
        write_file(self.path(first), orjson.dumps(header) + b"\n" + part.lines, sync=False)

    def finish(self, records: int) -> Result:
        """Join the parts into the file, write counts beside it, and remove the parts.

        Args:
            records: how many there are.
        """
        result = Result(kept=self.kept)
        ids = array("Q")
        with writing(self.out) as handle:
            for first in range(0, records, self.size):
                with self.path(first).open("rb") as part:
                    header = orjson.loads(part.readline())
                    result.add(header)
                    ids.extend(header["ids"])
                    shutil.copyfileobj(part, handle)
                result.parts += 1
        again = np.frombuffer(ids, dtype=np.uint64) if ids else np.empty(0, np.uint64)
        if repeated := len(again) - len(np.unique(again)):
            result.counts[REPEATED] = repeated
        if not result.counts["images read"]:
            self.out.unlink()
            raise InputError(
                str(self.settings.get("input", "captions")),
                expected="at least one image with a caption",
                found="none that can be used",
                hint=next(iter(result.notes.first), ""),
            )
        write_json(
            self.side,
            {
                "settings": self.settings,
                "counts": dict(result.counts),
                "notes": result.notes.count,
                "first_notes": result.notes.first,
                "r1sgg": __version__,
            },
        )
        shutil.rmtree(self.folder)
        return result


_SETTINGS = "_run.json"
_AGAIN = "choose another --out, or start over with --overwrite"
