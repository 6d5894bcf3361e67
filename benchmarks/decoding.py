"""What a generated token costs with the transformers engine on a CPU.

    python benchmarks/decoding.py threads --json threads.json      # 1 and 2 threads, and the number that is chosen

"threads": `tiny` (greedy completions of fresh test scenes) at several batch sizes, one training pass of it, and one
decoder layer of Qwen2-VL-2B's width with random weights. Numbers of threads take turns; of the repetitions the one with
the least wall time counts, with its own CPU time. On a machine that others use, wall times of several threads say
little: a thread whose core is taken makes all others wait.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2VLConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLDecoderLayer

from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.threads import useful_threads
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


def generation(loaded: LoadedModel, batch: int, threads: int | None) -> Callable[[], int]:
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
    cores = torch.get_num_threads()
    loaded = load_model("tiny", device="cpu")
    rows = []

    def row(what: str, chosen: int, found: dict[str, dict[str, float]]) -> None:
        rows.append({"what": what, "chosen": chosen, **found})
        one, all_ = found["1"], found[str(cores)]
        print(
            f"{what:44s} {one['wall_ms']:9.2f} {one['cpu_ms']:9.2f} {all_['wall_ms']:9.2f} {all_['cpu_ms']:9.2f} "
            f"{min(cores, chosen):7d}",
            flush=True,
        )

    print(f"{'ms':44s} {'1: wall':>9s} {'CPU':>9s} {f'{cores}: wall':>9s} {'CPU':>9s} {'chosen':>7s}")
    for batch in (1, 8, 32):
        best = {
            str(count): timed(generation(loaded, batch, count), {"": None}, rounds)[""]
            for _ in range(2)
            for count in (1, cores)
        }
        row(f"tiny, a token at batch {batch}", useful_threads(loaded.model.config, batch), best)
    for batch in (4, 8):
        counts: dict[str, int | None] = {"1": 1, str(cores): cores}
        chosen = useful_threads(loaded.model.config, 64 * batch)
        row(f"tiny, a training pass, batch {batch}", chosen, timed(training(loaded, batch), counts, rounds))
    for dtype in (torch.float32, torch.bfloat16):
        for tokens in (1, 8, 512):
            name = str(dtype).removeprefix("torch.")
            chosen = useful_threads(WIDE, tokens)
            row(f"2B-wide layer, {name}, {tokens} tokens", chosen, timed(wide_layer(tokens, dtype), counts, rounds))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["threads"])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    rows = measure_threads(options.rounds)
    if options.json:
        options.json.write_text(json.dumps({"command": " ".join(sys.argv), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
