"""Throw damaged answers at the parser and the rewards: nothing may raise, leave its range or take long.

    python benchmarks/fuzz.py                                   # 20,000 texts, some 15 CPU-seconds
    python benchmarks/fuzz.py --count 1000000 --json fuzz.json  # the full run

Starts from generated graphs (every layout that `render` writes) and, where a developer's checkout has the folder
../shared beside it, from real model outputs and completions. Each text is damaged by one of `DAMAGE`; texts grow to
64 KB. Each is parsed, with repair every fourth time; then all are scored in batches against random truths by every
reward term. Measured is the CPU time of each parse, and of the scoring of each text that is long or slow. It
deliberately does not check that scores are right: the tests do.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import platform
import random
import string
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import orjson

from r1sgg.graph.dialects.registry import DIALECTS, OURS, dialect_of
from r1sgg.graph.scene import SceneGraph, label_of_id
from r1sgg.graph.text import FAILURES, POLICIES, Frame, Parsed, number_ids, parse, render
from r1sgg.models.prompts import AnswerSettings, build_messages
from r1sgg.rewards.rubric import Rubric
from r1sgg.rewards.terms import TERMS

FRAMES: tuple[Frame, ...] = ((1000, 1000), (644, 476), (420, 644), (1036, 756))
NAMES = ("man", "dog", "street", "traffic light", "t-shirt", "tree", "café", "人")
PREDICATES = ("on", "has", "wearing", "in front of", "walking on", "near")
LONGEST = 65_536
LIMIT_MS = 50.0
BATCH = 64
T = TypeVar("T")
SHARED = Path(__file__).resolve().parents[2] / "shared"

# ---------------------------------------------------------------- where texts come from


def random_graph(rng: random.Random) -> SceneGraph:
    """Up to 20 objects and 20 relationships."""
    count = rng.choice((1, 2, 3, 5, 8, 12, 20))
    ids = number_ids([rng.choice(NAMES) for _ in range(count)])
    boxes = np.array([[*sorted((rng.random(), rng.random())), *sorted((rng.random(), rng.random()))] for _ in ids])
    pairs = tuple((rng.randrange(count), rng.randrange(count)) for _ in range(rng.choice((0, 1, 3, 6, 20))))
    predicates = tuple(rng.choice(PREDICATES) for _ in pairs)
    return SceneGraph(ids, tuple(map(label_of_id, ids)), boxes[:, [0, 2, 1, 3]], pairs, predicates)


def in_a_dialect(rng: random.Random) -> str:
    """The example of a dialect with other names and numbers, once or several times."""
    text = rng.choice(list(DIALECTS.values())).example
    for old in ("man", "horse", "tree", "riding", "near"):
        if rng.random() < 0.3:
            text = text.replace(old, rng.choice((*NAMES, *PREDICATES)))
    if rng.random() < 0.05:
        return PROMPT
    return rng.choice(("", "\n", PROMPT, text, "<thinking>" + text + "</thinking>")) + text


PROMPT = build_messages(AnswerSettings())[-1]["content"]


def written(rng: random.Random) -> str:
    """A random graph in one of the layouts that models are trained on or use by themselves."""
    if rng.random() < 0.4:
        return in_a_dialect(rng)
    text = render(
        random_graph(rng),
        rng.choice(FRAMES),
        minify=rng.random() < 0.5,
        think=rng.random() < 0.3,
        answer_format=rng.choice(("json", "json", "compact")),
    )
    layout = rng.randrange(5)
    if layout == 0:
        return f"```json\n{text}\n```"
    if layout == 1:
        return f"<think>There is a man.</think><answer>\n{text}</answer>"
    if layout == 2:
        return f"Here is the scene graph:\n{text}\nI hope this helps."
    return text


def real_texts() -> list[str]:
    """Texts of ../shared, none where it is missing."""
    texts: list[str] = []
    outputs, cases = SHARED / "data/mllm_outputs/real_outputs.jsonl", SHARED / "oracle/reward_cases.jsonl.gz"
    if outputs.exists():
        texts += [orjson.loads(line)["text"] for line in outputs.read_bytes().splitlines()]
    if cases.exists():
        texts += [orjson.loads(line)["completion"] for line in gzip.decompress(cases.read_bytes()).splitlines()]
    return texts


# ---------------------------------------------------------------- damage

TOKENS = ('{', '}', '[', ']', '"', "\\", ",", ":", "'", "```json\n", "```", "<think>", "</think>", "<answer>",
          "</answer>", "<ANSWER>", '"objects":', '"relationships":', '{"id":"a.1","bbox":[1,2,3,4]}', '{"a":', '{"a}":',
          "objects\n", "\nobjects\n", "\nrelationships\n", "\nend\n", "a 1 2 3 4\n",
          "[]", "{}", "[[", "null", "true", "NaN", "-Infinity", "1e999", "\\ud800", "\\u0000", "\ud83d", "\x00", "😀",
          "<thinking>", "◁think▷", "[THINK]", "<ref>", "<box>", "[[1,", "<pred>", "<|det|>", "<loc0001>", "<loc_1>",
          "[OBJ]", "[REL]", " -> ", "obj[1]{id}:\n", "<OBJECT>", "<RELATION>", "<scene>", '"bbox_2d":', '"box_2d":',
          "\u202e", "\ufeff", "\u2028", "é", "\\\"", "//", "/*", "0,", "-", ".", "e", " ", "\n")  # fmt: skip
NUMBERS = ("-1", "0", "1.5", "-0.0", "1e5", "1e308", "1e999", "-1e-400", "NaN", "Infinity", "true", "null", '"5"',
           "[5]", "9" * 30, "9" * 5000, "1e-7", "0x10", "007", "٣", "18446744073709551616", "10.499")  # fmt: skip


def edit_characters(text: str, rng: random.Random) -> str:
    """Replace, insert or delete a few characters."""
    characters = list(text)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        k = rng.randrange(len(characters) + 1)
        new = rng.choice((rng.choice(string.printable), chr(rng.randrange(0x110000)), ""))
        characters[k : k + rng.randrange(2)] = [new]
    return "".join(characters)


def edit_bytes(text: str, rng: random.Random) -> str:
    """Flip bytes of the UTF-8 text and read it as a lenient decoder would."""
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice((1, 3, 10))):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    return data.decode("utf-8", rng.choice(("replace", "surrogateescape", "ignore")))


def truncate(text: str, rng: random.Random) -> str:
    """Cut the end, the beginning or both."""
    start = rng.choice((0, 0, rng.randrange(len(text) + 1)))
    return text[start : rng.randrange(start, len(text) + 1)]


def splice(text: str, rng: random.Random) -> str:
    """Put a piece of the text, or of another answer, somewhere else."""
    source = rng.choice((text, written(rng)))
    a, b = sorted((rng.randrange(len(source) + 1), rng.randrange(len(source) + 1)))
    k = rng.randrange(len(text) + 1)
    return text[:k] + source[a:b] + text[k + rng.choice((0, b - a)) :]


def repeat(text: str, rng: random.Random) -> str:
    """Repeat a piece as a model in a loop does."""
    a = rng.randrange(len(text) + 1)
    piece = text[a : a + rng.choice((1, 3, 10, 40, 200))] or " "
    return text[:a] + piece * _times(piece, rng) + text[a:]


def insert_tokens(text: str, rng: random.Random) -> str:
    """Insert structural tokens, tags and unicode junk."""
    for _ in range(rng.choice((1, 2, 4, 16))):
        k = rng.randrange(len(text) + 1)
        text = text[:k] + rng.choice(TOKENS) + text[k:]
    return text


def nest(text: str, rng: random.Random) -> str:
    """Repeat one or two tokens in front of, inside or behind the text, sometimes closed again."""
    piece = rng.choice(TOKENS) + rng.choice(("", "", rng.choice(TOKENS)))
    times = _times(piece, rng)
    k = rng.choice((0, len(text), rng.randrange(len(text) + 1)))
    closing = rng.choice(("", "]" * piece.count("[") * times + "}" * piece.count("{") * times))
    return text[:k] + piece * times + rng.choice(("", text[k:])) + closing


def blow_numbers(text: str, rng: random.Random) -> str:
    """Put odd numbers in place of some."""
    pieces = []
    k = 0
    while k < len(text):
        end = k
        while end < len(text) and text[end].isdigit():
            end += 1
        pieces.append(rng.choice(NUMBERS) if end > k and rng.random() < 0.1 else text[k : max(end, k + 1)])
        k = max(end, k + 1)
    return "".join(pieces)


def break_items(text: str, rng: random.Random) -> str:
    """Valid JSON whose values are not what they should be; many items at times."""
    graph = random_graph(rng)
    document = json.loads(render(graph, rng.choice(FRAMES)))
    many = 600 if rng.random() < 0.02 else rng.choice((0, 0, 1, 30))
    for rows in document.values():
        for row in rows:
            if rng.random() < 0.3:
                row[rng.choice(list(row))] = rng.choice(
                    (None, True, 3, -1.5, "", "man.1", [], [1, 2], {}, [3, 3, 1, 1])
                )
            if rng.random() < 0.05:
                del row[rng.choice(list(row))]
        rows += rng.choices([*rows, None, 0, [], {}, "man.1"], k=many)
    if rng.random() < 0.1:
        document[rng.choice(("objects", "relationships"))] = rng.choice((None, {}, "x", 0))
    return json.dumps(document, ensure_ascii=rng.random() < 0.5)


def keep(text: str, rng: random.Random) -> str:
    """No damage."""
    return text


def _times(piece: str, rng: random.Random) -> int:
    """How often to repeat: mostly a little, one time in twenty up to 64 KB."""
    return rng.randrange(LONGEST // len(piece) + 1) if rng.random() < 0.05 else rng.choice((2, 5, 30, 120))


DAMAGE: tuple[Callable[[str, random.Random], str], ...] = (
    keep, edit_characters, edit_bytes, truncate, splice, repeat, insert_tokens, nest, blow_numbers, break_items,
)  # fmt: skip


# ---------------------------------------------------------------- the run


@dataclass
class Slowest:
    """The largest CPU time seen and the beginning of the text that took it."""

    ms: float = 0.0
    characters: int = 0
    head: str = ""

    def time(self, text: str, work: Callable[[], T]) -> T:
        """Do `work` and time it; what looks slow is timed twice more, as a garbage collection is not the text's."""
        result, ms = _timed(work)
        if ms > self.ms:
            ms = min(ms, _timed(work)[1], _timed(work)[1])
            if ms > self.ms:
                self.ms, self.characters, self.head = ms, len(text), ascii(text[:100])
        return result


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    result = work()
    return result, 1000 * (time.process_time() - start)


