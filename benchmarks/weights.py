"""What a guide does to the distribution of answers at temperature 1, and what importance weights undo of it.

    OMP_NUM_THREADS=1 python benchmarks/weights.py --json weights.json

Free and guided answers of `tiny` to the same drawn scenes. Printed are means over scenes of: free answers that are
valid (read without any issue, nothing repeated), guided answers, and guided answers weighted
(`r1sgg.inference.weights`, normalised within each scene). Intervals are 95 % bootstrap intervals over scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from r1sgg.data.sources import open_data, with_images
from r1sgg.graph.text import parse
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.engines import load
from r1sgg.inference.weights import effective_sample_size, log_weight, weighted_mean
from r1sgg.judging.triplets import match_triplets

BATCH = 50
FIGURES = ("relations", "objects", "R@50", "precision")


def answers_of(options: argparse.Namespace, *, guide: bool) -> list[list[Completion]]:
    """Completions by scene."""
    source, reader = with_images(open_data(options.data)), load(options.model)
    sampling = Sampling(temperature=1.0, max_new_tokens=200)
    found: list[list[Completion]] = [[] for _ in range(len(source))]
    for start in range(0, len(source), BATCH):
        rows = range(start, min(start + BATCH, len(source)))
        images = [source.draw(k)[0] for k in rows]
        frames = [reader.checkpoint.frame(image.size) for image in images]
        chats = [reader.checkpoint.messages(image.size) for image in images]
        for sample in range(options.samples):
            made = reader.engine.generate(
                images,
                chats,
                sampling,
                [f"{k}/{sample}" for k in rows],
                guides=[reader.guide_spec(frame, sampling) for frame in frames] if guide else None,
                pieces=guide,
            )
            for k, completion in zip(rows, made, strict=True):
                found[k].append(completion)
    return found


def figures_of(text: str, truth: Any) -> tuple[bool, list[float]]:
    """Whether an answer is valid, and its figures; precision is 0 where nothing is said."""
    parsed = parse(text, (1000.0, 1000.0))
    match = match_triplets(truth, parsed.graph)
    recall = sum(rank < 50 for rank in match.ranks) / max(1, len(match.ranks))
    precision = match.true_positives / match.counted if match.counted else 0.0
    valid = parsed.failure is None and not parsed.issues
    return valid, [len(parsed.graph.pairs), len(parsed.graph), recall, precision]


def main() -> None:
    """Answer, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="scenes:100,split=validation,preset=small")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    examples = list(open_data(options.data))
    free, guided = (answers_of(options, guide=guide) for guide in (False, True))
    rows: dict[str, list[list[float]]] = {"free, valid": [], "guided": [], "guided, weighted": []}
    sizes, valid_share = [], []
    for example, loose, held in zip(examples, free, guided, strict=True):
        measured = [figures_of(answer.text, example.graph) for answer in loose]
        kept = [figures for valid, figures in measured if valid]
        valid_share.append(len(kept) / len(measured))
        if not kept or not example.graph.pairs:
            continue
        values = np.array([figures_of(answer.text, example.graph)[1] for answer in held])
        logs = [weight for answer in held if (weight := log_weight(answer)) is not None]
        sizes.append(effective_sample_size(logs))
        rows["free, valid"].append(np.mean(kept, axis=0).tolist())
        rows["guided"].append(values.mean(axis=0).tolist())
        rows["guided, weighted"].append([weighted_mean(column.tolist(), logs) for column in values.T])
    rng = np.random.default_rng(0)
    draws = rng.integers(len(sizes), size=(1000, len(sizes)))
    result: dict[str, Any] = {
        "scenes": len(sizes),
        "samples": options.samples,
        "valid": float(np.mean(valid_share)),
        "effective_sample_size": float(np.mean(sizes)),
    }
    table = Table(f"{len(sizes)} scenes", *FIGURES)
    for name, found in rows.items():
        values = np.array(found)
        low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975), axis=0)
        cells = list(zip(values.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True))
        result[name] = dict(zip(FIGURES, cells, strict=True))
        table.add_row(name, *(f"{m:.3f} [{a:.3f}, {b:.3f}]" for m, a, b in cells))
    console = Console(width=120)
    console.print(table)
    console.print(
        f"valid free answers {result['valid']:.3f}; effective sample size {result['effective_sample_size']:.2f}"
    )
    if options.json:
        options.json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    main()
