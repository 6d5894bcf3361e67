"""What confidences and merged samples are worth, measured on drawn scenes that the model has not seen.

    OMP_NUM_THREADS=1 python benchmarks/confidence.py --folder confidence --json confidence.json

Answers every image greedily and with several samples at temperature 1 (kept in --folder with their tokens'
probabilities, so that a second run reads them), then prints three tables:

1. formulas for the confidence of an object and of a triplet: how well each ranks (pooled AP) and is calibrated;
2. R@K of the same answers ranked by confidence and in the order of generation, and the difference;
3. one greedy answer, one sample, and all samples merged: R@50, AP, precision.

Intervals are 95 % bootstrap intervals over images, of differences paired ones. `--guide` holds the answers to
`r1sgg.guiding`, and confidences are then over what the guide allowed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from r1sgg.data.base import Example
from r1sgg.data.predictions import prediction_of_record
from r1sgg.data.sources import open_data, with_images
from r1sgg.graph.places import places_of
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import Parsed, parse
from r1sgg.inference.confidence import Tokens, scored
from r1sgg.inference.engine import Completion, Piece, Sampling
from r1sgg.inference.engines import load
from r1sgg.inference.merge import merge
from r1sgg.judging.protocol import STRICT
from r1sgg.judging.triplets import judge, match_triplets
from r1sgg.metrics.calibration import calibration_error, pooled_precision, reliability
from r1sgg.metrics.columns import Evaluator
from r1sgg.metrics.figures import Figures
from r1sgg.metrics.intervals import compare, intervals
from r1sgg.metrics.objects import BoxColumns, average_precision
from r1sgg.metrics.report import calibration

BATCH, MAX_NEW_TOKENS = 50, 200
CUTOFFS = (1, 2, 3, 5, 20)
APART = (
    "AP",
    "AP50",
    *(f"{f} {k}" for f in ("ECE", "brier", "pooled_AP") for k in ("objects", "triplets")),
)  # figures that are no ratios of sums over images
UNRANKED = replace(STRICT, name="order", use_scores=False)


class Answer(NamedTuple):
    """One answer to one image."""

    completion: Completion
    parsed: Parsed
    graph: SceneGraph  # with scores


# ---------------------------------------------------------------- answers, made once


def answers_of(options: argparse.Namespace, temperature: float, samples: int) -> list[list[Answer]]:
    """Answers by image, made where the folder does not hold them."""
    name = f"{'guided-' if options.guide else ''}t{temperature:g}-{samples}.jsonl"
    path: Path = options.folder / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        source, reader = with_images(open_data(options.data)), load(options.model)
        sampling = Sampling(temperature=temperature, max_new_tokens=MAX_NEW_TOKENS)
        with path.with_suffix(".new").open("wb") as handle:
            for start in range(0, len(source), BATCH):
                rows = [source.draw(k) for k in range(start, min(start + BATCH, len(source)))]
                for sample in range(samples):
                    frames = [reader.checkpoint.frame(image.size) for image, _ in rows]
                    completions = reader.engine.generate(
                        [image for image, _ in rows],
                        [reader.checkpoint.messages(image.size) for image, _ in rows],
                        sampling,
                        [f"{example.image_id}/{sample}" for _, example in rows],
                        guides=[reader.guide_spec(frame, sampling) for frame in frames] if options.guide else None,
                        pieces=True,
                    )
                    for (_, example), frame, c in zip(rows, frames, completions, strict=True):
                        pieces = [[*piece] for piece in c.pieces or ()]
                        made = {"image_id": example.image_id, "frame": frame, "pieces": pieces}
                        handle.write(orjson.dumps(made) + b"\n")
        path.with_suffix(".new").rename(path)
    by_image: dict[str, list[Answer]] = {}
    with path.open("rb") as lines:
        for line in lines:
            row = orjson.loads(line)
            pieces = tuple(Piece(*piece) for piece in row["pieces"])
            completion = Completion("".join(p.text for p in pieces), len(pieces), "stop", pieces=pieces)
            parsed = parse(completion.text, tuple(row["frame"]))
            by_image.setdefault(row["image_id"], []).append(Answer(completion, parsed, scored(parsed, completion)))
    return list(by_image.values())


# ---------------------------------------------------------------- 1. formulas


class Logs(NamedTuple):
    """Natural-log probabilities of an answer's parts."""

    label: np.ndarray  # (N,)
    box: np.ndarray  # (N, 4)
    subject: np.ndarray  # (R,)
    predicate: np.ndarray  # (R,)
    object: np.ndarray  # (R,)


