"""Reward terms of a user's file: the same everywhere they can be named, and one sentence for each mistake."""

import json
from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.data.base import Example
from r1sgg.errors import ConfigError
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import render
from r1sgg.rewards import adapters
from r1sgg.rewards.rubric import Rubric, check_rewards

FRAME = (1000.0, 1000.0)
OBJECTS = [SceneObject("man.1", "man", (0.1, 0.1, 0.3, 0.5)), SceneObject("horse.1", "horse", (0.2, 0.3, 0.8, 0.9))]
TRUTH = SceneGraph.build(OBJECTS, [Relationship(0, "riding", 1)])
TERMS = '''
import numpy as np

def few_objects(evidence):
    """1 for at most three objects."""
    return np.array([float(len(parsed.graph) <= 3) for parsed in evidence.parsed])

def right_pairs(evidence):
    pairs = evidence.per_graph(evidence.true.triplet_owners[evidence.left[evidence.ends_claimed]])
    return np.where(evidence.true.triplet_counts > 0, pairs, np.nan)

def penalty(evidence):
    return [-0.5] * len(evidence)
'''


@pytest.fixture
def rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rewards.py").write_text(TERMS)
    return tmp_path


def total(rubric: Rubric) -> float:
    return rubric.score([render(TRUTH, FRAME, think=True)], [TRUTH], [FRAME])[0].total


def test_a_file_a_json_text_and_a_mapping_mean_the_same(rewards: Path) -> None:
    weights = {"format": 1, "my_rewards.py:few_objects": 2}
    for given in (weights, json.dumps(weights), {"format": 1.0, f"{rewards}/my_rewards.py:few_objects": 2.0}):
        rubric = Rubric.of(given)
        assert rubric.weights == {"format": 1.0, "few_objects": 2.0}
        assert total(rubric) == 1.0
    alone = Rubric.of("my_rewards.py:few_objects")
    assert (alone.weights, total(alone)) == ({"few_objects": 1.0}, 1.0)
    assert alone.about("few_objects") == "1 for at most three objects."


def test_a_term_may_be_negative_and_may_not_apply(rewards: Path) -> None:
    rubric = Rubric.of({"my_rewards.py:penalty": 1, "my_rewards.py:right_pairs": 1})
    bare = SceneGraph.build(OBJECTS)
    first, second = rubric.score([render(TRUTH, FRAME)] * 2, [TRUTH, bare], [FRAME] * 2)
    assert first.terms["penalty"] == -0.5
    assert (second.terms["right_pairs"], second.total) == (None, -0.5)


def test_a_module_that_is_installed(rewards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(rewards))
    assert total(Rubric.of("my_rewards:few_objects")) == 1.0


