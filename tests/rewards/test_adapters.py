"""The rubric in other trainers' call shapes: the same answers give the same numbers through each."""

import asyncio
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from r1sgg.data.base import Example, example_of_record
from r1sgg.errors import InputError
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import render
from r1sgg.rewards.adapters import (
    easyr1_compute_score,
    label,
    ms_swift_orm,
    openrlhf_reward_func,
    response_of,
    trl_rewards,
    verifiers_reward,
    verl_compute_score,
)
from r1sgg.rewards.rubric import REWARD_SETS, Rubric, Score

FRAME = (1000.0, 1000.0)
NAMES = ("man", "bike", "dog", "tree")


def example(k: int) -> Example:
    """A scene of 1 to 4 objects; the first has no relationships."""
    draw = np.random.default_rng(k)
    objects = []
    for n in range(1 + k % 4):
        x, y = draw.uniform(0, 0.6, 2)
        w, h = draw.uniform(0.1, 0.4, 2)
        objects.append(SceneObject(f"{NAMES[n]}.1", NAMES[n], (x, y, x + w, y + h)))
    links = [Relationship(n, ("on", "near")[n % 2], n - 1) for n in range(1, len(objects))]
    return Example(str(k), 640, 480, SceneGraph.build(objects, links), Path(f"{k}.png"))


EXAMPLES = [example(k) for k in range(8)]
LABELS = [label(e, FRAME) for e in EXAMPLES]
ANSWERS = [
    render(EXAMPLES[0].graph, FRAME, think=True),
    render(EXAMPLES[1].graph, FRAME, think=True),
    render(EXAMPLES[3].graph, FRAME),  # of another image
    render(EXAMPLES[3].graph, FRAME, minify=True),
    "I see nothing.",
    "",
    render(EXAMPLES[6].graph, FRAME, think=True)[:-30],
    render(EXAMPLES[5].graph, FRAME, think=True),
]


@pytest.fixture(scope="module", params=sorted(REWARD_SETS))
def rubric(request: pytest.FixtureRequest) -> Rubric:
    return Rubric.of(request.param)


@pytest.fixture(scope="module")
def scores(rubric: Rubric) -> list[Score]:
    found = rubric.score(ANSWERS, [graph_of(text) for text in LABELS], [FRAME] * len(ANSWERS))
    assert len({score.total for score in found}) > 3
    assert any(value is None for score in found for value in score.terms.values())
    return found


def graph_of(text: str) -> SceneGraph:
    return example_of_record({k: v for k, v in json.loads(text).items() if k != "frame"}, "here", Path()).graph


def test_trl(rubric: Rubric, scores: list[Score]) -> None:
    functions, weights = trl_rewards(rubric)
    columns = {"ground_truth": LABELS, "image_id": list("abcdefgh"), "trainer_state": None}
    for function in functions:
        rows = function(prompts=[""] * 8, completions=ANSWERS, completion_ids=[[]] * 8, **columns)
        assert rows == [score.terms[function.__name__] for score in scores]
    table = np.array([f(completions=ANSWERS, **columns) for f in functions], dtype=float)
    applies = ~np.isnan(table)
    sums = np.nansum(table * np.array(weights)[:, None], axis=0)  # as TRL adds them up
    means = sums / (applies * np.array(weights)[:, None]).sum(0)
    assert means == pytest.approx([score.total for score in scores], abs=1e-15)


def test_trl_takes_the_frame_from_a_column(rubric: Rubric, scores: list[Score]) -> None:
    bare = [json.dumps({k: v for k, v in json.loads(text).items() if k != "frame"}) for text in LABELS]
    functions, _ = trl_rewards(rubric)
    for function in functions:
        rows = function(completions=ANSWERS, ground_truth=bare, frame=[[1000, 1000]] * 8)
        assert rows == [score.terms[function.__name__] for score in scores]


def test_ms_swift(rubric: Rubric, scores: list[Score]) -> None:
    classes = ms_swift_orm(rubric)
    assert list(classes) == [f"r1sgg_{name}" for name in rubric.weights]
    for name, made in classes.items():
        orm = made(args=SimpleNamespace(beta=0))
        assert type(orm).__name__ == name  # what ms-swift logs
        rows = orm(completions=ANSWERS, ground_truth=LABELS, messages=[[]] * 8, trainer_state=None)
        assert rows == [score.terms[name.removeprefix("r1sgg_")] for score in scores]


def same(found: dict[str, float], score: Score, total: str) -> None:
    assert set(found) == {total, *score.terms}
    assert found[total] == score.total
    for name, value in score.terms.items():
        assert math.isnan(found[name]) if value is None else found[name] == value


def test_verl(rubric: Rubric, scores: list[Score]) -> None:
    compute_score = verl_compute_score(rubric)
    for text, truth, score in zip(ANSWERS, LABELS, scores, strict=True):
        extra = {"num_turns": 1, "rollout_reward_scores": {}}
        found = compute_score(data_source="r1sgg", solution_str=text, ground_truth=truth, extra_info=extra)
        same(found, score, "score")


