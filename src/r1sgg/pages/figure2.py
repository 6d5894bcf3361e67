"""The paper's Fig. 2 of one's own runs, as one SVG: what SFT and RL do to failures, AP50 and R@50 while they train.

    r1sgg report --runs runs/sft --runs runs/sft-rl-s0 --runs runs/sft-rl-s1 --runs runs/control-s0 \\
      --figure fig2.svg --out curves.html

    (a) failures  (b) AP50  (c) R@50        SFT, evaluated during training
    (d) failures  (e) AP50  (f) R@50        RL
    (g) (h) (i)   three reward terms        RL, on training images

Runs whose folders are called NAME-s0, NAME-s1, ... are seeds of one thing: their mean is drawn, with a band from the
smallest to the largest. A run of SFT whose name begins with "control" is what RL is compared with, SFT continued for
the same compute: it is drawn in (d) to (f), dashed, its steps scaled so that both end at the same place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from r1sgg.data.jsonl import read_jsonl
from r1sgg.drawing.style import PALETTE
from r1sgg.errors import InputError
from r1sgg.pages.curves import FIGURE_2, Frame, Points, Series, axis_ticks, metrics_of, read_series

TERMS = {
    "format": ("format", "graph_format"),
    "objects": ("node", "node_f1"),
    "triplets": ("edge", "triplet_f1", "edge_f1", "hard_recall"),
}
"""What (g) to (i) show: of each kind the first reward term that a run has."""

Groups = dict[str, list[Series]]
"""Runs by the name that their seeds share."""

_SEED = re.compile(r"(.+)-s\d+")
_CONTROL = "control"
_COLUMNS, _GAP, _TOP, _ROW = 3, 14.0, 30.0, 34.0


@dataclass(frozen=True, slots=True)
class Band:
    """Runs of one name: steps, and the mean, smallest and largest value at each."""

    name: str
    steps: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: int


class Panel(NamedTuple):
    """One chart: its place, letter and title, and what is drawn, in its own units."""

    x: float
    y: float
    title: str
    frame: Frame
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    lines: Sequence[dict[str, Any]]


def figure_2(folders: Sequence[Path]) -> str:
    """Draw the figure as an SVG.

    Args:
        folders: of training runs, see the module's docstring.

    Raises:
        InputError: a folder without metrics, seeds of one name without a common step, or no evaluation in any.
    """
    found = [(path, *_stage(path)) for path in folders]
    sft = _grouped([(name, series) for _, name, stage, series in found if stage == "sft" and not _is_control(name)])
    control = _grouped([(name, series) for _, name, stage, series in found if stage == "sft" and _is_control(name)])
    rl = _grouped([(name, series) for _, name, stage, series in found if stage != "sft"])
    if not any(key in s.values for _, _, _, s in found for key in FIGURE_2):
        where = str(folders[0]) if folders else "--runs"
        raise InputError(
            where,
            expected="an evaluation during training",
            found="none",
            hint="train with validation and validate_steps",
        )
    names = list(dict.fromkeys((*sft, *rl, *control)))
    colours = dict(zip(names, PALETTE, strict=False))
    rows: list[tuple[list[tuple[str, str, Groups, Groups]], str]] = [
        ([(key, title, sft, {}) for key, title in FIGURE_2.items()], "SFT"),
        ([(key, title, rl, control) for key, title in FIGURE_2.items()], "RL"),
        ([(kind, f"reward for {kind}", _renamed(rl, kind), {}) for kind in TERMS], "RL"),
    ]
    panels: list[Panel] = []
    letters, y = iter("abcdefghi"), _TOP
    for row, stage in rows:
        before = len(panels)
        for column, (key, title, shown, beside) in enumerate(row):
            letter = next(letters)
            bands = _bands(key, shown)
            end = max((b.steps[-1] for b in bands), default=0.0)
            lines = [(b, False) for b in bands] + [(_scaled(b, end), True) for b in _bands(key, beside) if end]
            if lines:
                frame = Frame((0, 0), (1, 1), width=330, height=190, right=14)
                x = column * (frame.width + _GAP)
                panels.append(_panel(x, y, f"({letter}) {stage}, {title}", frame, lines, colours, key in FIGURE_2))
        if len(panels) > before:  # a row without runs takes no room
            y = panels[-1].y + panels[-1].frame.height + _ROW
    width = _COLUMNS * (330 + _GAP)
    base = max(p.y + p.frame.height for p in panels) + 16
    legend, x = [], 8.0
    for name in names:
        runs = sft.get(name) or rl.get(name) or control.get(name) or []
        text = name if len(runs) == 1 else f"{name} ({len(runs)} seeds)"
        if name in control:
            text += ": SFT for the same compute"
        if x > 8 and x + 34 + 6.6 * len(text) > width:
            x, base = 8.0, base + 18
        legend.append((x, base, colours[name], name in control, text))
        x += 44 + 6.6 * len(text)
    environment = Environment(
        loader=PackageLoader("r1sgg.pages", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("figure2.svg.j2").render(
        panels=panels, legend=legend, width=width, height=base + 40
    )


def _is_control(name: str) -> bool:
    return name.rpartition("/")[2].removeprefix("closed-").startswith(_CONTROL)


def _stage(folder: Path) -> tuple[str, str, Series]:
    """Return a run's name without its seed, the stage that it logged first, and its curves."""
    path = metrics_of(folder)
    stage = next((str(row.get("stage") or "") for _, row in read_jsonl(path)), "")
    name = path.absolute().parent.name
    seeded = _SEED.fullmatch(name)
    series = read_series([folder], [name])
    if len(series) != 1:
        raise InputError(str(path), expected="one stage", found=", ".join(s.name for s in series) or "no line")
    return seeded[1] if seeded else name, stage, series[0]


