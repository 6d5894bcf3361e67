"""Importance weights: on a language small enough to list, and of the shipped model."""

import itertools
import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.inference.engine import Completion, LogProbs, Piece
from r1sgg.inference.weights import effective_sample_size, log_weight, weighted_mean

# A model of words of two letters over "abc": the second depends on the first. The guide forbids "c" first, and what
# follows "a" but "b".
FIRST = {"a": 0.2, "b": 0.3, "c": 0.5}
SECOND = {"a": {"a": 0.6, "b": 0.3, "c": 0.1}, "b": {"a": 0.1, "b": 0.1, "c": 0.8}, "c": {"a": 1.0, "b": 0.0, "c": 0.0}}
ALLOWED = {"": "ab", "a": "b", "b": "abc"}


def guided(draw: random.Random) -> Completion:
    text, free, held, pieces = "", 0.0, 0.0, []
    for options in (FIRST, None):
        table = FIRST if options else SECOND[text]
        letters = ALLOWED[text]
        letter = draw.choices(letters, [table[x] for x in letters])[0]
        logs = math.log(table[letter]), math.log(table[letter] / sum(table[x] for x in letters))
        free, held = free + logs[0], held + logs[1]
        pieces.append(Piece(letter, *logs))
        text += letter
    return Completion(text, 2, "stop", logprobs=LogProbs(free, free / 2), pieces=tuple(pieces))


def test_weighted_guided_answers_are_the_model_s_own_valid_ones() -> None:
    valid = {a + b: FIRST[a] * SECOND[a][b] for a, b in itertools.product("ab", "abc") if b in ALLOWED[a]}
    truth = sum(p for text, p in valid.items() if text[0] == "a") / sum(valid.values())
    draw = random.Random(0)
    answers = [guided(draw) for _ in range(20_000)]
    values, logs = [float(a.text[0] == "a") for a in answers], [log_weight(a) for a in answers]
    plain = sum(values) / len(values)
    assert weighted_mean(values, logs) == pytest.approx(truth, abs=0.02)
    assert abs(plain - truth) > 0.2
    assert 1 < effective_sample_size(logs) < len(logs)


@given(st.lists(st.floats(-900, 900), min_size=1, max_size=20))
def test_effective_sizes_lie_between_1_and_the_number(logs: list[float]) -> None:
    assert 1 - 1e-9 <= effective_sample_size(logs) <= len(logs) + 1e-9
    assert effective_sample_size([logs[0]] * len(logs)) == pytest.approx(len(logs))
    assert weighted_mean([2.5] * len(logs), logs) == pytest.approx(2.5)


def test_without_a_guide_or_log_probabilities_there_is_no_weight() -> None:
    assert log_weight(Completion("a", 1, "stop", logprobs=LogProbs(-1, -1), pieces=(Piece("a", -1.0),))) is None
    assert log_weight(Completion("a", 1, "stop", pieces=(Piece("a", -1.0, 0.0),))) is None
    assert effective_sample_size([]) == 0
    with pytest.raises(ValueError, match="as many weights"):
        weighted_mean([1.0], [])


@pytest.mark.parametrize("otherwise", [["--temperature", "0"], ["--top-p", "0.9"], ["--top-k", "5"]])
def test_no_weight_is_written_where_it_would_not_hold(tmp_path: Path, otherwise: list[str]) -> None:
    out = tmp_path / "o.jsonl"
    asked = ["generate", "--images", "scenes:1,split=test,preset=small", "--out", str(out), "--logprobs", "--guide"]
    asked += ["--temperature", "1", "--max-new-tokens", "200", *otherwise]
    assert CliRunner().invoke(app, asked, catch_exceptions=False).exit_code == 0
    assert json.loads(out.read_text())["logprobs"].keys() == {"sum", "mean"}


def test_lines_of_guided_answers_hold_the_weight(tmp_path: Path) -> None:
    for guide in (True, False):
        out = tmp_path / f"{guide}.jsonl"
        asked = ["generate", "--images", "scenes:3,split=test,preset=small", "--out", str(out), "--logprobs"]
        asked += ["--temperature", "1", "--max-new-tokens", "200", *(["--guide"] if guide else [])]
        assert CliRunner().invoke(app, asked, catch_exceptions=False).exit_code == 0
        for row in map(json.loads, out.read_text().splitlines()):
            assert ("weight" in row["logprobs"]) == guide
            if guide:
                assert row["logprobs"]["sum"] - 1e-5 <= row["logprobs"]["weight"] <= 1e-5, (
                    "the guide raises probabilities"
                )
