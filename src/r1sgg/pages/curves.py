"""Training curves (paper Fig. 2): from the `metrics.jsonl` of run folders to the geometry of small line charts.

A line of `metrics.jsonl` is an object: `step`, optionally `stage`, and any numbers. Nothing is smoothed or resampled,
and no point of a line is left out.

The template draws the charts, not matplotlib: its SVG (14 kB a chart, ours 12 kB with the tooltips) has no tooltips,
keeps its colours on a dark page, and takes 18 ms where the geometry and the template take 1 ms.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from r1sgg.data.jsonl import read_jsonl
from r1sgg.errors import InputError

METRICS_FILE = "metrics.jsonl"
FIGURE_2 = {"failure_rate": "Failure rate", "AP50": "AP50", "R@50": "R@50"}
_FIRST = {**FIGURE_2, "loss": "Loss"}
"""What is shown first, and whether it varies or not."""
_PERCENT = re.compile(r"failure_rate|AP\d*|(ng|z)?m?R@\d+|precision|recall|f1|duplicate_rate")
_EVALUATION_PREFIX = re.compile(r"^(eval|test|validation|val)[_/]")
_REWARD = re.compile(r"reward|rewards/(?!.*/std$).+")
_NOT_CURVES = frozenset(("step", "epoch", "stage", "time"))

_END_STEP, _END_WIDTH = 11.5, 34.0  # height and width of a label at a line's end
_MAX_DOTS = 60  # a longer line has its tooltips at this many of its points

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """One run (or one stage of it): for each key its (step, value) points in the order of steps."""

    name: str
    values: Mapping[str, Points]


@dataclass(frozen=True, slots=True)
class Frame:
    """The area of a chart that lines are drawn in: size and margins in the chart's own units, and the axes' ends."""

    low: tuple[float, float]
    high: tuple[float, float]
    width: float = 360.0
    height: float = 210.0
    left: float = 44.0
    right: float = 40.0
    top: float = 10.0
    bottom: float = 36.0

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the data is drawn."""
        across = (x - self.low[0]) / (self.high[0] - self.low[0])
        up = (y - self.low[1]) / (self.high[1] - self.low[1])
        width, height = self.width - self.left - self.right, self.height - self.top - self.bottom
        return round(self.left + across * width, 1), round(self.height - self.bottom - up * height, 1)