def test_verl_calls_from_many_threads(rubric: Rubric, scores: list[Score]) -> None:
    compute_score = verl_compute_score(rubric)
    with ThreadPoolExecutor(8) as pool:
        jobs = [(k, pool.submit(compute_score, "r1sgg", ANSWERS[k], LABELS[k])) for k in list(range(8)) * 25]
        assert all(job.result()["score"] == scores[k].total for k, job in jobs)


def test_easyr1(rubric: Rubric, scores: list[Score]) -> None:
    compute_score = easyr1_compute_score(rubric)
    rows = [
        {"response": text, "response_length": len(text), "ground_truth": truth}
        for text, truth in zip(ANSWERS, LABELS, strict=True)
    ]
    expected = [
        {"overall": s.total, **{name: value for name, value in s.terms.items() if value is not None}} for s in scores
    ]
    assert compute_score(rows) == expected  # reward_type=batch
    assert [compute_score(row) for row in rows] == expected  # reward_type=sequential


PROMPT = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Write it.<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("patches", [1, 70])
def test_openrlhf(rubric: Rubric, scores: list[Score], patches: int) -> None:
    """The query holds the prompt with its image as tokens, and ends with the end of turn."""
    reward_func = openrlhf_reward_func(rubric)
    full = PROMPT.replace("<|image_pad|>", "<|image_pad|>" * patches)
    queries = [f"{full}{text}<|im_end|>" for text in ANSWERS]
    found = reward_func(queries, [PROMPT] * 8, LABELS)
    assert found["rewards"].tolist() == found["scores"].tolist()
    assert found["rewards"].tolist() == pytest.approx([score.total for score in scores], abs=1e-7)  # 32 bits
    for name, values in found["extra_logs"].items():
        expected = [math.nan if score.terms[name] is None else score.terms[name] for score in scores]
        assert values.tolist() == pytest.approx(expected, abs=1e-7, nan_ok=True)
    assert reward_func(queries[1:2], [PROMPT], LABELS[1:2])["rewards"].shape == (1,)  # as it calls today


def test_answers_are_found_behind_their_prompts() -> None:
    assert response_of("ab{}<|im_end|>\n<|endoftext|>", "ab") == "{}"
    assert response_of("ab{}</s>", "ab") == "{}"
    assert response_of('ab{"a": "</s> x"} y', "ab") == '{"a": "</s> x"} y'  # only at the end
    assert response_of("<image><image>? A: yes", "<image>? A:") == " yes"
    with pytest.raises(InputError, match=r"queries: expected texts that hold the end of their prompt '.* A:'"):
        response_of("something else", "<image>? A:")


@pytest.mark.parametrize("wrapped", [True, False])
def test_verifiers(rubric: Rubric, scores: list[Score], wrapped: bool) -> None:
    reward = verifiers_reward(rubric)
    for text, truth, score in zip(ANSWERS, LABELS, scores, strict=True):
        data = SimpleNamespace(ground_truth=truth)
        task = SimpleNamespace(data=data) if wrapped else data
        assert asyncio.run(reward(task=task, trace=SimpleNamespace(last_reply=text or None))) == score.total


@pytest.mark.parametrize(
    ("truth", "sentence"),
    [
        ("a man", "ground_truth: expected a ground-truth record as a JSON string, found .*adapters.label"),
        ("[]", "ground_truth: expected a JSON object, found"),
        (None, "ground_truth: expected a ground-truth record as a JSON string, found None"),
        (LABELS[1].replace('"frame":[1000.0,1000.0]', '"frame":[0,0]'), "ground_truth: frame: expected"),
        (LABELS[1].replace(',"frame":[1000.0,1000.0]', ""), "ground_truth: frame: expected width and height.*label"),
        (LABELS[1].replace('"width"', '"wide"'), "ground_truth: 'wide': expected only the keys"),
    ],
)
def test_a_wrong_label_is_one_sentence(truth: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        verl_compute_score(Rubric.of("paper-v4"))("r1sgg", ANSWERS[1], truth)
    assert "\n" not in str(error.value)


def test_scoring_needs_no_torch() -> None:
    """In a process where torch cannot be imported, all but OpenRLHF's tensors work."""
    code = f"""
import asyncio, sys
from types import SimpleNamespace
for name in ("torch", "transformers", "trl", "datasets"):
    sys.modules[name] = None
from r1sgg.errors import MissingDependencyError
from r1sgg.rewards import adapters
from r1sgg.rewards.rubric import Rubric
rubric, text, truth = Rubric.of("paper-v4"), {ANSWERS[1]!r}, {LABELS[1]!r}
functions, weights = adapters.trl_rewards(rubric)
assert functions[1](completions=[text], ground_truth=[truth]) == [1.0]
(first, *_) = adapters.ms_swift_orm(rubric).values()
assert first()([text], ground_truth=[truth]) == [1.0]
assert adapters.verl_compute_score(rubric)("x", text, truth)["score"] == 1.0
assert adapters.easyr1_compute_score(rubric)({{"response": text, "ground_truth": truth}})["overall"] == 1.0
task, trace = SimpleNamespace(ground_truth=truth), SimpleNamespace(last_reply=text)
assert asyncio.run(adapters.verifiers_reward(rubric)(task, trace)) == 1.0
try:
    adapters.openrlhf_reward_func(rubric)([text], [""], [truth])
except MissingDependencyError as error:
    assert "pip install" in str(error)
else:
    raise AssertionError("torch was imported")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
