"""What guided decoding gives and what it costs, beside free answers and xgrammar's static JSON schema.

    python benchmarks/guide.py --out results.json                                  # 2,000 images; about 35 CPU-minutes
    python benchmarks/guide.py --images 100 --tokenizer tokenizer.json             # with a vocabulary of your own

Three tables. "answers": fresh test scenes (`scenes:`, preset small), answered by the tiny model with random weights and
by the trained `tiny`, greedily and at temperature 1, in each way: how many answers are valid (readable, and nothing
wrong with them), what is wrong with the others, R@50 and its difference from free answers with a 95 % interval,
CPU-microseconds a token and the guide's part of them. "speed": the guide alone, fed answers as the tokenizer writes
them, 16 at a time, after a first round; xgrammar beside it. "choosing": the engine's whole choice of a token, guided
and free, from random scores of 16 answers.

`--tokenizer` is a tokenizer.json (Qwen2's has 151,643 tokens and a few special ones); without it, "speed" and
"choosing" run on tiny's vocabulary only. Everything in one process and thread (set OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from r1sgg.data.predictions import Prediction
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import number_ids, parse, render
from r1sgg.graph.vocabulary import VG150
from r1sgg.guiding.guide import Guide, TokenTable
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.choosing import Streams
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.writing import Writer
from r1sgg.metrics.report import evaluate
from r1sgg.miniature.scenes import SMALL, Scene, scene, split_seeds
from r1sgg.miniature.tiny import build_tiny
from r1sgg.models.families import load_model

FRAME = (1000, 1000)
BATCH = 16
WAYS = {
    "free": None,
    "guide": GuideSpec(FRAME, minify=True),
    "guide, VG150": GuideSpec(FRAME, VG150.objects, VG150.predicates, minify=True),
    "guide, compact": GuideSpec(FRAME, VG150.objects, VG150.predicates, answer_format="compact"),
    "xgrammar": GuideSpec(FRAME, minify=True),
}
ASKED = {
    "random": ("free", "guide", "guide, compact", "xgrammar"),
    "trained": ("free", "guide", "guide, VG150", "xgrammar"),
}
GEOMETRY = ("bad_box", "inverted_box", "empty_box", "box_out_of_frame")
REPEATS = ("repeated_triplet", "duplicate_id", "self_loop")


class Timed:
    """A guide, and the CPU time that all of them take, less what looking at the clock takes."""

    spent = 0.0
    clock = 0.0

    def __init__(self, guide: Any) -> None:
        self._guide = guide

    def __getattr__(self, name: str) -> Any:
        start = time.process_time()
        value = getattr(self._guide, name)
        if name == "finished":
            return value

        def call(*arguments: Any) -> Any:
            result = value(*arguments)
            Timed.spent += time.process_time() - start - Timed.clock
            return result

        return call


class StaticSchema:
    """xgrammar with a JSON schema of the answer, made to look like a guide. It can't end an answer in time."""

    def __init__(self, compiled: Any, size: int, end: int) -> None:
        import xgrammar

        self._matcher = xgrammar.GrammarMatcher(compiled)
        self._bits = xgrammar.allocate_token_bitmask(1, size)
        self._end = end
        self.finished = False

    def mask(self) -> Any:
        self._matcher.fill_next_token_bitmask(self._bits)
        return self._bits[0].numpy()

    def few(self) -> Any:
        return np.empty(0, dtype=np.int64) if self.finished else None

    def follow(self) -> list[int]:
        return []

    def advance(self, token: int) -> None:
        if not self._matcher.accept_token(token):
            raise ValueError(f"xgrammar refused token {token}, which it had allowed")
        self.finished = token == self._end


def schema(spec: GuideSpec) -> dict[str, Any]:
    """What a JSON schema can say of an answer: names, bounds and lengths, nothing about references."""
    side = {"type": "integer", "minimum": 0, "maximum": int(spec.frame[0])}
    name = r"[A-Za-z]([ _'-]?[A-Za-z0-9]){0,39}"
    ids = {"type": "string", "pattern": rf"^{name}\.[1-9][0-9]?$"}
    said = {"type": "string", "pattern": f"^{name}$"}

    def record(**fields: Any) -> dict[str, Any]:
        return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}

    box = {"type": "array", "items": side, "minItems": 4, "maxItems": 4}
    return record(
        objects={"type": "array", "items": record(id=ids, bbox=box), "minItems": 1, "maxItems": spec.max_objects},
        relationships={
            "type": "array",
            "items": record(subject=ids, predicate=said, object=ids),
            "maxItems": spec.max_relationships,
        },
    )


