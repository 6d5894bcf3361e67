"""A rubric as the reward function of other people's trainers, each in the shape that it calls.

    trl_rewards(rubric)             TRL: a function for each weighted term, and their weights
    ms_swift_orm(rubric)            ms-swift: a class for each weighted term
    verl_compute_score(rubric)      verl: one answer -> {"score", terms}
    easyr1_compute_score(rubric)    EasyR1: one answer or a list -> {"overall", terms}
    openrlhf_reward_func(rubric)    OpenRLHF: whole texts -> {"rewards", "scores", "extra_logs"} as tensors
    verifiers_reward(rubric)        verifiers v1: async (task, trace) -> float

All give the numbers of `Rubric.score`: a term's value where they take several, its `total` where they take one. Most
trainers hand over one string a row, so the truth is one string: see `label`. Call shapes and configurations are in
docs/adapters.md. None of the trainers is imported, and nothing but OpenRLHF's needs torch.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from r1sgg.data.base import Example, example_of_record
from r1sgg.data.jsonl import frame_of
from r1sgg.errors import InputError, require
from r1sgg.graph.parsed import Frame, Parsed
from r1sgg.rewards.rubric import Rubric, Score

RewardFunction = Callable[..., list[float | None]]


def label(example: Example, frame: Frame) -> str:
    """The truth of a row as one string: its ground-truth record with the `frame` that the answer's boxes are in."""
    return orjson.dumps({**example.to_record(), "frame": list(frame)}).decode()


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """A batch of B completions as it was scored.

    Attributes:
        texts: the completions; parsed: what the parser found in them; scores: their scores.
        examples: the annotations; frames: what the completions' boxes are relative to.
        columns: what else the trainer passed (TRL: the data set's other columns, `log_metric`, ...).
    """

    texts: Sequence[str]
    parsed: Sequence[Parsed]
    scores: Sequence[Score]
    examples: Sequence[Example]
    frames: Sequence[Frame]
    columns: Mapping[str, Any]


Observer = Callable[[ScoredBatch], None]