@dataclass
class Tally:
    """What a run has found."""

    texts: Counter[str] = field(default_factory=Counter)  # by damage
    outcomes: Counter[str] = field(default_factory=Counter)  # by failure, "read" for none
    issues: Counter[str] = field(default_factory=Counter)  # texts with an issue of the kind
    dialects: Counter[str] = field(default_factory=Counter)  # by the dialect that they were read in
    parse: Slowest = field(default_factory=Slowest)
    score: Slowest = field(default_factory=Slowest)
    scored: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str, text: str) -> None:
        if len(self.faults) < 20:
            self.faults.append(f"{what}: {text[:2000]!a}")


def wrong_with(parsed: Parsed) -> str | None:
    """The invariant of `parse` that a result breaks, None if it keeps all."""
    graph = parsed.graph
    n = len(graph)
    if (parsed.failure is None) != (n > 0):
        return "an empty graph without a failure, or a failure with a graph"
    if not {i.kind for i in parsed.issues} <= POLICIES.keys():
        return "an issue without a policy"
    if len(set(graph.ids)) != n or graph.boxes.shape != (n, 4) or not np.isfinite(graph.boxes).all():
        return "ids that repeat, or boxes that are not finite"
    if any(not (0 <= s < n and 0 <= o < n) for s, o in graph.pairs):
        return "a relationship to an object that is not there"
    if not (all(graph.labels) and all(graph.predicates)):
        return "an empty name"
    return None