class Dot(NamedTuple):
    """A point of a line, with its radius and its tooltip."""

    x: float
    y: float
    radius: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart in the chart's units: points, dots with tooltips, and a label at its end ("" for none).

    `whole` is where the run's last step is, and `level` the label's height when every run is drawn as wide as the
    chart: runs of different lengths are compared by their shares.
    """

    index: int
    name: str
    points: tuple[tuple[float, float], ...]
    dots: tuple[Dot, ...]
    end: tuple[float, float, str] = (0.0, 0.0, "")
    note: str = ""
    whole: float = 0.0
    level: float = 0.0


@dataclass(frozen=True, slots=True)
class Chart:
    """A line chart; ticks are (position, text), `summary` describes the chart in words."""

    title: str
    group: str
    x_label: str
    frame: Frame
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    summary: str


def metrics_of(run: Path) -> Path:
    """Return the metrics file of a run's folder; of a file itself that file.

    Raises:
        InputError: the folder has none; the sentence names a run inside.
    """
    path = run / METRICS_FILE
    if not run.is_dir() or path.is_file():
        return path if run.is_dir() else run
    inside = next((path.parent for path in sorted(run.glob(f"**/{METRICS_FILE}"))), None)
    hint = "a run writes it while it trains" if inside is None else f"a run in it: --runs {inside}"
    raise InputError(str(run), expected=f"the folder of a run, with {METRICS_FILE}", found="none", hint=hint)


def read_series(folders: Sequence[Path], names: Sequence[str]) -> list[Series]:
    """Read the curves of runs; a run with several stages gives a series for each.

    Args:
        folders: run folders, or metrics files themselves.
        names: what the runs are called.

    Raises:
        InputError: no metrics file, a broken line, or a line without a number under "step".
    """
    series: list[Series] = []
    for folder, name in zip(folders, names, strict=True):
        path = metrics_of(folder)
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
    """Return a chart for each key of the series: those of `_FIRST`, then rewards, then every other that varies.

    All of them have the same steps on their axes, those of the longest run.
    """
    keys = list(dict.fromkeys(key for s in series for key in s.values))
    rewards = sorted((k for k in keys if _REWARD.fullmatch(k)), key=lambda k: (k != "reward", keys.index(k)))
    rest = [k for k in keys if k not in _FIRST and k not in rewards and _varies(series, k)]
    plan = [(k, title, "figure") for k, title in _FIRST.items() if k in keys]
    plan += [(k, k.removeprefix("rewards/").removesuffix("/mean"), "reward") for k in rewards]
    plan += [(k, k, "other") for k in sorted(rest, key=str.lower)]
    steps = [_last_step(s) for s in series]
    return [_chart(key, title, group, series, steps) for key, title, group in plan]


def differ(series: Sequence[Series]) -> bool:
    """Return whether the runs differ so much in length that the shorter ones are hard to see beside the longest."""
    steps = [step for s in series if (step := _last_step(s))]
    return len(steps) > 1 and max(steps) > 1.2 * min(steps)


def _last_step(series: Series) -> float:
    return max((points[-1][0] for points in series.values.values() if points), default=0.0)


def _chart(key: str, title: str, group: str, series: Sequence[Series], steps: Sequence[float]) -> Chart:
    percent = bool(_PERCENT.fullmatch(key))
    factor = 100.0 if percent else 1.0
    data = {i: [(x, y * factor) for x, y in s.values[key]] for i, s in enumerate(series) if s.values.get(key)}
    xs = [x for points in data.values() for x, _ in points]
    ys = [y for points in data.values() for _, y in points]
    x_values = axis_ticks(min(0.0, *xs), max(steps), 5, whole=True)
    low, high = min(ys), max(ys)
    y_values = axis_ticks(0.0 if 0 <= low <= 0.6 * high or percent else low, high, 4)
    frame = Frame((x_values[0], y_values[0]), (max(x_values[-1], *steps), y_values[-1]))

    def shown(value: float) -> str:
        return f"{value:.1f} %" if percent else _number(value)

    lines, words = [], []
    for i, points in data.items():
        name, (first, first_value), (last, last_value) = series[i].name, points[0], points[-1]
        every = math.ceil(len(points) / _MAX_DOTS)
        dots = [
            Dot(*frame.at(x, y), 6.0, f"{name}, step {x:g}: {shown(y)}")
            for x, y in points[(len(points) - 1) % every :: every]  # the last one among them
        ]
        end = (*frame.at(last, last_value), shown(last_value).removesuffix(" %"))
        whole = frame.at(steps[i], last_value)[0]
        lines.append(Line(i, name, tuple(frame.at(x, y) for x, y in points), tuple(dots), end, whole=whole))
        words.append(f"{name}: {shown(first_value)} at step {first:g}, {shown(last_value)} at {last:g}")
    return Chart(
        title=title + (" (%)" if percent else ""),
        group=group,
        x_label="training step",
        frame=frame,
        lines=_placed(lines, frame),
        x_ticks=tuple((frame.at(x, y_values[0])[0], f"{x:,.10g}") for x in x_values),
        y_ticks=tuple((frame.at(x_values[0], y)[1], _number(y, y_values[1] - y_values[0])) for y in y_values),
        summary=f"against training steps. {'; '.join(words)}",
    )


def _placed(lines: Sequence[Line], frame: Frame) -> tuple[Line, ...]:
    """Give labels their places, on the axis of steps and on that of shares."""
    floor, left, right = frame.height - frame.bottom, frame.left, frame.width - frame.right

    def stretched(line: Line) -> Line:
        share = (line.end[0] - left) / max(1e-9, line.whole - left)
        return replace(line, end=(left + share * (right - left), *line.end[1:]))

    levels = [line.end[1] for line in _spread_ends([*map(stretched, lines)], floor)]
    spread = _spread_ends(lines, floor)
    return tuple(replace(line, level=level) for line, level in zip(spread, levels, strict=True))


def _spread_ends(lines: Sequence[Line], floor: float) -> tuple[Line, ...]:
    """Move labels apart whose lines end at about the same step; keep their order, and all of them above `floor`."""
    moved = []
    for line in lines:
        beside = sorted((o for o in lines if abs(o.end[0] - line.end[0]) < _END_WIDTH), key=lambda o: o.end[1])
        heights = [other.end[1] for other in beside]
        for k in range(1, len(heights)):  # down, away from the label above
            heights[k] = max(heights[k], heights[k - 1] + _END_STEP)
        lowest = floor
        for k in range(len(heights) - 1, -1, -1):  # and up again, away from the axis
            heights[k] = min(heights[k], lowest)
            lowest = heights[k] - _END_STEP
        moved.append(replace(line, end=(line.end[0], round(heights[beside.index(line)], 1), line.end[2])))
    return tuple(moved)


def axis_ticks(low: float, high: float, about: int, *, whole: bool = False) -> list[float]:
    """Return round (or whole) numbers that enclose [low, high], roughly `about` of them, and at least two."""
    if high <= low:
        pad = abs(low) or 1.0
        low, high = (low, low + pad) if low >= 0 else (low - pad, low)
    raw = max((high - low) / about, 1.0 if whole else 0.0)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    steps = (m * magnitude for m in (1, 2, 2.5, 5, 10))
    step = next(s for s in steps if s >= raw * 0.999 and (not whole or s.is_integer()))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]  # 1e-14 must not become 0


def _number(value: float, step: float | None = None) -> str:
    """Return a value in three figures or one decimal; on an axis, with as many decimals as its step needs."""
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
    """Return the name of a figure without the prefix of evaluation: "eval_R@50" is R@50, "eval_loss" is not "loss"."""
    bare = _EVALUATION_PREFIX.sub("", key)
    return bare if _PERCENT.fullmatch(bare) else key


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Return the names of folders, with as many parents as it takes to tell them apart."""
    paths = [(p.parent if p.is_file() else p).resolve() for p in folders]
    for depth in range(1, max((len(p.parts) for p in paths), default=1) + 1):
        names = ["/".join(p.parts[-depth:]) for p in paths]
        if len(set(names)) == len(names):
            break
    return names if paths else []