def test_score_and_every_adapter_take_it(rewards: Path) -> None:
    case = {"image_id": "1", "width": 1000, "height": 1000, "completion": render(TRUTH, FRAME, think=True)}
    example = Example("1", 1000, 1000, TRUTH).to_record()
    (rewards / "cases.jsonl").write_text(json.dumps({**case, **example, "frame": FRAME}) + "\n")
    options = ["--out", "out.jsonl", "--rewards", '{"format": 1, "my_rewards.py:few_objects": 2}']
    result = CliRunner().invoke(app, ["score", "cases.jsonl", *options])
    assert result.exit_code == 0, result.output
    line = orjson.loads((rewards / "out.jsonl").read_bytes())
    assert (line["few_objects"], line["total"]) == (1.0, 1.0)

    rubric = Rubric.of(options[-1])
    label = adapters.label(Example("1", 1000, 1000, TRUTH), FRAME)
    text = case["completion"]
    functions, weights = adapters.trl_rewards(rubric)
    assert [f.__name__ for f in functions] == ["format", "few_objects"]
    assert weights == [1.0, 2.0]
    assert [f(completions=[text], ground_truth=[label])[0] for f in functions] == [1.0, 1.0]
    assert adapters.verl_compute_score(rubric)("", text, label)["few_objects"] == 1.0
    assert adapters.easyr1_compute_score(rubric)({"response": text, "ground_truth": label})["few_objects"] == 1.0
    assert list(adapters.ms_swift_orm(rubric)) == ["r1sgg_format", "r1sgg_few_objects"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def term(evidence):\n    return 1 +\n", r"my_rewards.py:2: SyntaxError: "),
        ("import nothing_of_that_name\n", r"my_rewards.py:1: ModuleNotFoundError: No module named 'nothing_of"),
        ("x = 1\n\n\ndef term(evidence):\n    return evidence.no_such\n", r"my_rewards.py:5: AttributeError: "),
        ("def term(evidence):\n    return {}[1]\n", r"my_rewards.py:2: KeyError: 1"),
        ("def term(evidence):\n    raise ValueError('a\\nb')\n", r"my_rewards.py:2: ValueError: a b"),
        ("import sys\nsys.exit(3)\n", r"my_rewards.py:2: SystemExit: 3"),
        ("def term(evidence, more):\n    return 1\n", r"my_rewards.py: TypeError: term\(\) missing 1 required"),
        ("def other(evidence):\n    return 1\n", r"expected a function 'term', found other"),
        ("term = 3\n", r"expected a function 'term', found none"),
        (
            "def term(evidence):\n    return 1.0\n",
            r"expected 1 numbers, one per completion, found an array of shape \(\)",
        ),
        ("def term(evidence):\n    return ['a']\n", r"expected 1 numbers, found \['a'\]"),
        (
            "def term(evidence):\n    return [float('inf')]\n",
            r"my_rewards.py:1\): expected numbers from -1e\+06 to 1e\+06",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(rewards: Path, source: str, said: str) -> None:
    (rewards / "my_rewards.py").write_text(source)
    with pytest.raises(ConfigError, match=said) as found:
        total(Rubric.of("my_rewards.py:term"))
    assert "\n" not in str(found.value)


def test_what_is_no_reward_is_one_sentence(rewards: Path) -> None:
    for given, said in (
        ("nowhere.py:term", "expected a Python file, found none at nowhere.py"),
        ({"my_rewards.py:few_objects": "2"}, "expected a number, found '2'"),
        ("paper", "expected one of paper-v1, .*, terms and weights as JSON, or FILE.py:FUNCTION, found 'paper'"),
        ('{"format": 1', "expected terms and weights"),
        ({"nodes": 1.0}, "expected a term among node, .*found 'nodes'"),
        ({}, "expected a reward set or terms and weights"),
    ):
        with pytest.raises(ConfigError, match=said):
            Rubric.of(given)
    (rewards / "mine.py").write_text("def format(evidence):\n    return [1.0] * len(evidence)\n")
    with pytest.raises(
        ConfigError, match="expected a name of its own, found that of a term or of a field of the results"
    ):
        Rubric.of("mine.py:format")
    with pytest.raises(DeprecationWarning, match=r"Rubric.named is now Rubric.of"):
        Rubric.named("paper-v1")


def test_the_evidence_holds_what_a_term_needs() -> None:
    rubric = Rubric.of("paper-v1")
    text = render(TRUTH, FRAME)
    evidence = rubric.evidence([text], rubric.read([text], [TRUTH], [FRAME]), [TRUTH], [FRAME])
    assert (evidence.texts, evidence.truths, evidence.frames) == ([text], [TRUTH], [FRAME])
    assert evidence.parsed[0].graph == TRUTH
    assert np.array_equal(evidence.hits, [True])


def test_a_reward_is_looked_up_without_running_its_file(rewards: Path) -> None:
    """`grpo` asks before it imports torch: what is refused then is what would be refused later, and nothing else."""
    (rewards / "odd.py").write_text(
        "raise RuntimeError\nfrom numpy import mean\nif True:\n    def inner(e): ...\nfirst = second = mean\n"
    )
    (rewards / "star.py").write_text("from my_rewards import *\n")
    (rewards / "made.py").write_text('for name in ("a", "b"):\n    globals()[name] = print\n')
    (rewards / "broken.py").write_text("def term(:\n")
    for right in (
        *("balanced", "my_rewards.py:few_objects", "star.py:few_objects", "json:loads", "made.py:b"),
        *("odd.py:inner", "odd.py:mean", "odd.py:second", '{"format": 1, "my_rewards.py:penalty": 2}'),
    ):
        check_rewards(right)
    wrong = {
        "balance": "expected one of paper-v1",
        "nothing.py:term": "expected a Python file, found none at nothing.py",
        "my_rewards.py:few": "expected a function 'few', found few_objects, np, penalty, right_pairs",
        "my_rewards.py:node": "expected a name of its own",
        "broken.py:term": "broken.py:1: SyntaxError",
        ":term": "expected FILE.py:FUNCTION, found ':term'",
        "mine.py:": "expected FILE.py:FUNCTION, found 'mine.py:'",
        "no_such_package.rewards:term": "found no module 'no_such_package'",
        '{"formt": 1}': "expected a term among",
        '{"format": -1}': "expected numbers of at least 0, found format: -1",
        "{": "expected terms and weights",
    }
    for given, says in wrong.items():
        with pytest.raises(ConfigError, match=r"^reward") as error:
            check_rewards(given)
        assert says in str(error.value)
        with pytest.raises(ConfigError):
            Rubric.of(given)
