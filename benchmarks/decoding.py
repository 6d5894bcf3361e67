"""What a generated token costs with the transformers engine on a CPU.

    python benchmarks/decoding.py threads                     # 1 thread, all threads, and the number that is chosen

    git archive c4f61ad src | tar -x -C before
    python benchmarks/decoding.py loop --before before/src    # this decoding loop against that of an older commit
    python benchmarks/decoding.py cut --images 400            # completions that repeat themselves, cut and not

"threads": `tiny` (greedy completions of fresh test scenes) at several batch sizes, one training pass of it, and one
decoder layer of Qwen2-VL-2B's width with random weights. Numbers of threads take turns; of the rounds the one with the
least wall time counts, with its own CPU time. On a machine that others use, wall times of several threads say little: a
thread whose core is taken makes all others wait. OMP_WAIT_POLICY=PASSIVE, which commands set, lets them sleep.

"loop": greedy completions of `tiny` for fresh test scenes, free and guided, one thread, at several batch sizes.
"before" is the package in another folder, "steps" transformers' own loop with this package's choice of tokens, "loop"
what the package does. Each runs in processes of its own, in turns; of the rounds the one with the least CPU time
counts. CPU time is the whole call's: preparing images, reading prompts and writing. "same" is the share of completions
that are those of the first way to the character, "as steps" that of those which "steps" gives; "forced" are tokens that
the guide leaves no alternative to.

"cut": `tiny` on test scenes and on pictures of noise, which it was never trained on, greedily and at temperature 1, at
most 1,024 tokens. How many completions are cut, how many of those would have come to an end by themselves and be read
as a graph, and how many tokens are written with and without cutting. "rows" is how often the most repeated row is in a
completion that came to an end, at most.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Qwen2VLConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLDecoderLayer

from r1sgg.graph.text import parse
from r1sgg.graph.vocabulary import VG150
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.miniature.scenes import SMALL, scene, split_seeds
from r1sgg.models.families import LoadedModel, load_model

WIDE = Qwen2VLConfig(
    text_config={
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 1,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }
)
"""One layer of Qwen2-VL-2B."""
GUIDES = {
    "free": None,
    "guide": GuideSpec((1000, 1000), minify=True),
    "guide, VG150": GuideSpec((1000, 1000), VG150.objects, VG150.predicates, minify=True),
}


# ---------------------------------------------------------------- threads


def timed(work: Callable[[], int], counts: dict[str, int | None], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a unit of the work, of the quickest round with each number of threads, taking turns."""
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, count in counts.items():
            before = torch.get_num_threads()
            if count is not None:
                torch.set_num_threads(count)
            wall, spent = time.perf_counter(), time.process_time()
            units = work()
            found = (time.perf_counter() - wall) / units, (time.process_time() - spent) / units
            best[name] = min(best.get(name, found), found)
            torch.set_num_threads(before)
    return {name: {"wall_ms": 1e3 * wall, "cpu_ms": 1e3 * spent} for name, (wall, spent) in best.items()}


def generation(loaded: LoadedModel, batch: int, threads: int) -> Callable[[], int]:
    """Greedy completions of as many scenes as a batch has; the unit is a token."""
    engine = TransformersEngine(loaded, threads)
    images = [scene(seed, SMALL).image for seed in split_seeds("test", 3, batch)]
    chats = [loaded.messages(image.size) for image in images]

    def work() -> int:
        return sum(answer.tokens for answer in engine.generate(images, chats, Sampling(max_new_tokens=192)))

    return work


def training(loaded: LoadedModel, batch: int) -> Callable[[], int]:
    """One pass forward and back over a batch of scenes with 70 tokens behind each prompt."""
    images = [scene(seed, SMALL).image for seed in split_seeds("test", 3, batch)]
    inputs = TransformersEngine(loaded)._inputs(images, [loaded.messages(image.size) for image in images])
    more = torch.randint(20, 400, (batch, 70), generator=torch.Generator().manual_seed(0))
    inputs["input_ids"] = torch.cat([inputs["input_ids"], more], 1)
    inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, 70))
    inputs["attention_mask"] = torch.nn.functional.pad(inputs["attention_mask"], (0, 70), value=1)

    def work() -> int:
        loaded.model(**inputs, labels=inputs["input_ids"]).loss.backward()
        loaded.model.zero_grad()
        return 1

    return work


