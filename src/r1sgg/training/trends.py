"""Trends in a run's numbers that mean trouble: each class is fed values and reports when they show it.

Simple rules with a margin for noise; `r1sgg.training.guards` says what they mean.
"""

from __future__ import annotations

from collections import deque

_COLLAPSED, _SOUND = 0.5, 0.25  # share of unreadable completions: after a collapse, before it
_GROWN, _MORE = 1.5, 1.0  # growth of relations per image: factor, and at least this many
_SAME = 0.01  # a gain in recall up to this is none
_BEYOND = 1.5  # relations per image over annotated ones
_FALLEN, _FALLEN_SHARE = 0.02, 0.1  # loss of recall: points, and share of the best
_RISEN = 0.02  # gain in reward, as a share of its earlier value


class FormatCollapse:
    """Completions that could be read and no longer can, for each kind of completion by itself."""

    def __init__(self) -> None:
        self._least: dict[str, float] = {}

    def add(self, kind: str, failed: float) -> float | None:
        """Take the next share of failures; return the lowest one before it if this is a collapse from there."""
        least = self._least[kind] = min(failed, self._least.get(kind, 1.0))
        return least if failed >= _COLLAPSED and least <= _SOUND else None


class Enumeration:
    """Relations per image that grow beyond the annotated number while recall does not grow.

    Args:
        window: values are averaged over this many.
    """

    def __init__(self, window: int = 1) -> None:
        self._last: deque[tuple[float, float]] = deque(maxlen=window)
        self._before: list[tuple[float, float]] = []

    def add(self, relations: float, recall: float, true: float | None) -> str | None:
        """Take the next values; return a sentence if they show enumeration compared with an earlier time.

        Args:
            relations: per image, in the completions.
            recall: of triplets, by any measure.
            true: annotated relations per image; None if not known: the values are remembered and not judged.
        """
        self._last.append((relations, recall))
        if len(self._last) < (self._last.maxlen or 1):
            return None
        relations, recall = (sum(column) / len(self._last) for column in zip(*self._last, strict=True))
        many = true is not None and relations >= _BEYOND * true
        for before, found in self._before:
            if many and relations >= max(_GROWN * before, before + _MORE) and recall <= found + _SAME:
                return (
                    f"{relations:.1f} relations per image ({true:.1f} are annotated) instead of {before:.1f} before, "
                    f"and recall {recall:.3f} instead of {found:.3f}"
                )
        # Keep only points that no earlier one dominates (fewer relations and at least the recall): the others can never
        # be the reason for a report.
        if not any(before <= relations and found >= recall for before, found in self._before):
            self._before.append((relations, recall))
        return None


class RewardWithoutRecall:
    """Reward that rises while the recall on the validation set falls."""

    def __init__(self) -> None:
        self._rewards: list[tuple[int, float]] = []
        self._best: tuple[int, float] | None = None

    def add_reward(self, step: int, reward: float) -> None:
        """Take the mean reward at a step."""
        self._rewards.append((step, reward))

    def add_recall(self, step: int, recall: float) -> str | None:
        """Take the recall at a step; return a sentence if it fell from its best while the reward rose."""
        if self._best is None or recall >= self._best[1]:
            self._best = step, recall
            return None
        at, best = self._best
        now, then = self._reward_around(step), self._reward_around(at)
        if now is None or then is None or recall > best - max(_FALLEN, _FALLEN_SHARE * best):
            return None
        if now <= then + _RISEN * max(abs(then), 0.01):
            return None
        return (
            f"the reward rose from {then:.3f} to {now:.3f} while R@50 fell from {best:.3f} (step {at}) to {recall:.3f}"
        )

    def _reward_around(self, step: int) -> float | None:
        """Mean of the three rewards that were logged nearest to a step."""
        nearest = sorted(self._rewards, key=lambda row: abs(row[0] - step))[:3]
        return sum(reward for _, reward in nearest) / len(nearest) if nearest else None