def compiled_schema(tokenizer: Any, size: int, end: int, spec: GuideSpec) -> Any:
    """xgrammar's form of the schema; the object's separators are those of minified or spaced JSON."""
    import xgrammar

    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=size, stop_token_ids=[end])
    separators = (",", ":") if spec.minify else (", ", ": ")
    compiler = xgrammar.GrammarCompiler(info)
    return compiler.compile_json_schema(schema(spec), any_whitespace=False, separators=separators)


class BenchmarkEngine(TransformersEngine):
    """The transformers engine with timed guides, or with xgrammar in their place."""

    static = False

    def _guide(self, spec: GuideSpec, tokens: int) -> Any:
        if not self.static:
            return Timed(Guide(self._table, spec, tokens))
        key = ("xgrammar", spec.minify)
        size = self.loaded.model.config.get_text_config().vocab_size
        compiled = self._table.kept(
            "xgrammar", key, lambda: compiled_schema(self.loaded.processor.tokenizer, size, self._table.end, spec)
        )
        return Timed(StaticSchema(compiled, size, self._table.end))


def answers(model: str, path: Path | str, scenes: Sequence[Scene], batch: int, tokens: int) -> list[dict[str, Any]]:
    """Every sampling and way on one model."""
    engine = BenchmarkEngine(load_model(path, device="cpu"))
    rows = []
    free: Any = None
    for temperature in (0.0, 1.0):
        sampling = Sampling(temperature=temperature, max_new_tokens=tokens)
        for way in ASKED[model]:
            spec = WAYS[way]
            engine.static = way == "xgrammar"
            Timed.spent, start = 0.0, time.process_time()
            said: list[Completion] = []
            for first in range(0, len(scenes), batch):
                part = scenes[first : first + batch]
                images = [drawn.image for drawn in part]
                chats = [engine.loaded.messages(image.size) for image in images]
                keys = [drawn.example.image_id for drawn in part]
                said += engine.generate(images, chats, sampling, keys, guides=spec and [spec] * len(part))
            spent = time.process_time() - start
            recalls, judgement = judged(scenes, said)
            free = recalls if way == "free" else free
            rows.append({"model": model, "temperature": temperature, "way": way, **judgement, **gain(recalls, free)})
            count = sum(answer.tokens for answer in said)
            rows[-1] |= {"us_per_token": 1e6 * spent / count, "guide_us_per_token": 1e6 * Timed.spent / count}
            print_answers(rows[-1], header=len(rows) == 1)
    return rows


def gain(recalls: Any, free: Any) -> dict[str, Any]:
    """R@50 less that of free answers to the same images, with its 95 % interval (bootstrap over images)."""
    difference = 100 * (recalls - free)
    draws = np.random.default_rng(0).integers(0, len(difference), (2000, len(difference)))
    low, high = np.quantile(difference[draws].mean(axis=1), (0.025, 0.975))
    return {"R@50 gain": [float(difference.mean()), float(low), float(high)]}


def judged(scenes: Sequence[Scene], said: Sequence[Completion]) -> tuple[Any, dict[str, Any]]:
    """R@50 of each image that has relationships, and what is right and wrong with all answers."""
    parsed = [parse(answer.text, FRAME) for answer in said]
    kinds = [Counter(issue.kind for issue in p.issues) for p in parsed]
    predictions = [
        Prediction(drawn.example.image_id, FRAME, answer.text) for drawn, answer in zip(scenes, said, strict=True)
    ]
    each = [
        evaluate([drawn.example], [prediction])["R@50"]
        for drawn, prediction in zip(scenes, predictions, strict=True)
        if len(drawn.example.graph.pairs)
    ]
    recalls = np.array(each, dtype=np.float64)

    def share(*names: str) -> float:
        return 100 * sum(any(kind[name] for name in names) for kind in kinds) / len(said)

    return recalls, {
        "images": len(said),
        "valid": 100 * sum(not p.issues and len(p.graph) > 0 for p in parsed) / len(said),
        "failed": 100 * sum(p.failure is not None for p in parsed) / len(said),
        "truncated": 100 * sum(answer.finish_reason == "length" for answer in said) / len(said),
        "dangling": share("dangling"),
        "geometry": share(*GEOMETRY),
        "repeats": share(*REPEATS),
        "R@50": 100 * float(recalls.mean()),
        "relations": float(np.mean([len(p.graph.pairs) for p in parsed])),
        "tokens": float(np.mean([answer.tokens for answer in said])),
        "issues": dict(sum(kinds, Counter())),
    }