OBJECT: dict[str, Callable[[Logs], np.ndarray]] = {
    "class": lambda p: p.label,
    "class x 4 coordinates": lambda p: p.label + p.box.sum(1),
    "class x box": lambda p: p.label + p.box.mean(1),
    "geometric mean of the five": lambda p: (p.label + p.box.sum(1)) / 5,
    "sqrt(class x box)": lambda p: (p.label + p.box.mean(1)) / 2,
}
RELATIONSHIP: dict[str, Callable[[Logs], np.ndarray]] = {
    "predicate": lambda p: p.predicate,
    "predicate x object": lambda p: p.predicate + p.object,
    "predicate x subject x object": lambda p: p.predicate + p.subject + p.object,
}
USED = "sqrt(class x box)"


def logs_of(answer: Answer) -> Logs:
    """The parts' log-probabilities, row by row of the graph."""
    places, tokens = places_of(answer.completion.text), Tokens(answer.completion.pieces or ())
    things = [places.objects[k] for k in answer.parsed.object_rows]
    rows = [places.relationships[k] for k in answer.parsed.relationship_rows]
    return Logs(
        np.array([tokens.logprob(t.label) for t in things]),
        np.array([[tokens.logprob(side) for side in t.box] for t in things]).reshape(-1, 4),
        *(np.array([tokens.logprob(getattr(r, part)) for r in rows]) for part in ("subject", "predicate", "object")),
    )


def formulas(examples: Sequence[Example], answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    """Pooled AP, ECE and Brier of each formula, for objects and triplets."""
    scores: dict[tuple[str, str], list[float]] = {}
    right: dict[str, list[bool]] = {"object": [], "triplet": []}
    for example, answer in zip(examples, answers, strict=True):
        graph = answer.graph
        if not len(graph):
            continue
        logs = logs_of(answer)
        verdicts = judge([example.graph], [graph]).evidence
        claimants = set(verdicts.claims.claimant.tolist())
        right["object"] += [k in claimants for k in range(len(graph))]
        right["triplet"] += (verdicts.partners >= 0).tolist()
        ends = np.array(graph.pairs, dtype=np.int64).reshape(-1, 2)
        for name, formula in OBJECT.items():
            values = formula(logs)
            scores.setdefault(("object", name), []).extend(np.exp(values).tolist())
            for part, other in RELATIONSHIP.items():
                if USED in (name,) or (name, part) in (("class", "predicate"), ("class", "predicate x object")):
                    product = other(logs) + values[ends].sum(1)
                    scores.setdefault(("triplet", f"{part} x {name} of both"), []).extend(np.exp(product).tolist())
    totals = {
        "object": sum(len(e.graph) for e in examples),
        "triplet": sum(len(e.graph.pairs) for e in examples),
    }
    found = {}
    for (kind, name), values in scores.items():
        s, r = np.array(values), np.array(right[kind])
        found[f"{kind}: {name}"] = {
            "pooled_AP": pooled_precision(s, r, totals[kind]),
            "ECE": calibration_error(reliability(s, r)),
            "brier": float(np.mean((s - r) ** 2)),
        }
    return found


# ---------------------------------------------------------------- 2. ranking


def ranking(examples: Sequence[Example], graphs: Sequence[SceneGraph], resamples: int) -> dict[str, dict[str, Any]]:
    """R@K in both orders, and the difference with its interval."""
    truths = [(e.graph, g) for e, g in zip(examples, graphs, strict=True) if e.graph.pairs]
    ranks = {p.name: [match_triplets(t, g, p).ranks for t, g in truths] for p in (STRICT, UNRANKED)}
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(truths), size=len(truths)) for _ in range(resamples)]
    found = {}
    for k in CUTOFFS:
        recall = {name: np.array([np.mean([r < k for r in image]) for image in rows]) for name, rows in ranks.items()}
        difference = recall["strict"] - recall["order"]
        low, high = np.quantile([difference[d].mean() for d in draws], (0.025, 0.975))
        found[f"R@{k}"] = {
            "order": float(recall["order"].mean()),
            "confidence": float(recall["strict"].mean()),
            "difference": float(difference.mean()),
            "interval": [float(low), float(high)],
        }
    return found