def wrong_scores(terms: dict[str, float | None], total: float) -> str | None:
    """The name of a score outside [0, 1], None if all are inside."""
    named = {**{k: v for k, v in terms.items() if v is not None}, "total": total}
    return next((f"{k} = {v}" for k, v in named.items() if math.isnan(v) or not 0 <= v <= 1), None)


def run(count: int, seed: int, *, scoring: bool = True, progress: bool = False) -> Tally:
    """Damage, parse and score `count` texts.

    Errors in parsing or scoring are not caught: a traceback is the finding, and the seed repeats it.
    """
    rng = random.Random(seed)
    tally = Tally()
    real = real_texts()
    rubric = Rubric(dict.fromkeys(TERMS, 1.0)) if scoring else None
    truths = [random_graph(rng) for _ in range(256)]
    batch: list[tuple[str, SceneGraph, Frame]] = []
    started = time.process_time()
    for k in range(count):
        damage = DAMAGE[k % len(DAMAGE)]
        text = rng.choice(real) if real and rng.random() < 0.4 else written(rng)
        text = damage(text, rng)
        if rng.random() < 0.2:
            text = rng.choice(DAMAGE)(text, rng)
        text = text[:LONGEST]
        frame = rng.choice(FRAMES)

        spoken = tally.parse.time(text, partial(dialect_of, text)) or OURS
        dialect = rng.choice((OURS, spoken, spoken, rng.choice(list(DIALECTS))))
        parsed = tally.parse.time(text, partial(parse, text, frame, repair=k % 4 == 0, dialect=dialect))
        tally.dialects[dialect] += 1
        tally.texts[damage.__name__] += 1
        tally.outcomes[parsed.failure or "read"] += 1
        tally.issues.update({i.kind for i in parsed.issues})
        if fault := wrong_with(parsed):
            tally.fault(fault, text)
        if rubric is not None:
            batch.append((text, rng.choice(truths), frame))
            if len(batch) == BATCH or k == count - 1:
                _score(rubric, batch, tally)
                batch.clear()
        if progress and (k + 1) % 20_000 == 0:
            print(f"{k + 1:,} texts, {time.process_time() - started:,.0f} CPU-s", file=sys.stderr, flush=True)
    return tally