def print_answers(row: dict[str, Any], header: bool) -> None:
    names = ("valid", "failed", "truncated", "dangling", "geometry", "repeats", "R@50", "relations", "tokens")
    if header:
        print(
            "model    T  way             "
            + "".join(f"{name:>10s}" for name in names)
            + "   us/token     guide   R@50 gain"
        )
    values = "".join(f"{row[name]:10.2f}" for name in names)
    start = f"{row['model']:8s} {row['temperature']:.0f}  {row['way']:16s}"
    costs = f"{row['us_per_token']:11.0f}{row['guide_us_per_token']:10.1f}"
    gained = "   {:+.2f} [{:+.2f}, {:+.2f}]".format(*row["R@50 gain"])
    print(start + values + costs + gained, flush=True)


def sample_texts(spec: GuideSpec, count: int) -> list[str]:
    """Answers of 12 objects and 8 relationships with VG150's names."""
    rng, texts = random.Random(0), []
    for _ in range(count):
        labels = rng.choices(VG150.objects[:60], k=12)
        boxes = [(rng.randrange(700), rng.randrange(700), rng.randint(1, 300), rng.randint(1, 300)) for _ in labels]
        objects = [
            SceneObject(i, label, (x / 1000, y / 1000, (x + w) / 1000, (y + h) / 1000))
            for i, label, (x, y, w, h) in zip(number_ids(labels), labels, boxes, strict=True)
        ]
        pairs = rng.sample([(s, o) for s in range(12) for o in range(12) if s != o], 8)
        relationships = [Relationship(s, rng.choice(VG150.predicates), o) for s, o in pairs]
        graph = SceneGraph.build(objects, relationships)
        texts.append(render(graph, FRAME, minify=spec.minify, answer_format=spec.answer_format))
    return texts


def speed(name: str, tokenizer: Any, rounds: int) -> list[dict[str, Any]]:
    """The guide alone, and xgrammar alone, at one vocabulary."""
    start = time.process_time()
    table = TokenTable.of(tokenizer)
    made = time.process_time() - start
    rows = []
    for way, spec in WAYS.items():
        if spec is None:
            continue
        texts = sample_texts(spec, BATCH * (rounds + 1))
        tokens = [[*tokenizer.encode(text, add_special_tokens=False), table.end] for text in texts]
        start = time.process_time()
        if way == "xgrammar":
            compiled = compiled_schema(tokenizer, table.size, table.end, spec)
            guides = [StaticSchema(compiled, table.size, table.end) for _ in tokens]
        else:
            guides = [Guide(table, spec, 2048) for _ in tokens]
        prepared = time.process_time() - start
        times = [replay(guides[k : k + BATCH], tokens[k : k + BATCH]) for k in range(0, len(guides), BATCH)]
        steady = np.concatenate(times[1:])
        rows.append(
            {
                "vocabulary": name,
                "size": table.size,
                "way": way,
                "table_seconds": made,
                "prepare_ms": 1e3 * prepared,
                "first_us": 1e6 * float(times[0].mean()),
                "us": 1e6 * float(steady.mean()),
                "us_99": 1e6 * float(np.quantile(steady, 0.99)),
                "tokens": int(np.mean([len(t) for t in tokens])),
                "forced": 0.0 if way == "xgrammar" else 100 * forced(table, spec, tokens[0]),
            }
        )
        if len(rows) == 1:
            head = f"{'vocabulary':18s}  {'way':16s}    tokens forced %  prepare ms  first us/token  us/token"
            print(f"\n{head}  us, 99 of 100")
        row = rows[-1]
        start = f"{name:8s} {row['size']:9,d}  {way:16s} {row['tokens']:9d} {row['forced']:8.1f}"
        times = f"{row['prepare_ms']:12.1f} {row['first_us']:15.1f} {row['us']:9.1f} {row['us_99']:15.1f}"
        print(start + times, flush=True)
    return rows


