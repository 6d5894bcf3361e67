"""vLLM beside transformers on the same checkpoint, and what the guide costs inside vLLM.

    make test-vllm                                                         # makes the environment (and tests it)
    OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind \\
        .venv-vllm/bin/python benchmarks/vllm_engine.py --tokenizer tokenizer.json --out results.json

Three tables. "answers": fresh test scenes, answered by `tiny` with either engine, greedily and at temperature 1, free
and guided: how many are valid, and tokens a CPU-second (image processing included, imports and loading not).
"agreement": greedy answers of the two engines, and by how much the log-probabilities of their tokens differ.
"processor": the logits processor alone, fed 16 answers at a time as the tokenizer writes them, after a first round:
CPU-microseconds a token, the masking of random logits included, and the guide's part of them.

`--tokenizer` is a tokenizer.json for "processor" (Qwen2's has 151,643 tokens). Everything in one process and thread.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # in this process, so that its CPU time is seen

import numpy as np
import torch
from guide import WAYS, Timed, judged, sample_texts

from r1sgg.guiding.guide import Guide
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.vllm import VLLMEngine
from r1sgg.miniature.scenes import SMALL, Scene, scene, split_seeds
from r1sgg.models.families import load_model

BATCH = 32
SPECS = {way: WAYS[way] for way in ("free", "guide", "guide, VG150", "guide, compact")}


def run(
    engine: Any, scenes: Sequence[Scene], way: str, temperature: float, pieces: bool = False
) -> tuple[list[Completion], float]:
    """Answers and the CPU-seconds that they took; vLLM cuts its batches itself."""
    sampling = Sampling(temperature=temperature, max_new_tokens=192)
    images = [drawn.image for drawn in scenes]
    chats = [engine_checkpoint(engine).messages(image.size) for image in images]
    keys = [drawn.example.image_id for drawn in scenes]
    size = len(scenes) if isinstance(engine, VLLMEngine) else BATCH
    said: list[Completion] = []
    start = time.process_time()
    for k in range(0, len(scenes), size):
        part = slice(k, k + size)
        guides = None if SPECS[way] is None else [SPECS[way]] * len(images[part])
        said += engine.generate(images[part], chats[part], sampling, keys[part], guides=guides, pieces=pieces)
    return said, time.process_time() - start


def engine_checkpoint(engine: Any) -> Any:
    return engine.checkpoint if isinstance(engine, VLLMEngine) else engine.loaded


def answers(engines: dict[str, Any], scenes: Sequence[Scene], rounds: int) -> list[dict[str, Any]]:
    """Every engine, sampling and way; the engines take turns, the median of the rounds counts."""
    rows = []
    print("engine        T  way               valid  truncated   R@50  tokens/CPU-s")
    for temperature in (0.0, 1.0):
        for way in SPECS:
            spent: dict[str, list[float]] = {name: [] for name in engines}
            said: dict[str, list[Completion]] = {}
            for _ in range(rounds):
                for name, engine in engines.items():
                    said[name], seconds = run(engine, scenes, way, temperature)
                    spent[name].append(seconds)
            for name in engines:
                rate = sum(answer.tokens for answer in said[name]) / float(np.median(spent[name]))
                row = {"engine": name, "temperature": temperature, "way": way, **judged(scenes, said[name])[1]}
                rows.append({**row, "tokens_per_cpu_second": rate})
                figures = f"{row['valid']:7.2f} {row['truncated']:10.2f} {row['R@50']:6.1f} {rate:13.0f}"
                print(f"{name:12s} {temperature:2.0f}  {way:15s} {figures}", flush=True)
    return rows


def agreement(engines: dict[str, Any], scenes: Sequence[Scene]) -> dict[str, Any]:
    """How alike the greedy answers of two engines are."""
    one, other = (run(engine, scenes, "free", 0.0, pieces=True)[0] for engine in engines.values())
    gaps, spread = [], []
    for a, b in zip(one, other, strict=True):
        pairs = list(zip(a.pieces or (), b.pieces or (), strict=False))
        part = next((k for k, (x, y) in enumerate(pairs) if x.text != y.text), len(pairs))
        spread += [abs(x.logprob - y.logprob) for x, y in pairs[:part]]
        if a.text != b.text and part < len(pairs):
            gaps.append(abs(pairs[part][0].logprob - pairs[part][1].logprob))
    found = {
        "answers": len(one),
        "same": sum(a.text == b.text for a, b in zip(one, other, strict=True)),
        "gap_at_first_difference": sorted(gaps),
        "logprob_difference_median": float(np.median(spread)),
        "logprob_difference_99": float(np.quantile(spread, 0.99)),
        "logprob_difference_max": float(np.max(spread)),
    }
    print("\nagreement", json.dumps(found, indent=2), flush=True)
    return found


def processor(name: str, tokenizer: Any, rounds: int) -> list[dict[str, Any]]:
    """The logits processor alone."""
    from vllm import SamplingParams
    from vllm.v1.sample.logits_processor import BatchUpdate

    import r1sgg.guiding.vllm as guiding

    width = -(-len(tokenizer) // 128) * 128
    text = SimpleNamespace(vocab_size=width)
    model = SimpleNamespace(hf_config=SimpleNamespace(get_text_config=lambda: text), max_model_len=4096)
    guiding.cached_tokenizer_from_config = lambda config: tokenizer
    guiding.Guide = lambda *arguments: Timed(Guide(*arguments))
    made = guiding.GuideProcessor(SimpleNamespace(model_config=model), torch.device("cpu"), False)
    noise = torch.randn(16, width, generator=torch.Generator().manual_seed(0))
    logits = torch.empty_like(noise)
    rows = []
    for way, spec in SPECS.items():
        steady, guides = [], []
        texts = sample_texts(spec or WAYS["guide"], 16 * (rounds + 1))
        for k in range(rounds + 1):
            part = texts[16 * k : 16 * k + 16]
            tokens = [[*tokenizer.encode(text, add_special_tokens=False), made.table.end] for text in part]
            drawn: list[list[int]] = [[] for _ in tokens]
            extra = {} if spec is None else {"r1sgg": spec.to_json()}
            params = SamplingParams(max_tokens=2048, extra_args=extra)
            Timed.spent, start = 0.0, time.process_time()
            made.update_state(BatchUpdate(16, [], [(i, params, None, row) for i, row in enumerate(drawn)], []))
            spent = time.process_time() - start
            for step in range(min(map(len, tokens))):
                logits.copy_(noise)
                start = time.process_time()
                made.update_state(None)
                made.apply(logits)
                spent += time.process_time() - start
                for row, ids in zip(drawn, tokens, strict=True):
                    row.append(ids[step])
            if k:
                steady.append(1e6 * spent / (step + 1) / 16)
                guides.append(1e6 * Timed.spent / (step + 1) / 16)
        row = {"vocabulary": name, "size": len(tokenizer), "way": way}
        rows.append({**row, "us": float(np.mean(steady)), "guide_us": float(np.mean(guides))})
        if len(rows) == 1:
            print("\nvocabulary          way              us/token   guide")
        print(
            f"{name:8s} {len(tokenizer):9,d}  {way:15s} {rows[-1]['us']:10.1f} {rows[-1]['guide_us']:7.1f}", flush=True
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7, help="of the scenes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json of a large vocabulary")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes = [scene(number, SMALL) for number in split_seeds("test", options.seed, options.images)]
    engines = {
        "vllm": VLLMEngine.load("tiny", options={"max_model_len": 512, "max_num_seqs": BATCH}),
        "transformers": TransformersEngine(load_model("tiny", device="cpu")),
    }
    alike = agreement(engines, scenes)
    rows = answers(engines, scenes, options.rounds)
    speeds = processor("tiny", engines["transformers"].loaded.processor.tokenizer, 8)
    if options.tokenizer:
        from transformers import PreTrainedTokenizerFast

        large = PreTrainedTokenizerFast(tokenizer_file=str(options.tokenizer), eos_token="<|im_end|>")
        speeds += processor(options.tokenizer.parent.name, large, 8)
    if options.out:
        options.out.write_text(json.dumps({"answers": rows, "agreement": alike, "processor": speeds}, indent=2))


if __name__ == "__main__":
    main()
