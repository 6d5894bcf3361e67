"""How often the intervals of `r1sgg evaluate` hold what they are intervals of: simulated coverage, nominal 95 %.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py --json coverage.json

A population of images is drawn: 1 to 15 true relations each, of 50 predicates as unevenly frequent as VG150's, found by
two models whose skill differs by image and predicate. A test set is a number of its images; the figures and their
intervals are those of `evaluate --bootstrap`, through the same code. An interval is right if it holds the mean of the
figure over all test sets of that size. (For recalls and ratios that is the population's value. mR@K of a small set
lacks rare predicates, which count 0, so its mean is lower.) Given is the share of test sets with a right interval, in
percent; its own standard error is 1.5 at 200 sets and a coverage of 95.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from r1sgg.graph.open_vocabulary import NOVEL_ENDS, NOVEL_PREDICATE
from r1sgg.graph.vocabulary import VG150
from r1sgg.judging.evidence import NEVER
from r1sgg.judging.protocol import STRICT
from r1sgg.metrics.columns import Columns
from r1sgg.metrics.figures import Figures
from r1sgg.metrics.groups import BGNN, VG150_BY_FREQUENCY
from r1sgg.metrics.intervals import compare, intervals
from r1sgg.metrics.open_vocabulary import part_of
from r1sgg.metrics.ratios import image_columns


def population(images: int, rng: np.random.Generator, skill: float) -> dict[str, np.ndarray]:
    """Draw images; returns `counts` (N, C) in the order of `image_columns` and `triplets` (T, 6) sorted by image."""
    weights = 1 / np.arange(1, 51) ** 1.6
    order = np.array([VG150.predicates.index(name) for name in VG150_BY_FREQUENCY])
    true = rng.integers(1, 16, images)
    row = np.repeat(np.arange(images), true)
    predicate = order[rng.choice(50, len(row), p=weights / weights.sum())]
    hard = rng.beta(2, 3, 50)[predicate] * 0.8
    own = rng.beta(2, 2, images)[row]
    found = rng.random(len(row)) < np.clip(skill * own * 2 * (1 - hard), 0, 1)
    rank = np.where(found, np.minimum(rng.geometric(0.04, len(row)) - 1, 99), NEVER)
    free = np.where(rng.random(len(row)) < 0.08, np.minimum(rank, 40), rank)
    novel = (rng.random(len(row)) < 0.4) * NOVEL_ENDS | (predicate % 3 == 0) * NOVEL_PREDICATE
    triplets = np.stack([row, predicate, rank, free, rng.random(len(row)) < 0.15, novel], axis=1).astype(np.int64)
    hits = np.bincount(row[found], minlength=images)
    said = hits + rng.poisson(6, images)
    counts = dict.fromkeys(image_columns(), np.zeros(images, np.int64))
    counts |= {"true_objects": true + 3, "objects": rng.poisson(9, images), "true_relations": true, "relations": said}
    counts |= {"true_positives": hits, "distinct_true": true, "counted": said, "repeats": rng.binomial(said, 0.1)}
    counts |= {"declared_again": rng.binomial(counts["objects"], 0.05), "self_loops": rng.binomial(said, 0.02)}
    counts |= {"failed": (rng.random(images) < 0.04).astype(np.int64)}
    return {"counts": np.stack([counts[name] for name in image_columns()], axis=1), "triplets": triplets}


def chosen(whole: dict[str, np.ndarray], rows: np.ndarray) -> Columns:
    """The numbers of some images, as an evaluator keeps them."""
    starts = np.searchsorted(whole["triplets"][:, 0], [rows, rows + 1])
    triplets = np.concatenate([whole["triplets"][a:b] for a, b in starts.T])
    triplets[:, 0] = np.repeat(np.arange(len(rows)), starts[1] - starts[0])
    return Columns(
        image_ids=tuple(map(str, range(len(rows)))),
        count_names=image_columns(),
        images=whole["counts"][rows],
        triplets=triplets,
        predicates=VG150.predicates,
        failures={},
        changes=Counter(),
        outside=0,
        precision={},
        confidences={},
        data_hash="",
        models=(),
    )


def figures_of(columns: Columns) -> Figures:
    """As `evaluate --vocabulary vg150 --train` computes them."""
    return Figures(columns, STRICT, closed=True, groups=BGNN, zero_shot=True)


def measured(sides: list[dict[str, np.ndarray]], rows: np.ndarray, resamples: int, seed: int) -> dict[str, Any]:
    """(value, low, high) of every figure of one test set, of the differences and of the open-vocabulary columns."""
    first, second = (figures_of(chosen(side, rows)) for side in sides)
    found = {}
    bounds, values = intervals(first, resamples, seed), first.values()
    found |= {name: (values[name], bounds[name]) for name in values if not name.startswith(("pooled", "zng"))}
    found |= {
        f"{name}, difference": (d["difference"], d["interval"])
        for name, d in compare(first, second, resamples, seed).items()
        if name in ("R@50", "mR@50", "precision", "f1", "relations_per_image")
    }
    for name, bit in (("Novel Object", NOVEL_ENDS), ("Novel Relation", NOVEL_PREDICATE)):
        protocol = replace(STRICT, absent_predicates="skip")
        part = Figures(part_of(first.columns, bit), protocol, closed=False)
        bounds, values = intervals(part, resamples, seed), part.values()
        found |= {f"{name} {k}": (values[k], bounds[k]) for k in ("R@50", "mR@50")}
    return found


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--sets", type=int, default=200, help="test sets of each size")
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--population", type=int, default=40_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    sides = [population(options.population, np.random.default_rng(1), skill) for skill in (0.5, 0.55)]
    table: dict[str, dict[int, dict[str, Any]]] = {}
    for size in options.sizes:
        sets = []
        for k in range(options.sets):
            rows = np.sort(rng.choice(options.population, size, replace=False))
            sets.append(measured(sides, rows, options.resamples, k))
        for name in sets[0]:
            given = [(s[name][0], s[name][1]) for s in sets if s[name][0] is not None and s[name][1] is not None]
            target = float(np.mean([value for value, _ in given])) if given else None
            held = [low <= target <= high for _, (low, high) in given] if target is not None else []
            table.setdefault(name, {})[size] = {
                "target": target,
                "coverage": float(np.mean(held)) if held else None,
                "without": options.sets - len(given),
                "width": float(np.mean([high - low for _, (low, high) in given])) if given else None,
            }
    shown = Table("interval of", *(f"{size} images" for size in options.sizes), title="coverage, percent (nominal 95)")
    for name, row in table.items():
        cells = []
        for cell in row.values():
            text = "-" if cell["coverage"] is None else f"{100 * cell['coverage']:.1f}"
            cells.append(text + (f" ({cell['without']} sets without)" if cell["without"] else ""))
        shown.add_row(name, *cells)
    Console(width=110).print(shown)
    if options.json:
        options.json.write_bytes(orjson.dumps(table, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n")


if __name__ == "__main__":
    main()
