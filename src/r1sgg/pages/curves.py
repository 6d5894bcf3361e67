"""Training curves (paper Fig. 2): from the `metrics.jsonl` of run folders to the geometry of small line charts.

`metrics.jsonl` holds an object a line: `step`, optionally `stage`, and any numbers. Nothing is smoothed, resampled or
left out of a line. Drawing is the template's work; this file makes no markup.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from r1sgg.data.jsonl import read_jsonl
from r1sgg.errors import InputError

METRICS_FILE = "metrics.jsonl"
FIGURE_2 = {"failure_rate": "Failure rate", "AP50": "AP50", "R@50": "R@50"}
_PERCENT = re.compile(r"failure_rate|AP\d*|(ng|z)?m?R@\d+|precision|recall|f1|duplicate_rate")
_EVALUATION_PREFIX = re.compile(r"^(eval|test|validation|val)[_/]")
_REWARD = re.compile(r"reward|rewards/(?!.*/std$).+")
_NOT_CURVES = frozenset(("step", "epoch", "stage", "time"))

WIDTH, HEIGHT = 360.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 40.0, 10.0, 36.0
_END_STEP, _END_WIDTH = 11.5, 34.0  # room that a label at a line's end takes
_MAX_DOTS = 60  # a longer line has its tooltips at this many of its points

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """One run (or one stage of it): for each key its (step, value) points in the order of steps."""

    name: str
    values: Mapping[str, Points]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart in the chart's units: SVG path data, points with their tooltip, a label at its end."""

    index: int
    name: str
    path: str
    dots: tuple[tuple[float, float, str], ...]
    end: tuple[float, float, str]


@dataclass(frozen=True, slots=True)
class Chart:
    """A line chart of `WIDTH` x `HEIGHT` units; ticks are (position, text)."""

    title: str
    group: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    summary: str


def read_series(folders: Sequence[Path]) -> list[Series]:
    """Read the curves of run folders (or of metrics files themselves); a run with several stages gives several series.

    Raises:
        InputError: no metrics file, a broken line, or a line without a number under "step".
    """
    series: list[Series] = []
    names = distinct_names(folders)
    for folder, name in zip(folders, names, strict=True):
        path = folder if folder.is_file() else folder / METRICS_FILE
        stages: dict[str, dict[str, dict[float, float]]] = {}
        for number, row in read_jsonl(path):
            step = row.get("step")
            if isinstance(step, bool) or not isinstance(step, int | float):
                raise InputError(f"{path}:{number}: step", expected="a number", found=repr(step))
            values = stages.setdefault(str(row.get("stage") or ""), {})
            for key, value in row.items():
                if key not in _NOT_CURVES and isinstance(value, int | float) and not isinstance(value, bool):
                    values.setdefault(_canonical(key), {})[float(step)] = float(value)  # a resumed run repeats steps
        for stage, values in stages.items():
            label = f"{name} ({stage})" if len(stages) > 1 and stage else name
            series.append(Series(label, {key: sorted(points.items()) for key, points in values.items()}))
    return series


def charts(series: Sequence[Series]) -> list[Chart]:
    """A chart for each key that some series holds: Fig. 2's three, then rewards, then every other that varies."""
    keys = list(dict.fromkeys(key for s in series for key in s.values))
    rewards = sorted((k for k in keys if _REWARD.fullmatch(k)), key=lambda k: (k != "reward", keys.index(k)))
    rest = [k for k in keys if k not in FIGURE_2 and k not in rewards and _varies(series, k)]
    plan = [(k, title, "figure") for k, title in FIGURE_2.items() if k in keys]
    plan += [(k, k.removeprefix("rewards/").removesuffix("/mean"), "reward") for k in rewards]
    plan += [(k, k, "other") for k in sorted(rest, key=str.lower)]
    return [_chart(key, title, group, series) for key, title, group in plan]