def wide_layer(tokens: int, dtype: torch.dtype) -> Callable[[], int]:
    """Passes of tokens, each for itself, through one layer of the width of a 2B model."""
    torch.manual_seed(0)
    text = WIDE.get_text_config()
    text._attn_implementation = "sdpa"
    layer = Qwen2VLDecoderLayer(text, 0).to(dtype).eval()
    hidden = torch.randn(tokens, 1, text.hidden_size, dtype=dtype)
    place = torch.ones(1, 1, text.hidden_size // text.num_attention_heads, dtype=dtype)
    passes = 10 if tokens < 100 else 2

    def work() -> int:
        with torch.inference_mode():
            for _ in range(passes):
                layer(hidden, position_embeddings=(place, place))
        return passes

    return work


def measure_threads(rounds: int) -> list[dict[str, Any]]:
    """All rows."""
    from r1sgg.inference.threads import useful_threads

    cores = torch.get_num_threads()
    loaded = load_model("tiny", device="cpu")
    counts: dict[str, int | None] = {"1": 1, str(cores): cores}
    rows = []

    def row(what: str, chosen: int, found: dict[str, dict[str, float]]) -> None:
        rows.append({"what": what, "chosen": min(cores, chosen), **found})
        one, all_ = found["1"], found[str(cores)]
        print(
            f"{what:36s} {one['wall_ms']:9.2f} {one['cpu_ms']:9.2f} {all_['wall_ms']:9.2f} {all_['cpu_ms']:9.2f} "
            f"{min(cores, chosen):7d}",
            flush=True,
        )

    print(f"{'ms':36s} {'1: wall':>9s} {'CPU':>9s} {f'{cores}: wall':>9s} {'CPU':>9s} {'chosen':>7s}")
    for batch in (1, 8, 32):
        works = {str(count): generation(loaded, batch, count) for count in (1, cores)}
        best = {name: timed(work, {"": None}, rounds)[""] for name, work in works.items()}
        row(f"tiny, a token at batch {batch}", useful_threads(loaded.model.config, batch), best)
    for batch in (4, 8):
        chosen = useful_threads(loaded.model.config, 64 * batch)
        row(f"tiny, a training pass, batch {batch}", chosen, timed(training(loaded, batch), counts, rounds))
    for dtype in (torch.float32, torch.bfloat16):
        for tokens in (1, 8, 512):
            name = str(dtype).removeprefix("torch.")
            found = timed(wide_layer(tokens, dtype), counts, rounds)
            row(f"2B-wide layer, {name}, {tokens} tokens", useful_threads(WIDE, tokens), found)
    return rows


# ---------------------------------------------------------------- the loop


def measure_way(way: str, count: int, batches: list[int]) -> list[dict[str, Any]]:
    """Rows of one way, in this process."""
    torch.set_num_threads(1)
    if way == "steps":
        from r1sgg.inference import hf

        hf.suits = lambda model: False  # type: ignore[attr-defined]
    engine = TransformersEngine(load_model("tiny", device="cpu"))
    images = [scene(seed, SMALL).image for seed in split_seeds("test", 5, count)]
    chats = [engine.loaded.messages(image.size) for image in images]
    sampling = Sampling(max_new_tokens=192)
    rows = []
    for kind, spec in GUIDES.items():
        for batch in batches:
            engine.generate(images[:1], chats[:1], sampling, guides=spec and [spec])
            said: list[Any] = []
            start = time.process_time()
            for k in range(0, count, batch):
                part = images[k : k + batch]
                guides = spec and [spec] * len(part)
                said += engine.generate(part, chats[k : k + batch], sampling, guides=guides)
            spent = time.process_time() - start
            tokens = sum(answer.tokens for answer in said)
            passes = sum(getattr(answer, "passes", None) or answer.tokens for answer in said)
            texts = [answer.text for answer in said]
            rows.append({"kind": kind, "batch": batch, "ms": 1e3 * spent / tokens, "tokens": tokens, "passes": passes})
            rows[-1]["texts"] = texts
            if spec is not None and way == "loop":
                chosen = choices(engine, images, chats, sampling, spec, batch)
                rows[-1]["forced"] = 1 - chosen / tokens
    return rows


def choices(engine: Any, images: list[Any], chats: list[Any], sampling: Sampling, spec: GuideSpec, batch: int) -> int:
    """How many tokens of the same completions are chosen among several."""
    from r1sgg.inference import writing

    plain, count = writing.choose, 0

    def counted(scores: Any, draw: Any, rows: Any, *more: Any) -> Any:
        nonlocal count
        count += len(rows)
        return plain(scores, draw, rows, *more)

    writing.choose = counted  # type: ignore[attr-defined]
    for k in range(0, len(images), batch):
        part = images[k : k + batch]
        engine.generate(part, chats[k : k + batch], sampling, guides=[spec] * len(part))
    writing.choose = plain  # type: ignore[attr-defined]
    return count


def measure_loop(before: Path | None, count: int, rounds: int, batches: list[int]) -> list[dict[str, Any]]:
    """All rows: each way in a process of its own, in turns."""
    here = Path(__file__).resolve().parents[1] / "src"
    ways = {"steps": here, "loop": here}
    if before is not None:
        ways = {"before": before.resolve(), **ways}
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for _ in range(rounds):
        for way, source in ways.items():
            environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
            command = [sys.executable, __file__, "loop", "--way", way, "--images", str(count), "--batches"]
            done = subprocess.run(
                [*command, *map(str, batches)], env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            for row in json.loads(done.stdout.splitlines()[-1]):
                kept = found.setdefault((row["kind"], row["batch"]), {})
                kept[way] = min(kept.get(way, row), row, key=lambda one: one["ms"])
    print(f"{'CPU ms a token':14s} {'batch':>5s} " + " ".join(f"{way:>8s}" for way in ways), end=" ")
    print(f"{'first/loop':>11s} {'same':>5s} {'as steps':>9s} {'passes a token':>15s} {'forced':>7s}")
    rows = []
    for (kind, batch), kept in found.items():
        loop, first = kept["loop"], kept[next(iter(ways))]
        same, as_steps = (
            sum(a == b for a, b in zip(loop["texts"], other["texts"], strict=True)) / count
            for other in (first, kept["steps"])
        )
        row = {"kind": kind, "batch": batch, "same": same, "as_steps": as_steps}
        row["passes"] = loop["passes"] / loop["tokens"]
        row |= {"forced": loop.get("forced", 0.0), "ms": {way: kept[way]["ms"] for way in ways}}
        rows.append({**row, "ratio": first["ms"] / loop["ms"]})
        times = " ".join(f"{kept[way]['ms']:8.3f}" for way in ways)
        print(f"{kind:14s} {batch:5d} {times} {rows[-1]['ratio']:11.2f} {same:5.2f} {as_steps:9.2f} ", end="")
        print(f"{row['passes']:15.3f}", end=" ")
        print(f"{row['forced']:7.3f}", flush=True)
    return rows


# ---------------------------------------------------------------- repetition


def noise(count: int) -> list[Image.Image]:
    """Pictures of coloured blots."""
    draw = np.random.default_rng(0)
    return [
        Image.fromarray(draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)).resize((112, 112), Image.Resampling.BICUBIC)
        for _ in range(count)
    ]


def most_repeated(text: str) -> int:
    """How often the most repeated row of a completion is in it, an object's number aside."""
    rows = [re.sub(r'\.\d+"', '"', row) if "bbox" in row else row for row in re.findall(r"{[^{}]*}", text)]
    return max(Counter(rows).values(), default=0)


def measure_cut(count: int) -> list[dict[str, Any]]:
    """All rows."""
    loaded = load_model("tiny", device="cpu")
    engine = TransformersEngine(loaded, 1)
    pictures = {"scenes": [scene(seed, SMALL).image for seed in split_seeds("test", 11, count)], "noise": noise(count)}
    print("pictures   T  images   cut  readable   tokens    uncut  rows")
    rows = []
    for name, images in pictures.items():
        for temperature in (0.0, 1.0):
            said: dict[bool, list[Any]] = {}
            for cut in (True, False):
                sampling = Sampling(temperature, max_new_tokens=1024, cut_loops=cut)
                said[cut] = []
                for k in range(0, count, 32):
                    part = images[k : k + 32]
                    keys = [str(n) for n in range(k, k + len(part))]
                    said[cut] += engine.generate(part, [loaded.messages(i.size) for i in part], sampling, keys)
            pairs = list(zip(said[True], said[False], strict=True))
            looped = [other for one, other in pairs if one.finish_reason == "loop"]
            row = {"pictures": name, "temperature": temperature, "images": count, "cut": len(looped)}
            row["readable"] = sum(parse(other.text, (1000, 1000)).failure is None for other in looped)
            row |= {f"tokens, {cut}": sum(one.tokens for one in said[cut]) for cut in said}
            row["rows"] = max(most_repeated(other.text) for other in said[False] if other.finish_reason == "stop")
            rows.append(row)
            print(
                f"{name:9s} {temperature:2.0f} {count:7d} {row['cut']:5d} {row['readable']:9d} "
                f"{row['tokens, True']:8d} {row['tokens, False']:8d} {row['rows']:5d}",
                flush=True,
            )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["threads", "loop", "cut"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--before", type=Path, help="the folder src of an older commit")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure_way(options.way, options.images, options.batches)))
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.what == "threads":
        rows = measure_threads(options.rounds)
    elif options.what == "cut":
        rows = measure_cut(options.images)
    else:
        rows = measure_loop(options.before, options.images, options.rounds, options.batches)
    if options.json:
        options.json.write_text(json.dumps({"command": " ".join(sys.argv), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
