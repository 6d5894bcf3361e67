"""The table of the embedded experiment (`runs/tiny.sh`): every stage, over scenes and seeds.

    python benchmarks/tiny.py runs/tiny --json runs/tiny/table.json
    python benchmarks/tiny.py runs/tiny --objects 3        # only scenes of three objects and more
    python benchmarks/tiny.py runs/tiny --short            # one table of the deciding columns, 100 characters wide

Reads FOLDER/test/gt.jsonl (the sparse annotation), FOLDER/test/full.jsonl (the truth) and
FOLDER/predictions/STAGE[-sSEED].{greedy,sampled}.jsonl. Figures and intervals are those of `r1sgg.metrics.seeds`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r1sgg.data.base import read_ground_truth
from r1sgg.metrics.seeds import COLUMNS, Runs, against, runs_of, summary

STAGES = ("baseline", "zero-rl-guided", "zero-rl", "sft-short", "sft", "control", "sft-rl", "sft-rl-balanced")


def load(folder: Path, stage: str, how: str, objects: int = 0) -> Runs | None:
    """A stage's predictions, scored against both ground truths, on scenes of at least so many objects."""
    pattern = re.compile(rf"{re.escape(stage)}(-s\d+)?\.{how}\.jsonl")
    files = sorted(path for path in (folder / "predictions").iterdir() if pattern.fullmatch(path.name))
    if not files:
        return None
    truth, sparse = (list(read_ground_truth(folder / "test" / name)) for name in ("full.jsonl", "gt.jsonl"))
    return runs_of(files, truth, sparse, objects)


def reference(stage: str) -> str:
    """The stage that a stage is compared with."""
    if stage.startswith("ablate-"):
        return "sft-rl"
    if stage.startswith("captions-"):
        return "vg-sft" if stage == "captions-sft" else "captions-sft"
    prefix = "closed-" if stage.startswith("closed-") else ""
    return prefix + ("baseline" if stage.startswith(f"{prefix}zero-rl") else "control")


def place(stage: str) -> tuple[bool, bool, int, str]:
    """Where a stage stands in the table: as in the paper, then closed prompts, then ablations."""
    name = stage.removeprefix("closed-")
    order = STAGES.index(name) if name in STAGES else len(STAGES)
    return stage.startswith("ablate-"), stage.startswith("closed-"), order, name


def figures(names: list[str], everything: dict[tuple[str, str], Runs | None], how: str) -> dict[str, dict[str, Any]]:
    """The figures of all stages, with intervals, and what they are against the stage that each is compared with."""
    record: dict[str, dict[str, Any]] = {}
    for name in names:
        if (runs := everything[name, how]) is None:
            continue
        found: dict[str, Any] = {"runs": runs.shape[0], "scenes": runs.shape[1]}
        for column in COLUMNS:
            scale = 1 if column == "relations per image" else 100
            found[column] = [value * scale for value in summary(runs, column)]
        other = everything.get((reference(name), how))
        if other is not None and name != reference(name) and other.sums["R@50 truth/top"].any():
            points = [100 * value for value in against(runs, other, "precision", ratio=False)]
            found |= {
                "reference": reference(name),
                "R@50 truth / reference": against(runs, other, "R@50 truth", ratio=True),
                "precision - reference": points,
            }
        record[name] = found
    return record


def wide(how: str, record: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The lines of a table with every column."""
    yield f"\n{how}\n| stage | runs x scenes | " + " | ".join(COLUMNS) + " | against | R@50 truth | precision |"
    yield "|---" * (len(COLUMNS) + 5) + "|"
    for name, found in record.items():
        cells = ["{:.1f} [{:.1f}, {:.1f}]".format(*found[column]) for column in COLUMNS]
        if "reference" in found:
            cells += [found["reference"], "{:.2f} [{:.2f}, {:.2f}]".format(*found["R@50 truth / reference"])]
            cells.append("{:+.1f} [{:+.1f}, {:+.1f}]".format(*found["precision - reference"]))
        else:
            cells += [""] * 3
        yield f"| {name} | {found['runs']} x {found['scenes']} | " + " | ".join(cells) + " |"


_SHORT = "{:<15} | {:<7} | {:>8} | {:<17} | {:>9} | {:>9} | {:<17}"


def short(records: dict[str, dict[str, dict[str, Any]]]) -> Iterator[str]:
    """The lines of one table of at most 100 characters: percent, but relations are per image."""
    yield _SHORT.format("stage", "answers", "failures", "R@50, truth", "precision", "relations", "R@50 / control")
    yield "|".join("-" * len(cell) for cell in _SHORT.format(*[""] * 7).split("|"))
    for name in records["greedy"]:
        for how, record in records.items():
            found = record[name]
            recall, ratio = found["R@50 truth"], found.get("R@50 truth / reference")
            compared = ratio and recall[0] and "control" in found["reference"]
            yield _SHORT.format(
                name if how == "greedy" else "",
                how,
                f"{found['failures'][0]:.1f}",
                "{:.1f} [{:.1f}, {:.1f}]".format(*recall),
                f"{found['precision'][0]:.1f}" if found["relations per image"][0] else "-",
                f"{found['relations per image'][0]:.1f}",
                "{:.2f} [{:.2f}, {:.2f}]".format(*ratio) if compared else "",
            )


def main() -> None:
    """Print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--objects", type=int, default=0, help="only scenes of at least so many objects")
    parser.add_argument("--short", action="store_true", help="one narrow table in place of the two wide ones")
    arguments = parser.parse_args()
    if not (files := sorted((arguments.folder / "predictions").glob("*.jsonl"))):
        parser.error(f"{arguments.folder}: expected the folder of runs/tiny.sh, found no predictions/*.jsonl in it")
    names = sorted({re.sub(r"(-s\d+)?\.(greedy|sampled)$", "", path.stem) for path in files}, key=place)
    everything = {
        (name, how): load(arguments.folder, name, how, arguments.objects)
        for name in names
        for how in ("greedy", "sampled")
    }
    records = {how: figures(names, everything, how) for how in ("greedy", "sampled")}
    lines = short(records) if arguments.short else (line for how in records for line in wide(how, records[how]))
    for line in lines:
        print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