class _Scorer:
    """Scores completions against labels from many threads; remembers the last batch, and the truths of recent ones."""

    def __init__(self, rubric: Rubric, observers: Sequence[Observer] = ()) -> None:
        self.rubric, self.observers = rubric, observers
        self.truths: dict[str, tuple[Example, Frame | None]] = {}
        self.last: tuple[Any, list[Score]] | None = None
        self.lock = threading.Lock()

    def scores(
        self,
        completions: Sequence[Any],
        labels: Sequence[str],
        frames: Sequence[Sequence[float]] | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> list[Score]:
        """Scores of a batch; `frames` is for labels that hold none.

        With `columns` the batch is new, whatever it holds, and the observers see it; otherwise a batch that is the last
        one again is not scored again.

        Raises:
            InputError: a label is no ground-truth record, or it has no frame.
        """
        texts = [text_of(completion) for completion in completions]
        given = None if frames is None else [(float(w), float(h)) for w, h in frames]
        key = (texts, list(labels), given)
        with self.lock:
            if columns is not None or self.last is None or self.last[0] != key:
                rows = [self._truth(text) for text in labels]
                found = [_known(frame) for _, frame in rows] if given is None else given
                truths = [example.graph for example, _ in rows]
                parsed = self.rubric.read(texts, truths, found)
                scores = self.rubric.score_parsed(texts, parsed, truths, found)
                self.last = (key, scores)
                batch = ScoredBatch(texts, parsed, scores, [example for example, _ in rows], found, columns or {})
                for observer in self.observers:
                    observer(batch)
            return self.last[1]

    def one(self, completion: str, truth: str) -> Score:
        """The score of one completion."""
        return self.scores([completion], [truth])[0]

    def _truth(self, text: str) -> tuple[Example, Frame | None]:
        found = self.truths.get(text)
        if found is None:
            if len(self.truths) >= 4096:
                self.truths.clear()
            found = self.truths[text] = _read_label(text)
        return found


def _read_label(text: str) -> tuple[Example, Frame | None]:
    try:
        record = orjson.loads(text)
    except (orjson.JSONDecodeError, TypeError) as error:
        raise InputError(
            "ground_truth", expected="a ground-truth record as a JSON string", found=repr(text)[:60], hint=_MAKE
        ) from error
    if not isinstance(record, dict):
        raise InputError("ground_truth", expected="a JSON object", found=repr(text)[:60], hint=_MAKE)
    example = example_of_record(record, "ground_truth", Path(), frozenset(("frame",)))
    frame = record.get("frame")
    return example, None if frame is None else frame_of(frame, "ground_truth: frame")


def _known(frame: Frame | None) -> Frame:
    if frame is None:
        raise InputError("ground_truth: frame", expected="width and height that boxes are in", found="none", hint=_MAKE)
    return frame


_MAKE = "make it with r1sgg.rewards.adapters.label"


def text_of(completion: Any) -> str:
    """The text of a completion in TRL's shapes: a string, or chat messages whose content is a string or typed parts."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or ())


# ---------------------------------------------------------------- a column for each term


def trl_rewards(rubric: Rubric, observers: Sequence[Observer] = ()) -> tuple[list[RewardFunction], list[float]]:
    """Reward functions for TRL's GRPOTrainer, one per weighted term, with their weights.

    Args:
        rubric: what is scored.
        observers: functions that see each batch once it is scored: logs, guards.

    Each is called with `completions` (strings, or lists of chat messages) and the data set's columns `ground_truth` (a
    ground-truth record as JSON) and `frame` ([w, h]; not needed where the record holds it); it returns a term's value
    per completion, None where the term does not apply. Called in turn with the same batch, they share one parse and
    one match.
    """
    scorer = _Scorer(rubric, observers)
    first = next(iter(rubric.weights), "")
    columns = [_column(scorer, name, opens=name == first) for name in rubric.weights]
    return columns, list(rubric.weights.values())


def _column(scorer: _Scorer, name: str, *, opens: bool) -> RewardFunction:
    """The function of one term; that which `opens` is called first, with a new batch."""

    def reward(
        completions: Sequence[Any],
        ground_truth: Sequence[str],
        frame: Sequence[Sequence[float]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        scores = scorer.scores(completions, ground_truth, frame, columns if opens else None)
        return [score.terms[name] for score in scores]

    reward.__name__ = reward.__qualname__ = name
    reward.__doc__ = scorer.rubric.about(name)
    return reward


class _Orm:
    """ms-swift makes one of these from its class, calls it with the batch's columns and logs its class's name."""

    reward: RewardFunction

    def __init__(self, args: Any = None, **_: Any) -> None:
        self.args = args

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float | None]:
        return type(self).reward(completions, **columns)


def ms_swift_orm(rubric: Rubric) -> dict[str, type]:
    """Classes for ms-swift's `orms`, one per weighted term, by the names for --reward_funcs ("r1sgg_format", ...).

    Called with `completions` (strings) and the columns `ground_truth` and, where that does not hold it, `frame`. They
    share one parse and one match; None where a term does not apply, which ms-swift leaves out of the sum.
    """
    functions, _ = trl_rewards(rubric)
    names = [f"r1sgg_{function.__name__}" for function in functions]
    return {
        name: type(name, (_Orm,), {"reward": staticmethod(function), "__doc__": function.__doc__})
        for name, function in zip(names, functions, strict=True)
    }


# ---------------------------------------------------------------- one number


def verl_compute_score(rubric: Rubric) -> Callable[..., dict[str, float]]:
    """verl's `compute_score`: {"score": the total, and each term}; NaN where a term does not apply.

    verl calls it from several threads, with `ground_truth` from the row's reward_model; it wants the same keys in every
    row, so a term can't be left out.
    """
    scorer = _Scorer(rubric)

    def compute_score(
        data_source: Any, solution_str: str, ground_truth: str, extra_info: Any = None, **_: Any
    ) -> dict[str, float]:
        score = scorer.one(solution_str, ground_truth)
        return {"score": score.total, **_filled(score.terms)}

    return compute_score


def easyr1_compute_score(rubric: Rubric) -> Callable[..., Any]:
    """EasyR1's `compute_score`: {"overall": the total, and each term that applies}.

    Called with a list of {"response", "ground_truth"} (reward_type=batch) or with one (reward_type=sequential).
    """
    scorer = _Scorer(rubric)

    def compute_score(reward_inputs: Any, **_: Any) -> Any:
        rows = [reward_inputs] if isinstance(reward_inputs, Mapping) else reward_inputs
        scores = scorer.scores([row["response"] for row in rows], [row["ground_truth"] for row in rows])
        results = [
            {"overall": s.total, **{name: value for name, value in s.terms.items() if value is not None}}
            for s in scores
        ]
        return results[0] if isinstance(reward_inputs, Mapping) else results

    return compute_score


def openrlhf_reward_func(rubric: Rubric) -> Callable[..., dict[str, Any]]:
    """OpenRLHF's `reward_func`: {"rewards", "scores": totals, "extra_logs": {term: values}}, tensors of length B.

    `queries` are prompts with answers, decoded with their special tokens; see `response_of`. NaN in the logs where a
    term does not apply.
    """
    scorer = _Scorer(rubric)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], **_: Any) -> dict[str, Any]:
        torch = require("torch", "train")
        answers = [response_of(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
        scores = scorer.scores(answers, labels)
        totals = torch.tensor([score.total for score in scores], dtype=torch.float32)
        terms = [_filled(score.terms) for score in scores]
        logs = {name: torch.tensor([row[name] for row in terms], dtype=torch.float32) for name in rubric.names}
        return {"rewards": totals, "scores": totals, "extra_logs": logs}

    return reward_func


def verifiers_reward(rubric: Rubric) -> Callable[..., Any]:
    """A reward for verifiers v1: an async function of the task (or its data, with the field `ground_truth`) and trace.

    It is the total. As a method: `return await scene_graph(self, trace)`; from a configuration it is called as it is.
    """
    scorer = _Scorer(rubric)

    async def scene_graph(task: Any, trace: Any) -> float:
        data = getattr(task, "data", task)
        return scorer.one(trace.last_reply or "", data.ground_truth).total

    return scene_graph


def _filled(terms: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in terms.items()}


_ENDINGS = re.compile(r"(?:\s*(?:<\|[\w-]+\|>|</s>|<eos>|<end_of_turn>))+\s*\Z")
_TAIL = 200  # characters of a prompt's end that find it again


def response_of(query: str, prompt: str) -> str:
    """The answer in a text that begins with its prompt, without end-of-turn tokens.

    The prompt's beginning may differ (each image placeholder becomes as many tokens as the image has patches); its end,
    after the last placeholder, must be there.

    Raises:
        InputError: the prompt's end is not in the query.
    """
    if query.startswith(prompt):
        answer = query[len(prompt) :]
    else:
        tail = re.split(r"<\|?(?:image|img|image_pad|vision_end|image_soft_token)\|?>", prompt)[-1][-_TAIL:]
        start = query.find(tail) if tail.strip() else -1
        if start < 0:
            raise InputError(
                "queries", expected=f"texts that hold the end of their prompt {tail[-40:]!r}", found="another"
            )
        answer = query[start + len(tail) :]
    return _ENDINGS.sub("", answer)
