"""Similarity of labels: word vectors that ship with the package, equality, or a spaCy model, chosen by name.

A similarity is passed as a value, and its `name` is stored with every result. Labels must be normalised
(`r1sgg.graph.scene.normalize_name`). `LabelTable` caches all cosines, so that a batch is one array look-up. Nothing is
downloaded here; `make_glove.py` documents the source of the word vectors.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from r1sgg.errors import ConfigError, require

Array = npt.NDArray[np.float64]
Ids = npt.NDArray[np.intp]

SIMILARITIES = ("glove", "exact", "spacy:MODEL")
"""Names that `load_similarity` accepts."""


class LabelSimilarity(Protocol):
    """Compares labels; `name` is the argument of `load_similarity`."""

    name: str

    def table(self, a: Sequence[str], b: Sequence[str]) -> Array:
        """Return cosines (len(a), len(b)) in [-1, 1]; equal strings have exactly 1."""
        ...

    def __hash__(self) -> int:
        """Caches are keyed by it."""
        ...


def load_similarity(spec: str) -> LabelSimilarity:
    """Return a similarity by name: "glove", "exact" or "spacy:MODEL" (for example "spacy:en_core_web_md").

    Raises:
        ConfigError: an unknown name, or the spaCy model is not installed.
        MissingDependencyError: spaCy is not installed.
    """
    check_similarity(spec)
    if spec == "glove":
        return GloveSimilarity()
    return ExactSimilarity() if spec == "exact" else SpacySimilarity(spec.partition(":")[2])


def check_similarity(spec: str) -> None:
    """Refuse what `load_similarity` would refuse; nothing is loaded (spaCy imports torch where it finds it).

    Raises:
        ConfigError, MissingDependencyError: see `load_similarity`.
    """
    kind, _, model = spec.partition(":")
    if kind == "spacy" and model:
        if importlib.util.find_spec("spacy") is None:
            require("spacy", "spacy")
        if not Path(model).is_dir() and not _is_installed(model):
            raise ConfigError(
                f"similarity: expected an installed spaCy model, found {model!r}; run python -m spacy download"
            )
    elif spec not in ("glove", "exact"):
        raise ConfigError(f"similarity: expected one of {', '.join(SIMILARITIES)}, found {spec!r}")


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class ExactSimilarity:
    """1 for equal labels, 0 otherwise."""

    name = "exact"

    def table(self, a: Sequence[str], b: Sequence[str]) -> Array:
        """See `LabelSimilarity`."""
        return _equal(a, b).astype(np.float64)


class GloveSimilarity:
    """Cosine of GloVe-50 vectors; the vector of several words is their mean.

    A word without a vector is orthogonal to every other word: a label of such words is similar only to labels with the
    same words, and in a label of several words it lowers the similarity to labels without it. Loaded at the first call.
    """

    name = "glove"

    def table(self, a: Sequence[str], b: Sequence[str]) -> Array:
        """See `LabelSimilarity`."""
        unknown: dict[str, int] = {}
        left, right = _vectors(a, unknown), _vectors(b, unknown)
        dots = left[0] @ right[0].T
        squares = [(v * v).sum(1) for v, _ in (left, right)]
        if unknown:
            strange = [np.zeros((len(v), len(unknown))) for v, _ in (left, right)]
            for rows, (_, words) in zip(strange, (left, right), strict=True):
                for row, column in words:
                    rows[row, column] += _UNKNOWN_NORM
            dots += strange[0] @ strange[1].T
            squares = [s + (m * m).sum(1) for s, m in zip(squares, strange, strict=True)]
        norms = np.sqrt(squares[0])[:, None] * np.sqrt(squares[1])[None, :]
        cosines = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
        cosines = np.clip(cosines, -1.0, 1.0)
        cosines[_equal(a, b)] = 1.0
        return np.asarray(cosines)


_UNKNOWN_NORM = 5.0  # about the length of a common word's vector


def _vectors(labels: Sequence[str], unknown: dict[str, int]) -> tuple[Array, list[tuple[int, int]]]:
    """Return the sums of the labels' known vectors, (L, 50), and (label, column) of each word without a vector."""
    vectors, scales, row_of = _glove()
    sums = np.zeros((len(labels), vectors.shape[1]))
    strange: list[tuple[int, int]] = []
    for k, label in enumerate(labels):
        for word in label.split():
            row = row_of.get(word)
            if row is None:
                strange.append((k, unknown.setdefault(word, len(unknown))))
            else:
                sums[k] += vectors[row] * scales[row]
    return sums, strange


@functools.cache
def _glove() -> tuple[npt.NDArray[np.int8], Array, dict[str, int]]:
    """Load int8 vectors (W, 50), their scales (W,), and the row of each word."""
    with np.load(Path(__file__).with_name("glove.npz"), allow_pickle=False) as archive:
        words = archive["words"].tobytes().decode().split("\n")
        return (
            archive["vectors"],
            archive["scales"].astype(np.float64),
            dict(zip(words, range(len(words)), strict=True)),
        )