def _chart(key: str, title: str, group: str, series: Sequence[Series]) -> Chart:
    percent = bool(_PERCENT.fullmatch(key))
    factor = 100.0 if percent else 1.0
    data = {i: [(x, y * factor) for x, y in s.values[key]] for i, s in enumerate(series) if s.values.get(key)}
    xs = [x for points in data.values() for x, _ in points]
    ys = [y for points in data.values() for _, y in points]
    x_values = _ticks(min(0.0, *xs), max(xs), 5, whole=True)
    low, high = min(ys), max(ys)
    y_values = _ticks(0.0 if 0 <= low <= 0.6 * high or percent else low, high, 4)
    x_low, x_high = x_values[0], max(x_values[-1], *xs)
    y_low, y_high = y_values[0], y_values[-1]

    def at(point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + (point[0] - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    def shown(value: float) -> str:
        return f"{value:.1f} %" if percent else _number(value)

    lines = []
    for i, points in data.items():
        where = [at(p) for p in points]
        every = math.ceil(len(points) / _MAX_DOTS)
        dots = [
            (*where[k], f"{series[i].name}, step {points[k][0]:g}: {shown(points[k][1])}")
            for k in range(len(points) - 1, -1, -every)
        ]
        path = "M" + "L".join(f"{x:g},{y:g}" for x, y in where)
        lines.append(
            Line(i, series[i].name, path, tuple(reversed(dots)), (*where[-1], shown(points[-1][1]).removesuffix(" %")))
        )
    return Chart(
        title=title + (" (%)" if percent else ""),
        group=group,
        lines=tuple(_spread_ends(lines)),
        x_ticks=tuple((at((x, y_low))[0], f"{x:g}") for x in x_values),
        y_ticks=tuple((at((x_low, y))[1], _number(y, y_values[1] - y_values[0])) for y in y_values),
        summary="; ".join(
            f"{series[i].name}: {shown(p[0][1])} at step {p[0][0]:g}, {shown(p[-1][1])} at {p[-1][0]:g}"
            for i, p in data.items()
        ),
    )


def _spread_ends(lines: Sequence[Line]) -> list[Line]:
    """Move labels apart that stand at ends of about the same step, keeping their order, and none below the axis."""
    moved: dict[int, Line] = {}
    for line in lines:
        beside = sorted((o for o in lines if abs(o.end[0] - line.end[0]) < _END_WIDTH), key=lambda o: o.end[1])
        heights = [other.end[1] for other in beside]
        for k in range(1, len(heights)):
            heights[k] = max(heights[k], heights[k - 1] + _END_STEP)
        ceiling = HEIGHT - BOTTOM
        for k in range(len(heights) - 1, -1, -1):
            heights[k] = min(heights[k], ceiling)
            ceiling = heights[k] - _END_STEP
        moved[line.index] = replace(line, end=(line.end[0], round(heights[beside.index(line)], 1), line.end[2]))
    return list(moved.values())


def _ticks(low: float, high: float, about: int, *, whole: bool = False) -> list[float]:
    """Round (or whole) numbers that enclose [low, high], some `about` of them; at least two."""
    if high <= low:
        pad = abs(low) or 1.0
        low, high = (low, low + pad) if low >= 0 else (low - pad, low)
    raw = max((high - low) / about, 1.0 if whole else 0.0)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    steps = (m * magnitude for m in (1, 2, 2.5, 5, 10))
    step = next(s for s in steps if s >= raw * 0.999 and (not whole or s.is_integer()))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _number(value: float, step: float | None = None) -> str:
    """A value in three figures or one decimal; on an axis with as many decimals as its step needs."""
    if not (value == 0 or 0.001 <= abs(value) < 1e5):
        return f"{value:.1e}"
    if step is not None:
        decimals = len(f"{step:.9f}".rstrip("0").partition(".")[2])
        return f"{value:.{decimals}f}"
    return f"{value:#.3g}" if abs(value) < 10 else f"{value:.1f}"


def _varies(series: Sequence[Series], key: str) -> bool:
    values = [y for s in series for _, y in s.values.get(key, ())]
    return len(values) > 1 and min(values) < max(values)


def _canonical(key: str) -> str:
    """Evaluation during training may prefix its keys: "eval_R@50" is R@50 (but "eval_loss" is not "loss")."""
    bare = _EVALUATION_PREFIX.sub("", key)
    return bare if _PERCENT.fullmatch(bare) else key


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The folder's name, with as many parents as it takes to tell them apart."""
    paths = [(p.parent if p.is_file() else p).resolve() for p in folders]
    for depth in range(1, max((len(p.parts) for p in paths), default=1) + 1):
        names = ["/".join(p.parts[-depth:]) for p in paths]
        if len(set(names)) == len(names):
            break
    return names if paths else []
