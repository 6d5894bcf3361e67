"""The tokens of a vocabulary as bytes: which exist, which continue a text, and how few of them spell it.

A guide works on bytes, so no choice of tokens can surprise it: "man", "ma" + "n" and "man" + '.1"' are all the same
text to it. It deliberately never encodes a whole answer; the tokenizer's own encoding is asked only for how it would
write the fixed parts of one (`TokenTable.usual`).
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from string import ascii_letters, digits, punctuation
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from r1sgg.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = npt.NDArray[np.int64]
Bits = npt.NDArray[np.int32]
"""A set of tokens, token k at bit k % 32 of word k // 32 (the layout of xgrammar, llguidance and vLLM)."""

IMPOSSIBLE = 1 << 20
"""The number of tokens that spell what cannot be spelled."""
_MEMO = 1 << 16


class TokenTable:
    """Every token that an answer may hold, as bytes.

    Args:
        pieces: bytes of each token; None for special tokens, which no answer holds.
        end: the token that ends a turn.
        encode: text -> tokens, the tokenizer's own way; None where none is preferred.
        cuts: text -> the offsets (in characters) at which that way always begins anew; None where there are none.
    """

    def __init__(
        self,
        pieces: Sequence[bytes | None],
        end: int,
        encode: Callable[[str], list[int]] | None = None,
        cuts: Callable[[str], list[int]] | None = None,
    ) -> None:
        self.pieces = list(pieces)
        self.end = end
        self.encode, self.cuts = encode, cuts
        self.size = len(self.pieces)
        self.pieces[end] = None
        found: dict[bytes, list[int]] = {}
        for token, piece in enumerate(self.pieces):
            if piece:
                found.setdefault(piece, []).append(token)
        self.ids: dict[bytes, tuple[int, ...]] = {piece: tuple(ids) for piece, ids in found.items()}
        self.ordered = sorted(self.ids)
        self._longest = [0] * 256
        for piece in self.ordered:
            self._longest[piece[0]] = max(self._longest[piece[0]], len(piece))
        self._costs: dict[bytes, tuple[int, ...]] = {}
        self._kept: dict[str, dict[Any, Any]] = {}

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, end: int | None = None, without: Iterable[int] = ()) -> TokenTable:
        """The table of a Hugging Face tokenizer (about a second for 151,643 tokens; keep it).

        Args:
            tokenizer: a fast one, byte-level or SentencePiece-like.
            end: the token that ends a turn; the tokenizer's own where None.
            without: more tokens that no answer may hold.

        Raises:
            ModelError: its tokens do not stand for fixed pieces of text, or it has no end-of-turn token.
        """
        name = tokenizer.name_or_path or type(tokenizer).__name__
        end = tokenizer.eos_token_id if end is None else end
        if end is None:
            raise ModelError(f"{name}: the tokenizer has no end-of-turn token, so no answer can be ended")
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(f"{name}: a guide needs a fast tokenizer (tokenizer.json), found a slow one")
        convert = _converter(json.loads(backend.to_str()).get("decoder"), name)
        pieces: list[bytes | None] = [None] * len(tokenizer)
        vocabulary = tokenizer.get_vocab()
        for text, token in vocabulary.items():
            pieces[token] = convert(text)
            if convert is _sentence_piece and _BYTE.fullmatch(text) and _stored(convert(text)) in vocabulary:
                pieces[token] = None  # beside half a character, decoding would lose this one
        for token, added in tokenizer.added_tokens_decoder.items():
            pieces[token] = None if added.special else added.content.encode()
        for token in (*tokenizer.all_special_ids, *without):
            if token < len(pieces):
                pieces[token] = None

        def encode(text: str) -> list[int]:
            return list(tokenizer.encode(text, add_special_tokens=False))

        def cuts(text: str) -> list[int]:
            return [offset for _, span in backend.pre_tokenizer.pre_tokenize_str(text) for offset in span]

        table = cls(pieces, end, encode, None if backend.pre_tokenizer is None else cuts)
        ids = encode(_PROBE)
        spelled = b"".join(table.pieces[k] or b"" for k in ids).decode("utf-8", "replace")
        if _PROBE not in (spelled, spelled.removeprefix(" ")) or tokenizer.decode(ids).strip() != _PROBE:
            raise ModelError(f"{name}: expected tokens that stand for fixed pieces of text, found others")
        return table

    def range(self, prefix: bytes) -> Sequence[bytes]:
        """The tokens that begin with `prefix`, itself included, in order."""
        if not prefix:
            return self.ordered
        low = bisect_left(self.ordered, prefix)
        high = bisect_right(self.ordered, prefix + b"\xff" * 2, low)  # no UTF-8 text holds two of them
        return self.ordered[low:high]

    def begins(self, prefix: bytes) -> bool:
        """Whether some token begins with `prefix`, or is it."""
        k = bisect_left(self.ordered, prefix)
        return k < len(self.ordered) and self.ordered[k].startswith(prefix)

    def extends(self, prefix: bytes) -> bool:
        """Whether some token begins with `prefix` and goes on."""
        k = bisect_right(self.ordered, prefix)
        return k < len(self.ordered) and self.ordered[k].startswith(prefix)

    def longest(self, start: bytes) -> int:
        """Length of the longest token that begins with the first byte of `start`."""
        return self._longest[start[0]] if start else 0

    def costs(self, text: bytes) -> tuple[int, ...]:
        """For each position of a text, the fewest tokens that spell the rest of it; 0 behind its end."""
        if (known := self._costs.get(text)) is not None:
            return known
        costs = [0] * (len(text) + 1)
        for k in range(len(text) - 1, -1, -1):
            best = IMPOSSIBLE
            for n in range(1, min(self._longest[text[k]], len(text) - k) + 1):
                if costs[k + n] < best - 1 and text[k : k + n] in self.ids:
                    best = costs[k + n] + 1
            costs[k] = best
        if len(self._costs) >= _MEMO:
            self._costs.clear()
        self._costs[text] = known = tuple(costs)
        return known

    def cost(self, text: bytes) -> int:
        """The fewest tokens that spell a text; `IMPOSSIBLE` or more where none do."""
        return self.costs(text)[0]

    def worst(self, text: bytes) -> int:
        """The most tokens that the rest of a text can take, wherever one begins that can be spelled."""
        return max(cost for cost in self.costs(text) if cost < IMPOSSIBLE)

    def spell(self, text: bytes) -> list[int]:
        """A shortest way to spell a text that can be spelled, of several the one with the longest first tokens."""
        costs = self.costs(text)
        tokens = []
        k = 0
        while k < len(text):
            n = min(self._longest[text[k]], len(text) - k)
            while costs[k + n] != costs[k] - 1 or text[k : k + n] not in self.ids:
                n -= 1
            tokens.append(self.ids[text[k : k + n]][0])
            k += n
        return tokens

    def usual(self, before: Sequence[str], text: str, after: Sequence[str]) -> dict[int, int]:
        """Offsets (in bytes) of `text` at which the tokenizer itself begins a token that ends inside, and the token.

        Only where it writes the same one in all the contexts, and where no token runs on into what follows: what may
        depend on the neighbours is left out.
        """
        if self.encode is None:
            return {}
        agreed: dict[int, int] | None = None
        for head in before:
            for tail in after:
                found = self._inside(head, text, tail, self.encode)
                agreed = found if agreed is None else {k: t for k, t in agreed.items() if found.get(k) == t}
        starts = [kind for kind in _KINDS if any(tail[:1].encode() in kind for tail in after if tail)]
        return {k: t for k, t in (agreed or {}).items() if not self._runs_on(text.encode()[k:], starts)}

    def first(self, before: str, text: str, after: str) -> int | None:
        """The token that the tokenizer itself begins a text with, in a context; None where it holds one byte of it, or
        is not known.
        """
        if self.encode is None:
            return None
        start, ids = len(before.encode()), self.encode(before + text + after)
        position = len((before + text + after).encode()) - sum(len(self.pieces[token] or b"") for token in ids)
        for token in ids:
            position += len(self.pieces[token] or b"")
            if position > start:
                return token if position > start + 1 else None
        return None

    def own(self, contexts: Sequence[tuple[str, str]], texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens of each text as the tokenizer itself writes it, whatever its neighbours are like.

        That is so where it always begins anew at both ends of a text: where its first step (the pre-tokenizer, which
        looks at kinds of characters) cuts there in every context. A text with other ends has no tokens here.

        Args:
            contexts: what may stand before and behind a text.
            texts: what may be written.
        """
        agreed: list[tuple[int, ...]] | None = None
        for head, tail in contexts:
            found = self._cut_out(head, texts, tail)
            agreed = found if agreed is None else [a if a == b else () for a, b in zip(agreed, found, strict=True)]
        return agreed or [()] * len(texts)

    def _cut_out(self, head: str, texts: Sequence[str], tail: str) -> list[tuple[int, ...]]:
        """Tokens of each text in one context, of those at whose ends the tokenizer cuts."""
        if self.encode is None or self.cuts is None:
            return [()] * len(texts)
        whole = "".join(f"{head}{text}{tail}" for text in texts)
        cuts = set(self.cuts(whole))
        ids = self.encode(whole)
        pieces = [self.pieces[token] or b"" for token in ids]
        position = len(whole.encode()) - sum(map(len, pieces))  # SentencePiece adds a space in front
        starts: dict[int, int] = {}  # of tokens, by their first byte
        for token, piece in zip(ids, pieces, strict=True):
            starts[position] = token
            position += len(piece)
        found: list[tuple[int, ...]] = []
        at, byte = 0, 0  # of characters and of bytes
        for text in texts:
            at, byte = at + len(head), byte + len(head.encode())
            end = byte + len(text.encode())
            tokens: list[int] = []
            if at in cuts and at + len(text) in cuts:
                place = byte
                while place < end and place in starts:
                    tokens.append(starts[place])
                    place += len(self.pieces[tokens[-1]] or b"") or len(text)
            found.append(tuple(tokens))
            at, byte = at + len(text) + len(tail), end + len(tail.encode())
        return found

    def _runs_on(self, text: bytes, starts: Sequence[tuple[bytes, ...]]) -> bool:
        """Whether some token holds all of a text and goes on with a byte of these kinds."""
        return any(self.begins(text + byte) for kind in starts for byte in kind)

    def _inside(self, head: str, text: str, tail: str, encode: Callable[[str], list[int]]) -> dict[int, int]:
        """Tokens of head + text + tail that lie inside of text, by their offsets in it."""
        whole = (head + text + tail).encode()
        ids = encode(head + text + tail)
        pieces = [self.pieces[k] or b"" for k in ids]
        position = len(whole) - sum(map(len, pieces)) - len(head.encode())  # SentencePiece adds a space in front
        if not b"".join(pieces).endswith(whole):
            return {}
        found = {}
        for token, piece in zip(ids, pieces, strict=True):
            if position >= 0 and position + len(piece) <= len(text.encode()):
                found[position] = token
            position += len(piece)
        return found

    def kept(self, kind: str, key: Any, make: Callable[[], Any], most: int = 4096) -> Any:
        """What `make` gives for a key, made once; of each kind at most `most` are kept."""
        store = self._kept.setdefault(kind, {})
        if (known := store.get(key)) is None:
            if len(store) >= most:
                store.clear()
            known = store[key] = make()
        return known

    @cached_property
    def words(self) -> int:
        """Number of 32-bit words of a set of tokens."""
        return -(-self.size // 32)

    def pack(self, ids: Ids) -> Bits:
        """Token ids as a set of bits."""
        flags = np.zeros(self.words * 32, dtype=np.bool_)
        flags[ids] = True
        return np.packbits(flags, bitorder="little").view(np.int32)


# ---------------------------------------------------------------- how tokenizers store bytes

_KINDS = tuple(tuple(c.encode() for c in kind) for kind in (digits, ascii_letters, punctuation + " \n"))
_PROBE = '{"objects": [{"id": "traffic light.12", "bbox": [0, 17, 250, 999]}]} <think> 3 é'


def _converter(decoder: Any, name: str) -> Callable[[str], bytes]:
    """Entry of a vocabulary -> the bytes it stands for, by the tokenizer's own decoder."""
    parts = [decoder, *(decoder or {}).get("decoders", [])] if decoder else []
    kinds = {part["type"] for part in parts}
    if "ByteLevel" in kinds:
        return _byte_level
    spaces = [part["pattern"].get("String") for part in parts if part["type"] == "Replace"]
    if "Metaspace" in kinds or "▁" in spaces:
        return _sentence_piece
    raise ModelError(f"{name}: a guide knows byte-level and SentencePiece-like tokenizers, found {sorted(kinds)}")


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes: the printable Latin-1 characters as they are, the others from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + k): b for k, b in enumerate(others)}


