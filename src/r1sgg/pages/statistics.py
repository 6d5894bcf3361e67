"""The page of `r1sgg data stats`: bar charts of classes, predicates, graph sizes and box sizes, in one HTML file.

It counts nothing (`r1sgg.data.stats` does). The template draws the charts: they follow the page's light and dark
colours and say a bar's number when it is pointed at, which an SVG by matplotlib does not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from r1sgg.data.stats import AREA_BINS, Statistics, ranked, summary
from r1sgg.pages.page import write_page

WIDTH, COLUMN_HEIGHT = 360.0, 150.0
"""Units of a chart of columns, however many there are: its letters are as large as those of the text beside it."""
MOST_BARS, MOST_COLUMNS, MOST_LABELS = 200, 40, 14


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it counts, how many, its length (0 to 1 of the longest), and the group it belongs to."""

    name: str
    count: int
    length: float
    group: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars with a heading: horizontal "rows", which have long names, or upright "columns" over numbers."""

    title: str
    note: str
    kind: str
    bars: tuple[Bar, ...]

    @property
    def size(self) -> tuple[float, float]:
        """Return width and height of a chart of columns."""
        return WIDTH, COLUMN_HEIGHT + (44.0 if self.slanted else 24.0)

    @property
    def slanted(self) -> bool:
        """Return whether the names of columns are too long to stand upright."""
        return any(len(bar.name) > 3 for bar in self.bars)

    @property
    def every(self) -> int:
        """Return which columns have their names under them: 3 for every third."""
        return math.ceil(len(self.bars) / MOST_LABELS)


def charts(statistics: Statistics, groups: Mapping[str, Sequence[str]]) -> list[Chart]:
    """Return every chart of the page; `groups` names the predicates of head, body and tail."""
    s = statistics
    group_of = {name: group for group, names in groups.items() for name in names}
    shares = [
        f"{group} {len(names)} predicates, {_percent(sum(s.predicates[n] for n in names), s.predicates.total())}"
        for group, names in groups.items()
    ]
    areas = [(f"{100 * end:{'.2g' if end < 0.1 else '.0f'}} %", s.areas[end]) for end in AREA_BINS]
    sizes = [f"{name} {_percent(s.box_sizes[name], s.classes.total())}" for name in ("small", "medium", "large")]
    area_note = f"boxes by the share of the image that they cover at most; {', '.join(sizes)} (under 32², 96² pixels)"
    once = sum(n == 1 for n in s.triplets.values())
    triplets = Counter({" ".join(names): n for names, n in s.triplets.items()})
    return [
        _columns("Objects per image", s.objects),
        _columns("Relationships per image", s.relationships),
        _chart("Area of boxes", area_note, "columns", areas),
        _rows("Predicates", f"relationships by predicate; {'; '.join(shares)}", s.predicates, group_of),
        _rows("Classes", "objects by class", s.classes),
        _rows("Triplets", f"{len(s.triplets):,} differ, {once:,} of them occur once", triplets, most=50),
    ]


def write_statistics(
    out: Path, statistics: Statistics, title: str, groups: Mapping[str, Sequence[str]], notes: Sequence[tuple[str, str]]
) -> None:
    """Write the HTML file; `notes` are further lines of the summary (what, how many or which).

    Raises:
        InputError: the file cannot be written.
    """
    s = statistics
    facts = [
        f"{s.images:,} images",
        f"{s.classes.total():,} objects of {len(s.classes):,} classes",
        f"{s.predicates.total():,} relationships of {len(s.predicates):,} predicates",
    ]
    write_page(
        out, "statistics.html.j2", title=title, facts=facts, notes=notes, charts=charts(s, groups),
        column=(WIDTH, COLUMN_HEIGHT),
    )  # fmt: skip


def _rows(
    title: str, note: str, counts: Counter[str], group_of: Mapping[str, str] | None = None, most: int = MOST_BARS
) -> Chart:
    if len(counts) > most:
        note += f"; the {most} most frequent of {len(counts):,}"
    return _chart(title, note, "rows", ranked(counts)[:most], group_of or {})


def _columns(title: str, counts: Counter[int]) -> Chart:
    """Return a chart with a column for each whole number; the last one holds all that are larger."""
    if not counts:
        return Chart(title, "", "columns", ())
    low, high = min(counts), max(counts)
    last = min(high, low + MOST_COLUMNS - 1)
    values = [(str(v), counts[v]) for v in range(low, last)]
    values.append((f"{last}+" if high > last else str(last), sum(n for v, n in counts.items() if v >= last)))
    found = summary(counts)
    note = f"mean {found['mean']:.1f}, median {found['median']:g}, 95 % up to {found['p95']:g}, most {found['max']:g}"
    return _chart(title, note, "columns", values)


def _chart(
    title: str, note: str, kind: str, values: Sequence[tuple[str, int]], group_of: Mapping[str, str] | None = None
) -> Chart:
    longest = max((n for _, n in values), default=0) or 1
    bars = tuple(Bar(name, n, n / longest, (group_of or {}).get(name, "")) for name, n in values)
    return Chart(title, note, kind, bars)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
