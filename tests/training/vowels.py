"""Rewards in which two random completions differ, as a user's file of terms: a random model never writes a graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1sgg.rewards.evidence import CompletionEvidence
from r1sgg.rewards.rubric import DEFAULT_SET, REWARD_SETS, RewardSet


def vowels(evidence: CompletionEvidence) -> list[float]:
    """The vowels of a completion."""
    return [sum(letter in "aeiou" for letter in text) / 10 for text in evidence.texts]


def ranked(evidence: CompletionEvidence) -> list[float]:
    """The same, and more for each completion of the batch than for the one before it."""
    return [k + value for k, value in enumerate(vowels(evidence))]


def default(term: str) -> RewardSet:
    """The reward set that trains with a term of this file alone."""
    return RewardSet({f"{Path(__file__)}:{term}": 1.0}, "for tests")


def use(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train with a term of this file where a test names no rewards."""
    monkeypatch.setitem(REWARD_SETS, DEFAULT_SET, default(term))