# ---------------------------------------------------------------- 3. merging


def evaluated(examples: Sequence[Example], graphs: Sequence[SceneGraph]) -> tuple[Figures, dict[str, float | None]]:
    """The evaluator's figures of graphs, AP and ECE apart; one without objects is a failure."""
    evaluator = Evaluator(protocol=replace(STRICT, claims="all"))
    rows = [
        prediction_of_record({"image_id": e.image_id, "frame": [1, 1], "scores": "triplet", **_document(g)}, e.image_id)
        for e, g in zip(examples, graphs, strict=True)
    ]
    evaluator.add(zip(range(len(rows)), examples, rows, strict=True))
    columns = evaluator.finish()
    apart = {
        f"{figure} {kind}": of and of[figure]
        for kind, of in (calibration(columns) or {}).items()
        for figure in ("ECE", "brier", "pooled_AP")
    }
    return Figures(columns, STRICT, closed=False), columns.precision | apart


def _document(graph: SceneGraph) -> dict[str, Any]:
    """A graph as the rows of a prediction line, boxes as fractions."""

    def scored(row: dict[str, Any], score: float | None) -> dict[str, Any]:
        return row if score is None else {**row, "score": score}

    return {
        "objects": [scored({"id": o.id, "bbox": list(o.box)}, o.score) for o in graph.objects],
        "relationships": [
            scored({"subject": graph.ids[r.subject], "predicate": r.predicate, "object": graph.ids[r.object]}, r.score)
            for r in graph.relationships
        ],
    }


def ap_interval(
    examples: Sequence[Example], sides: Sequence[Sequence[SceneGraph]], resamples: int
) -> list[float] | None:
    """Interval of the difference in AP50 of the second set of graphs to the first, both on the same resamples."""
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(resamples):
        drawn = rng.integers(len(examples), size=len(examples)).tolist()
        values = []
        for graphs in sides:
            true, predicted, classes = BoxColumns(), BoxColumns(), dict[str, int]()
            for place, k in enumerate(drawn):
                size = (examples[k].width, examples[k].height)
                true.add(place, examples[k].graph, size, classes, scored=False)
                predicted.add(place, graphs[k], size, classes, scored=True)
            values.append(average_precision(true, predicted, np.arange(len(drawn)))["AP50"] or 0.0)
        differences.append(values[1] - values[0])
    return [float(v) for v in np.quantile(differences, (0.025, 0.975))] if differences else None


