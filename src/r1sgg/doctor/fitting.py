"""Which convention the boxes of answers follow, by a fit that wrong boxes do not disturb.

Each candidate reads the written numbers as fractions of the image. A box is then either right, with normal errors of
one size, or wrong, that is anywhere:

    log likelihood = sum over boxes of log((1 - w) N(error; 0, s) + w)         the best s and w of a grid

so a candidate gains little by the boxes that are far off under all readings, and the one that explains most boxes most
closely wins. How sure that is comes from drawing the pictures again (a bootstrap with a fixed seed): rivals are the
candidates that explain at least 5 % of the draws as well. Two readings that lie less than `TWIN` of a side apart are
one for every purpose here. A shift of all boxes is fitted, too: a server that drops a part of the positions answers
with boxes that are beside their objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r1sgg.doctor.conventions import Candidate
from r1sgg.graph.scene import Boxes

TWIN = 0.002
"""Readings that differ by at most this share of a side count as one: 999 in place of 1000 moves a box by 0.001."""
LEAST_BOXES, LEAST_PICTURES = 6, 3
LEAST_RIGHT = 0.4
"""Share of boxes that the winner has to explain; less is chance."""
WORST_ERROR = 0.06
"""Standard error, as a share of a side, above which a fit is none."""
SHIFT = 0.02
"""A shift of all boxes by this share of a side or more is a fault."""

_SCALES = np.geomspace(2e-4, 0.1, 26)
_WRONG = np.array([0.02, 0.1, 0.2, 0.3, 0.45, 0.65, 0.9])
_DRAWS, _SEED, _RIVAL = 400, 0, 0.05
_MOST_SHIFT = 0.5
_SHIFT_PRICE = 6.0  # nats, so that a shift is only believed where it explains much

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answers:
    """Boxes of answers beside the shapes that they are of.

    Attributes:
        pictures: of each box the number of its picture, (N,).
        written: the four numbers as written, (N, 4).
        true: the true box, xyxy in fractions of the image, (N, 4).
    """

    pictures: NDArray[np.int64]
    written: Boxes
    true: Boxes

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a candidate explains the answers.

    Attributes:
        candidate: the convention.
        gain: log likelihood in nats, above that of "all boxes are wrong".
        error: standard error of the right boxes' sides, as a share of the image's side.
        right: share of the boxes that it explains.
        shift: mean distance of the right boxes from their places, x and y as shares of the sides.
        rival: share of the draws in which it does as well as the best.
    """

    candidate: Candidate
    gain: float
    error: float
    right: float
    shift: tuple[float, float]
    rival: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the fit says.

    Attributes:
        fits: all candidates, the best first.
        why_not: why nothing can be told; "" where the first fit is the answer.
        twins: fits that are one with the best for every purpose, see `TWIN`. Of those that the boxes do not tell apart
            the plainest convention is the best.
        shifted: whether the boxes are displaced, see `SHIFT`; the shift is that of the first fit.
    """

    fits: tuple[Fit, ...]
    why_not: str = ""
    twins: tuple[Fit, ...] = ()
    shifted: bool = False

    @property
    def best(self) -> Fit:
        """The first fit."""
        return self.fits[0]

    @property
    def runner_up(self) -> Fit | None:
        """The best fit that is no twin of the first."""
        alike = {id(fit) for fit in (self.best, *self.twins)}
        return next((fit for fit in self.fits if id(fit) not in alike), None)

    @property
    def margin(self) -> float:
        """How many nats the first fit is above the best one that is no twin of it."""
        return self.best.gain - (self.runner_up.gain if self.runner_up else 0.0)


def fit(answers: Answers, known: Sequence[Candidate], boxes: Sequence[Boxes]) -> Verdict:
    """Decide between candidates.

    Args:
        answers: the boxes that could be assigned to shapes.
        known: the candidates.
        boxes: the true boxes of each picture, for the distance of two readings.
    """
    pictures = len(set(answers.pictures.tolist()))
    if len(answers) < LEAST_BOXES or pictures < LEAST_PICTURES:
        expected = f"at least {LEAST_BOXES} boxes of named shapes, in at least {LEAST_PICTURES} pictures"
        found = f"{len(answers)} in {pictures}" if len(answers) else "none"
        return Verdict((), f"expected answers with {expected}, found {found}")
    errors = np.stack([_errors(answers, candidate) for candidate in known])  # C N 4
    plain = _Likelihood(errors, answers.pictures)
    moved_by = np.stack([_common_shift(rows) for rows in errors])  # C 2
    moved = _Likelihood(errors - np.tile(moved_by, 2)[:, None], answers.pictures, _SHIFT_PRICE)
    by = np.abs(moved_by).max(1)
    large = (by >= SHIFT) & (by <= _MOST_SHIFT)
    shifted = bool(large.any() and moved.gains[large].max() > plain.gains.max() + _SHIFT_PRICE)
    chosen = moved if shifted else plain
    order = np.argsort(-np.where(large, moved.gains, -np.inf) if shifted else -plain.gains, kind="stable")
    first = int(order[0])
    fits = tuple(
        Fit(
            known[c],
            float(chosen.gains[c]),
            float(chosen.scales[c]),
            float(chosen.right[c]),
            _pair(moved_by[c]),
            float((chosen.draws[c] >= chosen.draws[first]).mean()),
        )
        for c in map(int, order)
    )
    best = fits[0]
    if best.right < LEAST_RIGHT or best.error > WORST_ERROR:
        said = f"{best.candidate.name!r} explains {best.right:.0%} of the boxes, to {best.error:.1%} of a side"
        return Verdict(fits, f"no known frame explains them: the best, {said}")
    twins = [each for each in fits[1:] if best.candidate.distance(each.candidate, boxes) <= TWIN]
    alike = [best, *(twin for twin in twins if twin.rival >= _RIVAL)]
    plainest = min(alike, key=lambda each: known.index(each.candidate))  # of those that these boxes do not tell apart
    twins = [plainest, *(each for each in (best, *twins) if each is not plainest)]
    fits = (plainest, *(each for each in fits if each is not plainest))
    best, twins = plainest, twins[1:]
    others = [each for each in fits[1:] if each.rival >= _RIVAL and each not in twins]
    if others:
        names = " from ".join(repr(each.candidate.name) for each in (best, others[0]))
        return Verdict(fits, f"these answers do not tell {names}", tuple(twins), shifted)
    return Verdict(fits, "", tuple(twins), shifted)


class _Likelihood:
    """Log likelihoods of all candidates, on all boxes and on draws of the pictures.

    Attributes:
        gains: of the best scale and share, (C,).
        scales, right: that scale, and the share of boxes that are right by it, (C,).
        draws: the gains on each draw, (C, B).
    """

    def __init__(self, errors: Floats, pictures: NDArray[np.int64], price: float = 0.0) -> None:
        squares = (errors**2).sum(-1)  # C N
        s, w = (grid.ravel() for grid in np.meshgrid(_SCALES, _WRONG, indexing="ij"))
        density = -squares[:, None] / (2 * s[:, None] ** 2) - (4 * np.log(s) + 2 * np.log(2 * np.pi))[:, None]
        each = np.logaddexp(np.log1p(-w)[:, None] + density, np.log(w)[:, None])  # C G N
        total = each.sum(-1)
        place = total.argmax(1)
        rows = np.arange(len(errors))
        self.gains = total[rows, place] - price
        self.scales = s[place]
        right = 1 - np.exp(np.log(w[place])[:, None] - each[rows, place])
        self.right = right.mean(1)
        present, numbers = np.unique(pictures, return_inverse=True)
        drawn = np.random.default_rng(_SEED).multinomial(len(present), [1 / len(present)] * len(present), _DRAWS)
        counts = drawn[:, numbers].T.astype(np.float64)  # N B
        self.draws = np.stack([(grid @ counts).max(0) for grid in each]) - price


def _errors(answers: Answers, candidate: Candidate) -> Floats:
    """Distances of the read boxes from the true ones, in fractions, (N, 4)."""
    errors = np.empty_like(answers.true)
    for picture, frame in enumerate(candidate.frames):
        rows = answers.pictures == picture
        errors[rows] = frame.fractions(answers.written[rows]) - answers.true[rows]
    return errors


def _common_shift(errors: Floats) -> Floats:
    """The place, in x and y, where the errors of most boxes are: a mode, by the densest half of the boxes.

    The median would be pulled by wrong boxes, which are not spread evenly.
    """
    middles = (errors[:, :2] + errors[:, 2:]) / 2
    half = max(2, len(middles) // 2)
    shift = np.empty(2)
    for axis in range(2):
        values = np.sort(middles[:, axis])
        start = int(np.argmin(values[half - 1 :] - values[: len(values) - half + 1]))
        shift[axis] = np.median(values[start : start + half])
    return shift


def _pair(values: Floats) -> tuple[float, float]:
    return float(values[0]), float(values[1])