_ALPHABET = _byte_level_alphabet()


def _byte_level(text: str) -> bytes:
    try:
        return bytes(map(_ALPHABET.__getitem__, text))
    except KeyError:  # an added token, stored as it is written
        return text.encode()


_BYTE = re.compile("<0x[0-9A-F]{2}>")


def _sentence_piece(text: str) -> bytes:
    return bytes([int(text[3:5], 16)]) if _BYTE.fullmatch(text) else text.replace("▁", " ").encode()


def _stored(piece: bytes) -> str:
    return piece.decode("latin-1").replace(" ", "▁")


_MEDIA = (
    *("image_token_id", "video_token_id", "audio_token_id", "vision_start_token_id", "vision_end_token_id"),
    *("image_start_token_id", "image_end_token_id", "video_start_token_id", "video_end_token_id"),
    *("boi_token_id", "eoi_token_id", "boa_token_id", "eoa_token_index"),
)
"""Names that configs give to tokens which stand for an image, a video or a sound, or begin and end one."""


def suppressed_token_ids(config: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """List the ids that a completion must not contain: tokens of images, videos and sounds, and rows of the embedding
    without a token.

    A sampled image token makes the next model pass fail ("image features and image tokens do not match").
    """
    vision = {i for i in (getattr(config, name, None) for name in _MEDIA) if i is not None}
    return sorted(vision | set(range(len(tokenizer), config.get_text_config().vocab_size)))