def merging(
    examples: Sequence[Example], sets: dict[str, list[SceneGraph]], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Figures of each set of graphs, and differences to the first."""
    found: dict[str, dict[str, Any]] = {}
    first: Figures | None = None
    for name, graphs in sets.items():
        figures, precision = evaluated(examples, graphs)
        values = figures.values()
        wanted = ("R@20", "R@50", "precision", "f1", "relations_per_image")
        bounds = intervals(figures, options.bootstrap)
        found[name] = {k: {"value": values[k], "interval": bounds.get(k)} for k in wanted}
        found[name] |= {k: {"value": precision.get(k), "interval": None} for k in APART}
        if first is None:
            first, reference = figures, graphs
        else:
            differences = compare(first, figures, options.bootstrap)
            found[name]["difference"] = {k: differences[k] for k in wanted}
            if "above" not in name:  # a cut makes the curve end early, it does not rank
                found[name]["difference"]["AP50"] = {
                    "interval": ap_interval(examples, (reference, graphs), options.bootstrap_ap)
                }
    return found


# ---------------------------------------------------------------- the run


def main() -> None:
    """Answer, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="scenes:1000,split=validation,preset=small")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--guide", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("confidence"), help="answers are kept here")
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--bootstrap-ap", type=int, default=0, help="resamples for AP50, a second or so each")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    greedy = [answers[0] for answers in answers_of(options, 0.0, 1)]
    sampled = answers_of(options, 1.0, options.samples)
    examples = list(with_images(open_data(options.data)))[: len(greedy)]
    examples, greedy = examples[: len(sampled)], greedy[: len(sampled)]
    single = [answers[0] for answers in sampled]
    merged = [merge([answer.graph for answer in answers]) for answers in sampled]
    plain = {"greedy": [a.graph for a in greedy], "one sample": [a.graph for a in single], "merged": merged}
    cut = {
        f"{name}, {least} and above": [g.above(least) if len(g) else g for g in plain[name]]
        for name in ("greedy", "merged")
        for least in (0.1, 0.3)
    }
    result = {
        "images": len(examples),
        "formulas": {"greedy": formulas(examples, greedy), "one sample": formulas(examples, single)},
        "ranking": {name: ranking(examples, graphs, options.bootstrap) for name, graphs in plain.items()},
        "merging": merging(examples, {**plain, **cut}, options),
    }
    show(result)
    if options.json:
        options.json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")


def show(result: dict[str, Any]) -> None:
    """The three tables, in percent."""
    console = Console(width=220)
    table = Table("confidence", *(f"{side} {c}" for side in result["formulas"] for c in ("pooled AP", "ECE", "Brier")))
    for name in result["formulas"]["greedy"]:
        rows = [rows[name] for rows in result["formulas"].values()]
        cells = [c for r in rows for c in (_percent(r["pooled_AP"]), _percent(r["ECE"]), f"{r['brier']:.4f}")]
        table.add_row(name, *cells)
    console.print(table)
    table = Table("answers", "K", "generation order", "by confidence", "difference")
    for name, rows in result["ranking"].items():
        for k, r in rows.items():
            table.add_row(name, k, _percent(r["order"]), _percent(r["confidence"]), _interval(r))
    console.print(table)
    figures = ("R@20", "R@50", "AP50", "precision", "f1", "relations_per_image", *APART[:1], *APART[2:])
    table = Table(f"{result['images']} images", *figures)
    for name, row in result["merging"].items():
        table.add_row(name, *(_value(row[f], 1 if f == "relations_per_image" else 100) for f in figures))
        if "difference" in row:
            shown = [row["difference"].get(f) for f in figures]
            scales = (1 if f == "relations_per_image" else 100 for f in figures)
            table.add_row("  minus greedy", *(_interval(d, k) if d else "" for d, k in zip(shown, scales, strict=True)))
    console.print(table)


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.2f}"


def _value(cell: dict[str, Any], scale: float) -> str:
    if cell["value"] is None:
        return "-"
    shown = f"{cell['value'] * scale:.1f}"
    return shown if not cell["interval"] else f"{shown} [{', '.join(f'{v * scale:.1f}' for v in cell['interval'])}]"


def _interval(row: dict[str, Any], scale: float = 100) -> str:
    shown = f"{scale * row['difference']:+.2f} " if row.get("difference") is not None else ""
    return shown + ("" if not row["interval"] else f"[{', '.join(f'{scale * v:+.2f}' for v in row['interval'])}]")


if __name__ == "__main__":
    main()
