"""The table of the embedded experiment (`runs/tiny.sh`): every stage, over scenes and seeds.

    python benchmarks/tiny.py runs/tiny --json runs/tiny/table.json
    python benchmarks/tiny.py runs/tiny --objects 3        # only scenes of three objects and more

Reads FOLDER/test/gt.jsonl (the sparse annotation), FOLDER/test/full.jsonl (the truth) and
FOLDER/predictions/STAGE[-sSEED].{greedy,sampled}.jsonl. Figures and intervals are those of `r1sgg.metrics.seeds`.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from r1sgg.data.base import read_ground_truth
from r1sgg.metrics.seeds import COLUMNS, Runs, against, runs_of, summary

STAGES = ("baseline", "zero-rl", "sft-short", "sft", "control", "sft-rl", "sft-rl-balanced")


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
    return prefix + ("baseline" if stage == f"{prefix}zero-rl" else "control")


def place(stage: str) -> tuple[bool, bool, int, str]:
    """Where a stage stands in the table: as in the paper, then closed prompts, then ablations."""
    name = stage.removeprefix("closed-")
    order = STAGES.index(name) if name in STAGES else len(STAGES)
    return stage.startswith("ablate-"), stage.startswith("closed-"), order, name


def main() -> None:
    """Print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--objects", type=int, default=0, help="only scenes of at least so many objects")
    arguments = parser.parse_args()
    files = (arguments.folder / "predictions").glob("*.jsonl")
    names = sorted({re.sub(r"(-s\d+)?\.(greedy|sampled)$", "", path.stem) for path in files}, key=place)
    everything = {
        (name, how): load(arguments.folder, name, how, arguments.objects)
        for name in names
        for how in ("greedy", "sampled")
    }
    record: dict[str, Any] = {}
    for how in ("greedy", "sampled"):
        print(f"\n{how}\n| stage | runs x scenes | " + " | ".join(COLUMNS) + " | against | R@50 truth | precision |")
        print("|---" * (len(COLUMNS) + 5) + "|")
        for name in names:
            if (runs := everything[name, how]) is None:
                continue
            found: dict[str, Any] = {"runs": runs.shape[0]}
            cells = []
            for column in COLUMNS:
                scale = 1 if column == "relations per image" else 100
                found[column] = [value * scale for value in summary(runs, column)]
                cells.append("{:.1f} [{:.1f}, {:.1f}]".format(*found[column]))
            other = everything.get((reference(name), how))
            if other is not None and name != reference(name) and other.sums["R@50 truth/top"].any():
                ratio = against(runs, other, "R@50 truth", ratio=True)
                points = [100 * value for value in against(runs, other, "precision", ratio=False)]
                found |= {
                    "reference": reference(name),
                    "R@50 truth / reference": ratio,
                    "precision - reference": points,
                }
                cells += [reference(name), "{:.2f} [{:.2f}, {:.2f}]".format(*ratio)]
                cells.append("{:+.1f} [{:+.1f}, {:+.1f}]".format(*points))
            else:
                cells += [""] * 3
            record.setdefault(how, {})[name] = found
            print(f"| {name} | {runs.shape[0]} x {runs.shape[1]} | " + " | ".join(cells) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