def _grouped(named: Sequence[tuple[str, Series]]) -> Groups:
    groups: Groups = {}
    for name, series in named:
        groups.setdefault(name, []).append(series)
    return groups


def _renamed(groups: Groups, kind: str) -> Groups:
    """Return for each run the curve of its term of a kind, under the kind's name."""
    keys = [f"rewards/{term}/mean" for term in TERMS[kind]]
    return {
        name: [Series(s.name, {kind: next((s.values[k] for k in keys if k in s.values), [])}) for s in runs]
        for name, runs in groups.items()
    }


def _bands(key: str, groups: Groups) -> list[Band]:
    return [
        band(name, held)
        for name, runs in groups.items()
        if (held := [s.values[key] for s in runs if s.values.get(key)])
    ]


def band(name: str, runs: Sequence[Points]) -> Band:
    """Return the mean and range of runs at the steps that all of them have.

    Raises:
        InputError: they have none in common.
    """
    tables = [dict(points) for points in runs]
    steps = tuple(sorted(set.intersection(*(set(t) for t in tables))))
    if not steps:
        raise InputError(name, expected="seeds that were evaluated at the same steps", found="no step in common")
    rows = [[t[step] for t in tables] for step in steps]
    mean = tuple(sum(row) / len(row) for row in rows)
    return Band(name, steps, mean, tuple(map(min, rows)), tuple(map(max, rows)), len(runs))


def _scaled(control: Band, end: float) -> Band:
    """Stretch a control's steps to the range of the runs that it is compared with."""
    factor = end / control.steps[-1] if control.steps[-1] else 1.0
    return Band(
        control.name, tuple(s * factor for s in control.steps), control.mean, control.low, control.high, control.seeds
    )


def _panel(
    x: float,
    y: float,
    title: str,
    frame: Frame,
    lines: Sequence[tuple[Band, bool]],
    colours: dict[str, str],
    percent: bool,
) -> Panel:
    factor = 100.0 if percent else 1.0
    steps = [s for b, _ in lines for s in b.steps]
    values = [v * factor for b, _ in lines for v in (*b.low, *b.high)]
    across = axis_ticks(0.0, max(steps), 4, whole=True)
    up = axis_ticks(min(0.0, *values), max(*values, 1.0 if percent else 0.1), 4)
    scaled = Frame(
        (across[0], up[0]),
        (across[-1], up[-1]),
        frame.width,
        frame.height,
        frame.left,
        frame.right,
        frame.top,
        frame.bottom,
    )

    def places(band: Band, of: Sequence[float]) -> list[tuple[float, float]]:
        return [scaled.at(s, v * factor) for s, v in zip(band.steps, of, strict=True)]

    drawn = [
        {
            "colour": colours[b.name],
            "dashed": dashed,
            "points": places(b, b.mean),
            "area": [*places(b, b.high), *reversed(places(b, b.low))] if b.seeds > 1 else [],
            "title": f"{b.name}: {b.mean[-1] * factor:.3g} at the end",
        }
        for b, dashed in lines
    ]
    return Panel(
        x,
        y,
        title + (", %" if percent else ""),
        scaled,
        [(scaled.at(s, up[0])[0], f"{s:g}") for s in across],
        [(scaled.at(across[0], v)[1], f"{v:g}") for v in up],
        drawn,
    )