class SpacySimilarity:
    """Cosine of the vectors of a spaCy model, as in the original code (small models have no word vectors)."""

    def __init__(self, model: str) -> None:
        """Load the model.

        Raises:
            MissingDependencyError: spaCy is not installed.
        """
        self.name = f"spacy:{model}"
        self._pipeline: Any = require("spacy", "spacy").load(model)
        self._seen: dict[str, Array] = {}

    def table(self, a: Sequence[str], b: Sequence[str]) -> Array:
        """See `LabelSimilarity`."""
        cosines = np.clip(self._unit(a) @ self._unit(b).T, -1.0, 1.0)
        cosines[_equal(a, b)] = 1.0
        return np.asarray(cosines)

    def _unit(self, labels: Sequence[str]) -> Array:
        if len(self._seen) > _MAX_COLUMNS:
            self._seen.clear()
        for label in labels:
            if label not in self._seen:
                vector = np.asarray(self._pipeline(label).vector, dtype=np.float64)
                self._seen[label] = vector / (float(np.linalg.norm(vector)) or 1.0)
        return np.array([self._seen[label] for label in labels])


def _equal(a: Sequence[str], b: Sequence[str]) -> npt.NDArray[np.bool_]:
    index: dict[str, int] = {}
    left, right = (np.array([index.setdefault(s, len(index)) for s in side], dtype=np.intp) for side in (a, b))
    return np.asarray(left[:, None] == right[None, :])


class _Numbering(dict[str, int]):
    """Numbers keys in order of first use."""

    def __missing__(self, key: str) -> int:
        self[key] = number = len(self)
        return number


_MOST_ALIKE = 0.9  # names that differ, such as "riding riding" for "riding", are never as good as equal ones
_LEAST_RANGE = 1e-3  # avoids a division by zero for names that are similar to everything
_MAX_ROWS, _MAX_COLUMNS = 2048, 8192  # 128 MB of cosines; a closed vocabulary needs 200 x 200


class LabelTable:
    """A cache of cosines between true labels (rows) and any labels (columns), as one growing matrix.

    The cache is cleared when it has too many labels, as with open vocabularies in long runs. So call `make_room` before
    numbering a batch, and do not use the numbers of one batch in another.
    """

    def __init__(self, similarity: LabelSimilarity) -> None:
        """Create an empty table; nothing is loaded before the first batch."""
        self.similarity = similarity
        self._forget()

    def _forget(self) -> None:
        self._number = _Numbering()
        self._levels: dict[tuple[str, ...], Array] = {}
        self._row_of: Ids = np.full(256, -1, dtype=np.intp)
        self._rows: list[str] = []
        self._cosines: Array = np.zeros((64, 256))
        self._filled = 0

    def __len__(self) -> int:
        return len(self._number)

    def make_room(self) -> None:
        """Start a batch: clear the table if it has grown too large."""
        if len(self._rows) > _MAX_ROWS or len(self._number) > _MAX_COLUMNS:
            self._forget()

    def numbers(self, labels: Iterable[str]) -> Ids:
        """Number labels; equal labels have equal numbers."""
        return np.array(list(map(self._number.__getitem__, labels)), dtype=np.intp)

    def cosines(self, truth: Ids, other: Ids) -> Array:
        """Return cosines of numbered labels, pair by pair: (K,), (K,) -> (K,)."""
        if len(self._number) > self._filled:
            self._add_columns()
        rows = self._row_of[truth]
        if rows.size and rows.min() < 0:
            self._add_rows(np.unique(truth[rows < 0]))
            rows = self._row_of[truth]
        flat = rows * self._cosines.shape[1] + other  # twice as fast as [rows, other]
        return np.asarray(self._cosines.ravel().take(flat))

    def above_chance(self, truth: Ids, other: Ids, background: tuple[str, ...]) -> Array:
        """Return similarities rescaled so that a chance match has 0: (K,), (K,) -> (K,) in [0, 1].

        The chance level of a name is the mean of its cosines with `background`, plus two standard deviations; a cosine
        becomes (cosine - level) / (1 - level), at least 0 and at most 0.9; equal names have 1. A hub word is similar
        to everything ("on back of" has a mean cosine of 0.87 with predicates): its level is high, its score about 0.
        """
        level = self._chance(background)[other]
        rescaled = (self.cosines(truth, other) - level) / np.maximum(1.0 - level, _LEAST_RANGE)
        return np.where(truth == other, 1.0, np.clip(rescaled, 0.0, _MOST_ALIKE))

    def _chance(self, background: tuple[str, ...]) -> Array:
        levels = self._levels.get(background, np.zeros(0))
        if len(levels) < len(self._number):
            new = list(self._number)[len(levels) :]
            cosines = self.similarity.table(new, background)
            levels = np.concatenate((levels, cosines.mean(1) + 2 * cosines.std(1)))
            self._levels[background] = levels
        return levels

    def _add_columns(self) -> None:
        total = len(self._number)
        new = list(self._number)[self._filled :]
        if total > self._cosines.shape[1]:
            room = 2 * total - self._cosines.shape[1]
            self._cosines = np.pad(self._cosines, ((0, 0), (0, room)))
            self._row_of = np.pad(self._row_of, (0, room), constant_values=-1)
        if self._rows:
            self._cosines[: len(self._rows), self._filled : total] = self.similarity.table(self._rows, new)
        self._filled = total

    def _add_rows(self, numbers: Ids) -> None:
        labels = list(self._number)
        new = [labels[k] for k in numbers.tolist()]
        first = len(self._rows)
        self._rows += new
        if len(self._rows) > len(self._cosines):
            self._cosines = np.pad(self._cosines, ((0, 2 * len(self._rows) - len(self._cosines)), (0, 0)))
        self._row_of[numbers] = np.arange(first, len(self._rows))
        self._cosines[first : len(self._rows), : self._filled] = self.similarity.table(new, labels[: self._filled])