def forced(table: TokenTable, spec: GuideSpec, tokens: list[int]) -> float:
    """Share of an answer's tokens that have no alternative."""
    guide, count = Guide(table, spec, 2048), 0
    for token in tokens:
        few = guide.few()
        count += few is not None and len(few) == 1
        guide.advance(token)
    return count / len(tokens)


def replay(guides: Sequence[Any], tokens: Sequence[list[int]]) -> Any:
    """CPU-seconds a token of steps in which every guide gives its mask and takes its token: (steps,)."""
    times = []
    for step in range(max(map(len, tokens))):
        live = [(guide, ids[step]) for guide, ids in zip(guides, tokens, strict=True) if step < len(ids)]
        start = time.process_time()
        for guide, token in live:
            if guide.mask() is None:
                raise ValueError("a guide ended before its answer")
            guide.advance(token)
        times.append((time.process_time() - start) / len(live))
    return np.array(times)


def choosing(name: str, tokenizer: Any, steps: int) -> list[dict[str, Any]]:
    """The engine's choice of tokens from random scores, (16, V) at a time."""
    table = TokenTable.of(tokenizer)
    scores = torch.randn(BATCH, -(-table.size // 128) * 128, generator=torch.Generator().manual_seed(0))
    rows = []
    for temperature in (0.0, 1.0):
        for way, spec in (("free", None), ("guide", WAYS["guide"]), ("guide, VG150", WAYS["guide, VG150"])):
            for attempt in range(2):  # the first one fills what is kept
                guides = [Guide(table, spec, steps) for _ in range(BATCH)] if spec else []
                sampling = Sampling(temperature=temperature, max_new_tokens=steps)
                keys = [f"{attempt} {k}" for k in range(BATCH)]
                draw = Streams(sampling, keys, scores.device)
                suppressed = range(table.size, scores.shape[1])
                writer = Writer(draw, BATCH, [table.end], steps, suppressed, guides=guides)
                spent, done = 0.0, 0
                while rows_left := [k for k in range(BATCH) if not writer.finished(k)]:
                    widths = [len(writer.read(k)) + (not done) for k in rows_left]  # the prompt predicts one more
                    given = scores[
                        [(k + done) % BATCH for k, w in zip(rows_left, widths, strict=True) for _ in range(w)]
                    ]
                    start = time.process_time()
                    writer.take(rows_left, given, widths)
                    spent += time.process_time() - start
                    done += 1
            count = sum(len(draft.ids) for draft in writer.drafts)
            rows.append({"vocabulary": name, "temperature": temperature, "way": way, "us": 1e6 * spent / count})
            if len(rows) == 1:
                print(f"\nchoosing, {name} {table.size:,d} tokens: T  way             us/token")
            print(f"{temperature:34.0f}  {way:16s} {rows[-1]['us']:7.0f}", flush=True)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7, help="of the scenes")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=192, help="longest answer")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json of a large vocabulary")
    parser.add_argument("--rounds", type=int, default=8, help='of 16 answers, of "speed"')
    parser.add_argument("--models", nargs="*", choices=list(ASKED), default=list(ASKED), help='of "answers"')
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    for _ in range(100_000):
        time.process_time()
    Timed.clock = (time.process_time() - start) / 100_000
    scenes = [scene(number, SMALL) for number in split_seeds("test", options.seed, options.images)]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for model, path in (("random", build_tiny(folder, seed=0, max_pixels=336 * 336)), ("trained", "tiny")):
            if model in options.models:
                rows += answers(model, path, scenes, options.batch, options.tokens)
    tiny = load_model("tiny", device="cpu").processor.tokenizer
    tokenizers = {"tiny": tiny}
    if options.tokenizer:
        from transformers import PreTrainedTokenizerFast

        file = str(options.tokenizer)
        tokenizers["large"] = PreTrainedTokenizerFast(tokenizer_file=file, eos_token="<|im_end|>")
    fast = [row for name, tokenizer in tokenizers.items() for row in speed(name, tokenizer, options.rounds)]
    chosen = [row for name, tokenizer in tokenizers.items() for row in choosing(name, tokenizer, 60)]
    if options.out:
        result = {"command": " ".join(sys.argv), "answers": rows, "speed": fast, "choosing": chosen}
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