def _score(rubric: Rubric, batch: list[tuple[str, SceneGraph, Frame]], tally: Tally) -> None:
    """Score a batch; where it takes long, time its texts one by one to find the slowest."""
    texts, truths, frames = zip(*batch, strict=True)
    scores, ms = _timed(partial(rubric.score, texts, truths, frames))
    for text, score in zip(texts, scores, strict=True):
        tally.scored += 1
        if fault := wrong_scores(score.terms, score.total):
            tally.fault(fault, text)
    if ms > max(tally.score.ms, LIMIT_MS / 5):
        for text, truth, frame in batch:
            tally.score.time(text, partial(rubric.score, [text], [truth], [frame]))


def main() -> None:
    """Run, print the table, exit with 1 if anything was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the findings here too")
    parser.add_argument("--parse-only", action="store_true", help="leave out the rewards")
    options = parser.parse_args()
    start = time.process_time()
    tally = run(options.count, options.seed, scoring=not options.parse_only, progress=True)
    seconds = time.process_time() - start

    print(f"{options.count:,} texts, seed {options.seed}, {seconds:,.0f} CPU-s, Python {platform.python_version()}")
    print("\n| outcome | texts |\n|---|---|")
    for outcome in ("read", *FAILURES):
        print(f"| {outcome} | {tally.outcomes[outcome]:,} |")
    print("\n| dialect | texts |\n|---|---|")
    for name in DIALECTS:
        print(f"| {name} | {tally.dialects[name]:,} |")
    print("\n| issue | texts |\n|---|---|")
    for kind in POLICIES:
        print(f"| {kind} | {tally.issues[kind]:,} |")
    for name, slowest in (("parse", tally.parse), ("score", tally.score)):
        print(f"\nslowest {name}: {slowest.ms:.1f} ms CPU, {slowest.characters:,} characters: {slowest.head}")
    too_slow = [n for n, s in (("parse", tally.parse), ("score", tally.score)) if s.ms > LIMIT_MS]
    print(
        f"\nscored: {tally.scored:,}; faults: {len(tally.faults)}; slower than {LIMIT_MS:.0f} ms: {too_slow or 'none'}"
    )
    for fault in tally.faults:
        print(fault)
    if options.json:
        result = {"count": options.count, "seed": options.seed, "cpu_seconds": seconds, **vars(tally)}
        options.json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    sys.exit(1 if tally.faults or too_slow else 0)


if __name__ == "__main__":
    main()
