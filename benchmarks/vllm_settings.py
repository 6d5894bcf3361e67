"""Two settings of vLLM on our prompts: prefix caching, and speculation from n-grams of prompt and completion.

    .venv-vllm/bin/python benchmarks/vllm_settings.py --json settings.json
    .venv-vllm/bin/python benchmarks/vllm_settings.py --texts --tokenizer tokenizer.json --graphs graphs.json

Each setting runs in a process of its own with one thread, all of them side by side (--rounds 0) or in turns; the least
CPU time of the rounds counts.
"default" is what `--engine vllm` does (vLLM caches prefixes unless it is told not to). vLLM takes no logits processor
together with speculation, so "n-gram" runs without ours (no guide, image tokens not suppressed), and "bare" is the same
without speculation. Cases: `tiny` on drawn scenes, with its open prompt and with the names of VG150 in the prompt; 32
images at once, or one after the other; "8 samples" asks 8 times about each of 4 images at temperature 1; "again" asks
the same greedily a second time. "cached" is the share of prompt tokens that were found in the cache, "a step" the
tokens per pass of the model over a sequence, "same" the share of completions that are those of the first setting.

`--texts` needs no model: how many tokens a step speculation gives on annotated graphs as completions of the paper's
prompt, with any tokenizer; vLLM's own proposer makes the drafts, and a draft is accepted as far as the text agrees.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SURROUNDINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process, so that its CPU time is seen
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "NUMBA_NUM_THREADS": "1",  # numba, which makes the drafts, would give OpenMP all cores back
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
BARE = {"logits_processors": []}


def ngram(tokens: int, least: int = 2, most: int = 4) -> dict[str, Any]:
    """vLLM's options for drafts of so many tokens, found by the last `least` to `most` ones."""
    return {
        "speculative_config": {
            "method": "ngram",
            "num_speculative_tokens": tokens,
            "prompt_lookup_min": least,
            "prompt_lookup_max": most,
        }
    }


SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "no cache": {"enable_prefix_caching": False},
    "bare": BARE,
    "n-gram 6": BARE | ngram(6),
}
CASES = ("at once", "one by one", "8 samples", "again")


def counters(llm: Any) -> dict[str, float]:
    """vLLM's counters of drafts and of its cache."""
    return {metric.name: metric.value for metric in llm.get_metrics() if hasattr(metric, "value")}


def measure(setting: str, images: int) -> list[dict[str, Any]]:
    """Rows of one setting, in this process."""
    import dataclasses

    from r1sgg.graph.vocabulary import VG150
    from r1sgg.guiding.spec import GuideSpec
    from r1sgg.inference.engine import Sampling
    from r1sgg.inference.vllm import VLLMEngine
    from r1sgg.miniature.scenes import SMALL, scene, split_seeds

    options = {"max_model_len": 2048, "max_num_seqs": 32, "kv_cache_memory_bytes": 1 << 28, "disable_log_stats": False}
    engine = VLLMEngine.load("tiny", options=options | SETTINGS[setting])
    pictures = [scene(seed, SMALL).image for seed in split_seeds("test", 5, images)]
    specs = {"open": GuideSpec((1000, 1000), minify=True)}
    specs["closed"] = GuideSpec((1000, 1000), VG150.objects, VG150.predicates, minify=True)
    guided = () if "logits_processors" in SETTINGS[setting] else (True,)
    rows = []
    for prompt in ("open", "closed"):
        settings = dataclasses.replace(engine.checkpoint.settings, vocabulary={"closed": "vg150"}.get(prompt, "open"))
        checkpoint = dataclasses.replace(engine.checkpoint, settings=settings)
        chats = [checkpoint.messages(picture.size) for picture in pictures]
        engine.generate(pictures[:2], chats[:2], Sampling(max_new_tokens=32))  # numba compiles at the first draft
        for guide in (False, *guided):
            for case in CASES:
                some = slice(0, {"one by one": 8, "8 samples": 4}.get(case, images))
                asked = [(p, c) for p, c in zip(pictures[some], chats[some], strict=True)]
                sampling, keys = Sampling(max_new_tokens=192), [str(k) for k in range(len(asked))]
                if case == "8 samples":
                    asked, keys = asked * 8, [f"{key}#{k}" for k in range(8) for key in keys]
                    sampling = Sampling(temperature=1.0, max_new_tokens=192, seed=1)
                if case != "again" and SETTINGS[setting].get("enable_prefix_caching", True):
                    engine._llm.reset_prefix_cache()
                before, began = counters(engine._llm), time.process_time()
                size = 1 if case == "one by one" else len(asked)
                said: list[Any] = []
                for k in range(0, len(asked), size):
                    part = asked[k : k + size]
                    said += engine.generate(
                        [p for p, _ in part],
                        [c for _, c in part],
                        sampling,
                        keys[k : k + size],
                        guides=[specs[prompt]] * len(part) if guide else None,
                    )
                spent = time.process_time() - began
                after = counters(engine._llm)
                grown = {name: after[name] - before.get(name, 0.0) for name in after}
                tokens = sum(answer.tokens for answer in said)
                accepted = grown.get("vllm:spec_decode_num_accepted_tokens", 0.0)
                asked_for = grown.get("vllm:prefix_cache_queries", 0.0)
                rows.append(
                    {
                        "prompt": prompt,
                        "guide": guide,
                        "case": case,
                        "ms": 1e3 * spent / tokens,
                        "tokens": tokens,
                        "a_step": tokens / (tokens - accepted),
                        "cached": grown.get("vllm:prefix_cache_hits", 0.0) / asked_for if asked_for else 0.0,
                        "prompt_tokens": asked_for / len(asked),
                        "texts": [answer.text for answer in said],
                    }
                )
    return rows


