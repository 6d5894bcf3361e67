"""The page of `r1sgg data stats`: bar charts of classes, predicates, graph sizes and box sizes, in one HTML file.

It counts nothing (`r1sgg.data.stats` does) and fetches nothing: the charts are SVG in the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from r1sgg import __version__
from r1sgg.data.stats import AREA_BINS, Statistics, ranked, summary

BAR_HEIGHT, LABEL_WIDTH, BAR_WIDTH, COUNT_WIDTH = 18.0, 150.0, 380.0, 80.0
COLUMN_WIDTH, COLUMN_HEIGHT, COLUMN_GAP = 22.0, 150.0, 4.0
MOST_BARS, MOST_COLUMNS = 200, 40


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it counts, how much, its length (0 to 1 of the longest), and the group it belongs to."""

    name: str
    count: int
    length: float
    group: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars with a heading; "rows" lie and have long names, "columns" stand and have numbers under them."""

    title: str
    note: str
    kind: str
    bars: tuple[Bar, ...]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in the chart's units."""
        if self.kind == "rows":
            return LABEL_WIDTH + BAR_WIDTH + COUNT_WIDTH, BAR_HEIGHT * len(self.bars)
        return (COLUMN_WIDTH + COLUMN_GAP) * len(self.bars), COLUMN_HEIGHT + 34.0


def charts(statistics: Statistics, groups: Mapping[str, Sequence[str]]) -> list[Chart]:
    """Every chart of the page; `groups` names the predicates of head, body and tail."""
    s = statistics
    group_of = {name: group for group, names in groups.items() for name in names}
    shares = [
        f"{group} {len(names)} predicates, {_percent(sum(s.predicates[n] for n in names), s.predicates.total())}"
        for group, names in groups.items()
    ]
    areas = Counter({_share(end): s.areas[end] for end in AREA_BINS})
    sizes = [f"{name} {_percent(s.box_sizes[name], s.classes.total())}" for name in ("small", "medium", "large")]
    return [
        _columns("Objects of an image", s.objects),
        _columns("Relationships of an image", s.relationships),
        Chart(
            "Area of a box",
            f"boxes up to so much of the image; {', '.join(sizes)} (under 32², 96² pixels)",
            "columns",
            _bars([(name, areas[name]) for name in areas]),
        ),
        _rows("Predicates", f"relationships by predicate; {'; '.join(shares)}", s.predicates, group_of),
        _rows("Classes", "objects by class", s.classes),
        _rows(
            "Triplets",
            f"{len(s.triplets):,} differ, {sum(n == 1 for n in s.triplets.values()):,} of them occur once",
            Counter({" ".join(names): n for names, n in s.triplets.items()}),
            most=50,
        ),
    ]


def write_page(
    out: Path, statistics: Statistics, title: str, groups: Mapping[str, Sequence[str]], notes: Sequence[tuple[str, str]]
) -> None:
    """Write the HTML file; `notes` are further lines of the summary (what, how many or which)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    s = statistics
    facts = [
        f"{s.images:,} images",
        f"{s.classes.total():,} objects of {len(s.classes):,} classes",
        f"{s.predicates.total():,} relationships of {len(s.predicates):,} predicates",
        f"r1sgg {__version__}",
    ]
    page = environment.get_template("statistics.html.j2").render(
        title=title,
        facts=facts,
        notes=notes,
        charts=charts(statistics, groups),
        row=(BAR_HEIGHT, LABEL_WIDTH, BAR_WIDTH),
        column=(COLUMN_WIDTH, COLUMN_GAP, COLUMN_HEIGHT),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")


def _rows(
    title: str, note: str, counts: Counter[str], group_of: Mapping[str, str] | None = None, most: int = MOST_BARS
) -> Chart:
    named = ranked(counts)
    if len(named) > most:
        note += f"; the {most} most frequent of {len(named):,}"
    return Chart(title, note, "rows", _bars(named[:most], group_of or {}))


def _columns(title: str, counts: Counter[int]) -> Chart:
    """Whole numbers, each with its column; what lies beyond the last column is in it."""
    if not counts:
        return Chart(title, "", "columns", ())
    low, last = min(counts), min(max(counts), min(counts) + MOST_COLUMNS - 1)
    values = [(str(v), counts[v]) for v in range(low, last)]
    beyond = sum(n for v, n in counts.items() if v >= last)
    values.append((f"{last}+" if max(counts) > last else str(last), beyond))
    found = summary(counts)
    note = f"mean {found['mean']:.1f}, median {found['median']:g}, 95 % up to {found['p95']:g}, most {found['max']:g}"
    return Chart(title, note, "columns", _bars(values))


def _bars(values: Sequence[tuple[str, int]], group_of: Mapping[str, str] | None = None) -> tuple[Bar, ...]:
    longest = max((n for _, n in values), default=0) or 1
    return tuple(Bar(name, n, n / longest, (group_of or {}).get(name, "")) for name, n in values)


def _share(end: float) -> str:
    return f"{100 * end:.2g} %" if end < 0.1 else f"{100 * end:.0f} %"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
