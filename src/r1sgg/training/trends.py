"""Trends in a run's numbers that are trouble: each class is fed values and says when they show it.

Deliberately plain rules with room for noise; `r1sgg.training.guards` says what they mean.
"""

from __future__ import annotations

from collections import deque

_COLLAPSED, _SOUND = 0.5, 0.25  # share of answers that cannot be read: after a collapse, before it
_GROWN, _MORE = 1.5, 1.0  # relations per image: factor, and at least so many
_SAME = 0.01  # recall that is no gain
_BEYOND = 1.5  # times as many relations as are true
_FALLEN, _FALLEN_SHARE = 0.02, 0.1  # recall lost: points, and share of the best
_RISEN = 0.02  # reward gained: share of what it was


class Fall:
    """Answers that could be read and no longer can, for each kind of answers by itself."""

    def __init__(self) -> None:
        self._least: dict[str, float] = {}

    def seen(self, kind: str, failed: float) -> float | None:
        """The least share of failures before, if `failed` is a collapse from there."""
        least = self._least[kind] = min(failed, self._least.get(kind, 1.0))
        return least if failed >= _COLLAPSED and least <= _SOUND else None


class Enumeration:
    """Relations per image that grow beyond what is true while recall does not."""

    def __init__(self, window: int = 1) -> None:
        """Average over so many values."""
        self._last: deque[tuple[float, float]] = deque(maxlen=window)
        self._before: list[tuple[float, float]] = []

    def seen(self, relations: float, recall: float, true: float | None) -> str | None:
        """Take the next values; what they show beside those of another time, if it is this.

        Args:
            relations: per image, as answered.
            recall: of triplets, by any measure.
            true: relations per image, as annotated; None: not known, values are remembered and not judged.
        """
        self._last.append((relations, recall))
        if len(self._last) < (self._last.maxlen or 1):
            return None
        relations, recall = (sum(column) / len(self._last) for column in zip(*self._last, strict=True))
        many = true is not None and relations >= _BEYOND * true
        for before, found in self._before:
            if many and relations >= max(_GROWN * before, before + _MORE) and recall <= found + _SAME:
                return (
                    f"{relations:.1f} relations per image ({true:.1f} are annotated) in place of {before:.1f} before, "
                    f"and recall {recall:.3f} in place of {found:.3f}"
                )
        if not any(before <= relations and found >= recall for before, found in self._before):
            self._before.append((relations, recall))  # else an earlier one will always speak first
        return None


class Rivalry:
    """Reward that rises while the validation recall falls."""

    def __init__(self) -> None:
        self._paid: list[tuple[int, float]] = []
        self._best: tuple[int, float] | None = None

    def paid(self, step: int, reward: float) -> None:
        """The mean reward at a step."""
        self._paid.append((step, reward))

    def measured(self, step: int, recall: float) -> str | None:
        """Take the recall at a step; what it shows beside the best before, if it is this."""
        if self._best is None or recall >= self._best[1]:
            self._best = step, recall
            return None
        at, best = self._best
        now, then = self._around(step), self._around(at)
        if now is None or then is None or recall > best - max(_FALLEN, _FALLEN_SHARE * best):
            return None
        if now <= then + _RISEN * max(abs(then), 0.01):
            return None
        return (
            f"the reward rose from {then:.3f} to {now:.3f} while R@50 fell from {best:.3f} (step {at}) to {recall:.3f}"
        )

    def _around(self, step: int) -> float | None:
        """Mean of the three rewards logged nearest to a step."""
        nearest = sorted(self._paid, key=lambda row: abs(row[0] - step))[:3]
        return sum(reward for _, reward in nearest) / len(nearest) if nearest else None
