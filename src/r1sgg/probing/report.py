"""Probes of several models as one table (rich, Markdown, HTML) and as bars. The figures come from `numbers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from r1sgg.data.jsonl import read_json
from r1sgg.errors import InputError
from r1sgg.probing.prompts import SETTINGS

Results = Mapping[str, Mapping[str, Any]]
COLUMNS = ("Acc", "mAcc", "unparsed")
_PLAIN = {"original": "original", "masked-image": "masked image", "masked-objects": "masked objects"}


@dataclass(frozen=True, slots=True)
class ProbedModel:
    """The results of one folder; `name` is unique among those shown together."""

    name: str
    results: Results
    summary: Mapping[str, Any]


def read_probes(folders: Sequence[Path]) -> list[ProbedModel]:
    """Read the results in folders that `r1sgg probe` wrote.

    Raises:
        InputError: a folder has none.
    """
    read = []
    for folder in folders:
        results, summary = read_json(folder / "results.json"), read_json(folder / "summary.json")
        if not isinstance(results, dict) or not isinstance(summary, dict) or not {"model", "answering"} <= set(summary):
            raise InputError(str(folder), expected="results.json and summary.json of a probe", found="something else")
        for name, row in results.items():
            if not isinstance(row, dict) or not {"acc", "macc", "unparsed", "intervals", "chance"} <= set(row):
                raise InputError(f"{folder}/results.json: {name!r}", expected="figures of a setting", found="others")
        read.append((folder, results, summary))
    models = [str(summary["model"]) for _, _, summary in read]
    names = [
        m if models.count(m) == 1 else f"{m} ({s['answering']}, {f.name})"
        for m, (f, _, s) in zip(models, read, strict=True)
    ]
    return [ProbedModel(name, results, summary) for name, (_, results, summary) in zip(names, read, strict=True)]


def remarks(models: Sequence[ProbedModel]) -> list[str]:
    """Write the notes under the table: different questions, different ways of answering, chance."""
    out = []
    for key, what in (("questions", "were asked different questions"), ("answering", "answered in different ways")):
        if len({model.summary.get(key) for model in models}) > 1:
            listed = ", ".join(f"{model.name}: {model.summary.get(key)}" for model in models)
            out.append(f"Not comparable: the models {what} ({listed}).")
    spans = {
        tuple(row["chance"]["interval"]) for m in models for row in m.results.values() if row["chance"]["interval"]
    }
    if len(spans) == 1:
        low, high = spans.pop()
        out.append(f"Chance is 25.0 %; 95 % of models that guess reach {100 * low:.1f} to {100 * high:.1f} %.")
    return out


def table_rows(models: Sequence[ProbedModel]) -> list[tuple[str, str, list[str]]]:
    """List (image, text, cells), one row per setting that some model has; three cells per model."""
    rows: list[tuple[str, str, list[str]]] = []
    for setting in SETTINGS:
        found = [model.results.get(str(setting)) for model in models]
        if any(row is not None for row in found):
            rows.append((_PLAIN[setting.shown], setting.told, [cell for row in found for cell in _cells(row)]))
    return rows


def _cells(row: Mapping[str, Any] | None) -> list[str]:
    if row is None:
        return ["-"] * len(COLUMNS)
    span = row["intervals"]["acc"]
    between = "" if span is None or row["acc"] is None else f" [{100 * span[0]:.1f}, {100 * span[1]:.1f}]"
    return [_percent(row["acc"]) + between, _percent(row["macc"]), _percent(row["unparsed"])]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def markdown(models: Sequence[ProbedModel]) -> str:
    """Write the table in Markdown, with remarks and conclusions under it."""
    heads = ["image", "text", *(_escaped(f"{m.name} {column}") for m in models for column in COLUMNS)]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    lines += [f"| {shown} | {told} | " + " | ".join(cells) + " |" for shown, told, cells in table_rows(models)]
    lines += ["", "Percent; in brackets 95 % bootstrap intervals over images.", *remarks(models)]
    for model in models:
        lines += [
            "",
            f"**{_escaped(model.name)}**",
            "",
            *(f"- {text}" for text in model.summary.get("conclusions", ())),
        ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def html(models: Sequence[ProbedModel]) -> str:
    """Write a self-contained page: table, remarks, figure, conclusions."""
    return _render(
        "table.html.j2",
        models=models,
        columns=COLUMNS,
        rows=table_rows(models),
        remarks=remarks(models),
        figure=bars([(model.name, model.results) for model in models]),
    )


def figure(models: Sequence[tuple[str, Results]]) -> str:
    """Draw accuracy by setting as an SVG: one panel per model, one group of bars per text, one bar per image."""
    return _render("figure.svg.j2", figure=bars(models))


def _render(template: str, **values: Any) -> str:
    loader = PackageLoader("r1sgg.probing", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(**values)


WIDTH, HEIGHT, LEFT, TOP, BASE = 460, 230, 44, 34, 180
_GROUP, _BAR = 136, 36


def bars(models: Sequence[tuple[str, Results]]) -> dict[str, Any]:
    """Lay out the figure: for each model its bars, with whiskers for intervals; 0 to 100 % is from BASE to TOP."""

    def y(value: float) -> float:
        return round(BASE - (BASE - TOP) * value, 1)

    panels = []
    for number, (name, results) in enumerate(models):
        drawn = []
        for setting in SETTINGS:
            row = results.get(str(setting))
            if row is None or row["acc"] is None:
                continue
            group = ("names+boxes", "no-names", "no-boxes").index(setting.told)
            place = tuple(_PLAIN).index(setting.shown)
            x = LEFT + group * _GROUP + place * (_BAR + 3) + 6
            span = row["intervals"]["acc"]
            drawn.append(
                {
                    "x": x,
                    "y": y(row["acc"]),
                    "height": round(BASE - y(row["acc"]), 1),
                    "kind": setting.shown,
                    "label": _percent(row["acc"]),
                    "title": f"{name}, {setting}: {_percent(row['acc'])} %",
                    "whisker": None if span is None else (y(span[1]), y(span[0])),
                    "top": y(row["acc"] if span is None else max(span[1], row["acc"])) - 4,
                }
            )
        panels.append({"name": name, "top": number * HEIGHT, "bars": drawn})
    return {
        "width": WIDTH, "height": HEIGHT * len(models), "panels": panels, "bar": _BAR, "left": LEFT, "base": BASE,
        "ticks": [(y(v / 100), v) for v in (0, 25, 50, 75, 100)], "chance": y(0.25), "right": WIDTH - 4,
        "groups": [(LEFT + k * _GROUP + 62, told) for k, told in enumerate(("names+boxes", "no-names", "no-boxes"))],
        "legend": [(LEFT + 6 + k * 120, shown, text) for k, (shown, text) in enumerate(_PLAIN.items())],
    }  # fmt: skip
