"""Scenes of ten objects, with two predictions files, three training runs of different lengths, and captions."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from r1sgg.miniature.scenes import HARD, Scene, scene, split_seeds

from .scenes import write_lines

TEN = replace(HARD, min_objects=10, max_objects=10, sizes=((480, 360), (360, 480)))
STEPS = {"sft": 400, "grpo-short": 24, "grpo-long": 1200}
IDS = ("train2017/000000139037", "train2017/000000139038", "vg_2343702", "vg_2343703")


def ten_objects(count: int = len(IDS)) -> list[Scene]:
    """Scenes of ten objects each."""
    found = (scene(seed, TEN) for seed in split_seeds("test", 3, 40))
    return list(itertools.islice((s for s in found if len(s.example.graph) == 10), count))


def crowded_set(folder: Path) -> Path:
    """gt.jsonl, images/, sft.jsonl, grpo.jsonl (with scores), runs/, captions.jsonl."""
    (folder / "images").mkdir(parents=True)
    truth, captions = [], []
    answers: dict[str, list[dict[str, Any]]] = {"sft": [], "grpo": []}
    for k, (name, found) in enumerate(zip(IDS, ten_objects(), strict=True)):
        example, graph = found.example, found.example.graph
        size = [example.width, example.height]
        found.image.save(folder / "images" / f"{k}.png")
        pixels = (graph.boxes * [*size, *size]).round().tolist()
        objects = [{"id": i, "bbox": box} for i, box in zip(graph.ids, pixels, strict=True)]
        relations = [
            {"subject": graph.ids[s], "predicate": p, "object": graph.ids[o]}
            for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)
        ]
        row = {"image_id": name, "width": size[0], "height": size[1], "image": f"images/{k}.png"}
        truth.append({**row, "objects": objects, "relationships": relations})
        captions.append({"image_id": name, "captions": ["A man on a bench. A giraffe riding a boat."]})
        for run, every in (("sft", 2), ("grpo", 4)):
            made = [{**r, "predicate": "near"} if n % every == 0 else r for n, r in enumerate(relations)]
            answer: dict[str, Any] = {"image_id": name, "frame": size, "scores": "triplet"}
            answer["completion"] = json.dumps({"objects": objects, "relationships": made})
            answer["objects"] = [{**o, "score": 0.5 + 0.04 * n} for n, o in enumerate(objects)]
            answer["relationships"] = [{**r, "score": (n % 9 + 1) / 10} for n, r in enumerate(made)]
            if run == "sft" and k == 1:
                answer = {"image_id": name, "frame": size, "completion": "I see several people."}
            answers[run].append(answer)
    write_lines(folder / "gt.jsonl", truth)
    write_lines(folder / "captions.jsonl", captions)
    for run, rows in answers.items():
        write_lines(folder / f"{run}.jsonl", rows)
    for run, steps in STEPS.items():
        log = [
            {
                "step": k,
                "stage": run,
                "time": 2.0 * k,
                "loss": 2 - k / steps,
                "R@50": 0.3 * k / steps,
                "reward": k / steps,
            }
            for k in range(steps // 8, steps + 1, steps // 8)
        ]
        write_lines(folder / "runs" / run / "metrics.jsonl", log)
        sample = {"step": steps, "image_id": IDS[0], "completion": "{}", "terms": {"format": 1.0}, "total": 1.0}
        write_lines(folder / "runs" / run / "completions.jsonl", [sample])
    return folder