def compare(images: int, rounds: int) -> list[dict[str, Any]]:
    """All rows, each setting in a process of its own."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    turns = [[setting] for setting in SETTINGS] * rounds or [list(SETTINGS)]
    for turn in turns:
        running = {}
        for setting in turn:
            command = [sys.executable, __file__, "--setting", setting, "--images", str(images)]
            running[setting] = subprocess.Popen(command, env={**os.environ, **SURROUNDINGS}, stdout=subprocess.PIPE)
        for setting, process in running.items():
            said, _ = process.communicate()
            if process.returncode:
                raise SystemExit(f"{setting}: vLLM failed")
            for row in json.loads(said.splitlines()[-1]):
                key = row["prompt"], row["guide"], row["case"], setting
                best[key] = min(row, best.get(key, row), key=lambda one: one["ms"])
    print("prompt  guide  case        setting    CPU ms/token  of default  a step  cached  same")
    rows = []
    for (prompt, guide, case, setting), row in sorted(best.items(), key=lambda item: item[0][:3]):
        first = best[prompt, guide, case, "default"]
        texts = row.pop("texts") if setting != "default" else row["texts"]
        same = sum(a == b for a, b in zip(texts, first["texts"], strict=True)) / len(texts)
        rows.append({"setting": setting, "same": same, "ratio": row["ms"] / first["ms"], **row})
        print(
            f"{prompt:7s} {'guide' if guide else 'free':6s} {case:11s} {setting:10s} {row['ms']:12.3f} "
            f"{rows[-1]['ratio']:11.2f} {row['a_step']:7.2f} {row['cached']:7.2f} {same:5.2f}",
            flush=True,
        )
    return rows


def texts_alone(tokenizer_file: Path, graphs_file: Path) -> list[dict[str, Any]]:
    """Tokens a step on annotated graphs."""
    import numpy as np
    from tokenizers import Tokenizer
    from tokens import read_graphs
    from vllm.v1.spec_decode import ngram_proposer

    from r1sgg.graph.text import render
    from r1sgg.models.prompts import AnswerSettings, build_messages

    def draft(ids: list[int], least: int, most: int, count: int) -> list[int]:
        found = ngram_proposer._find_longest_matched_ngram_and_propose_tokens(
            np.array(ids, dtype=np.int32), least, most, len(ids) + count + 1, count
        )
        return [int(token) for token in found]

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    graphs = read_graphs(graphs_file)
    rows = []
    print("prompt  format   draft  n-grams  tokens/step  accepted of drafted")
    for vocabulary in ("open", "vg150"):
        for answer_format in ("json", "compact"):
            for count, least, most in ((3, 2, 4), (6, 2, 4), (6, 1, 4), (10, 2, 4)):
                tokens = steps = drafted = accepted = 0
                for graph, frame in graphs:
                    settings = AnswerSettings(vocabulary=vocabulary, answer_format=answer_format)
                    prompt = build_messages(settings, frame)[-1]["content"]
                    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
                    answer = render(graph, frame, answer_format=answer_format)
                    text = tokenizer.encode(answer, add_special_tokens=False).ids
                    k, tokens = 0, tokens + len(text)
                    while k < len(text):
                        guess = draft([*ids, *text[:k]], least, most, count) if k else []
                        right = next((n for n, token in enumerate(guess) if text[k + n : k + n + 1] != [token]), None)
                        right = len(guess) if right is None else right
                        k += right + 1
                        steps, drafted, accepted = steps + 1, drafted + len(guess), accepted + right
                row = {"prompt": vocabulary, "format": answer_format, "draft": count, "least": least, "most": most}
                row |= {"a_step": tokens / steps, "accepted": accepted / drafted if drafted else 0.0}
                rows.append(row)
                print(
                    f"{vocabulary:7s} {answer_format:8s} {count:5d}  {least} to {most}   {row['a_step']:11.2f} "
                    f"{row['accepted']:20.2f}",
                    flush=True,
                )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--texts", action="store_true")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json, for --texts")
    parser.add_argument("--graphs", type=Path, help="annotated graphs, for --texts")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.setting:
        print(json.dumps(measure(options.setting, options.images)))
        return
    rows = texts_alone(options.tokenizer, options.graphs) if options.texts else compare(options.images, options.rounds)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
