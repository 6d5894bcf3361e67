"""Tokens of an answer, one by one, as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from r1sgg.inference.engine import Piece

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, tags: bool = False) -> str:
    """The text of tokens, special ones left out unless their `tags` are wanted."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=not tags, clean_up_tokenization_spaces=False)
    return text


def pieces_of(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    text: str,
    logprobs: Sequence[float],
    allowed: Sequence[float] | None = None,
    *,
    tags: bool = False,
) -> tuple[Piece, ...]:
    """The tokens of an answer with their texts, which together are `text`.

    Args:
        tokenizer: what the ids mean.
        ids: the tokens, without the one that ended the turn.
        text: of them all, see `decode`.
        logprobs: of each.
        allowed: see `Piece`.
        tags: whether `text` has special tokens.
    """
    texts = [decode(tokenizer, [token], tags=tags) for token in ids]
    if "".join(texts) != text:  # characters of several tokens, or spaces that depend on what stands before
        ends = [0]
        for n in range(1, len(ids) + 1):
            begun = decode(tokenizer, ids[:n], tags=tags)
            ends.append(len(begun) if text.startswith(begun) else ends[-1])
        ends[-1] = len(text)
        texts = [text[start:end] for start, end in pairwise(ends)]
    return tuple(Piece(piece, logprobs[n], None if allowed is None else allowed[n]) for n, piece in enumerate(texts))
