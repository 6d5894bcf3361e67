"""A decoder's passes after its prompt, layer by layer: several new tokens for each row, as many as each has.

    row 0   prompt prompt prompt  a a a        slots of the cache; a row's tokens lie one behind the other
    row 1      .   prompt prompt  b            "." is padding on the left
    packed                        a a a b      what goes through norms and projections: no token is padded

The forward of transformers takes rows of one length, copies its cache to add to it, and spends more time in Python than
in products where a model is small. `Layers` calls the same projections in the same order. Its attention is written
once for all decoders in `KINDS`, which differ only in whether they normalise queries and keys. The prompt, with its
images, is read by transformers. Other decoders, and weights that are spread over processes, don't suit (`suits`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn import functional

KINDS = frozenset(
    (
        "LlamaDecoderLayer",
        "MistralDecoderLayer",
        "Qwen2DecoderLayer",
        "Qwen2VLDecoderLayer",
        "Qwen2_5_VLDecoderLayer",
        "Qwen3VLTextDecoderLayer",
        "Qwen3VLMoeTextDecoderLayer",
    )
)
"""Names of transformers' classes of decoder layers that compute what `Layers.read` does."""
_CHANGING = ("dynamic", "longrope")  # kinds of rotary embedding that depend on how long the text is
_ROOM = 128  # slots by which a cache grows at least

Function = Callable[[torch.Tensor], torch.Tensor]


def decoder_of(model: nn.Module) -> Any:
    """The part of a model with embeddings, layers, norm and rotary embedding; None where there is none."""
    parts = ("embed_tokens", "layers", "norm", "rotary_emb")
    return next((module for module in model.modules() if all(hasattr(module, part) for part in parts)), None)


def suits(model: nn.Module) -> bool:
    """Whether `Layers` can make a model's passes: its decoder is of a known kind, and its weights are all here."""
    decoder = decoder_of(model)
    if decoder is None or {type(layer).__name__ for layer in decoder.layers} - KINDS:
        return False
    text = decoder.config
    if (kinds := getattr(text, "layer_types", None)) is not None:
        slides = set(kinds) != {"full_attention"}
    else:
        slides = getattr(text, "sliding_window", None) is not None
    if slides or decoder.rotary_emb.rope_type in _CHANGING:
        return False
    hooked = any(hasattr(module, "_hf_hook") for module in model.modules())
    return not hooked and not any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters())


class _Layer:
    """What a layer is made of, taken apart once."""

    def __init__(self, layer: Any, keys: torch.Tensor, values: torch.Tensor) -> None:
        attention = layer.self_attn
        self.query, self.key, self.value, self.out = map(
            _plain, (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        )
        self.query_norm, self.key_norm = (
            _norm(getattr(attention, name)) if hasattr(attention, name) else None for name in ("q_norm", "k_norm")
        )
        self.size, self.scaling = attention.head_dim, attention.scaling
        self.before, self.behind = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)
        self.mlp = _gated(layer.mlp)
        self.keys, self.values = keys, values  # (rows, slots, heads, size)


def _called(module: nn.Module) -> Function:
    function: Function = module
    return function


def _plain(module: nn.Module) -> Function:
    """What a projection computes, without the cost of calling a module where it is nothing but that."""
    if type(module) is not nn.Linear or module._forward_hooks or module._forward_pre_hooks:
        return _called(module)
    return functools.partial(functional.linear, weight=module.weight, bias=module.bias)


def _norm(module: Any) -> Function:
    weight, shape, eps = module.weight, module.weight.shape, module.variance_epsilon

    def norm(hidden: torch.Tensor) -> torch.Tensor:
        if hidden.dtype != weight.dtype:  # under autocast
            return _called(module)(hidden)
        return functional.rms_norm(hidden, shape, weight, eps)

    return norm


def _gated(module: nn.Module) -> Function:
    if not all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")):
        return _called(module)
    gate, up, down = (_plain(module.get_submodule(f"{name}_proj")) for name in ("gate", "up", "down"))
    act: Any = module.act_fn
    return lambda hidden: down(act(gate(hidden)) * up(hidden))


class Layers:
    """The passes of one batch.

    Args:
        model: one that `suits`.
        cache: transformers' cache after the prompts.
        mask: (B, T) 0 where the prompts are padded on the left; None where they are not.
        position: the rotary position of each prompt's last token.
    """

    def __init__(self, model: Any, cache: Any, mask: torch.Tensor | None, position: Sequence[int]) -> None:
        self._decoder, self._head = decoder_of(model), _plain(model.get_output_embeddings())
        self._norm = _norm(self._decoder.norm)
        rows, _, length, _ = cache.layers[0].keys.shape
        self._room = length + _ROOM
        self._layers = []
        for layer, kept in zip(self._decoder.layers, cache.layers, strict=True):
            self._layers.append(_Layer(layer, self._buffer(kept.keys), self._buffer(kept.values)))
            kept.keys = kept.values = None
        self._device = self._layers[0].keys.device
        self._filled = [length] * rows
        self._first = [0] * rows if mask is None else (length - mask.sum(1)).tolist()
        # a token's rotary position less its slot: padding, and images whose positions are fewer than their tokens
        self._shift = [place + 1 - length for place in position]
        self._turns = self._table()

    def _buffer(self, kept: torch.Tensor) -> torch.Tensor:
        """(B, heads, T, size) -> (B, room, heads, size)."""
        rows, heads, length, size = kept.shape
        buffer = kept.new_zeros(rows, self._room, heads, size)  # masked slots count zero times what lies in them
        buffer[:, :length] = kept.transpose(1, 2)
        return buffer

    def _table(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and signed sines (positions, 1, size) of rotary positions, for every slot there is room for."""
        positions = torch.arange(self._room + max(0, *self._shift) + 1, device=self._device)
        cos, sin = self._decoder.rotary_emb(self._layers[0].keys, positions[None])
        half = sin.shape[-1] // 2
        return cos[0, :, None], torch.cat((-sin[0, :, None, :half], sin[0, :, None, half:]), -1)

    def _grow(self, length: int) -> None:
        self._room = max(length, self._room + self._room // 2, self._room + _ROOM)
        for layer in self._layers:
            layer.keys, layer.values = self._larger(layer.keys), self._larger(layer.values)
        self._turns = self._table()

    def _larger(self, old: torch.Tensor) -> torch.Tensor:
        buffer = old.new_zeros(len(self._filled), self._room, *old.shape[2:])
        buffer[:, : old.shape[1]] = old[: len(self._filled)]
        return buffer

    def drop(self, row: int) -> None:
        """Forget a row; the last row takes its place."""
        last = len(self._filled) - 1
        if row < last:
            filled = self._filled[last]
            for layer in self._layers:
                layer.keys[row, :filled] = layer.keys[last, :filled]
                layer.values[row, :filled] = layer.values[last, :filled]
        for column in (self._filled, self._first, self._shift):
            column[row] = column[last]
            column.pop()

    def read(self, runs: Sequence[Sequence[int]]) -> torch.Tensor:
        """Pass new tokens through the model.

        Args:
            runs: for each row, at least one.

        Returns:
            (n, V) logits behind each of the tokens, row by row.
        """
        widths = [len(run) for run in runs]
        ends = [filled + width for filled, width in zip(self._filled, widths, strict=True)]
        if max(ends) > self._room:
            self._grow(max(ends))
        slots = [slot for filled, end in zip(self._filled, ends, strict=True) for slot in range(filled, end)]
        rows = [row for row, width in enumerate(widths) for _ in range(width)]
        table = [
            [token for run in runs for token in run],
            [row * self._room + slot for row, slot in zip(rows, slots, strict=True)],
            [slot + self._shift[row] for row, slot in zip(rows, slots, strict=True)],
        ]
        tokens, places, positions = torch.tensor(table, device=self._device)
        self._filled = ends
        attend = _Attention(widths, slots, self._first, self._device)
        cos, sin = (turn[positions] for turn in self._turns)
        hidden = self._decoder.embed_tokens(tokens)[None]
        for layer in self._layers:
            hidden = self._pass(layer, hidden, cos, sin, places, attend)
        logits: torch.Tensor = self._head(self._norm(hidden))[0]
        return logits

    def _pass(
        self,
        layer: _Layer,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        places: torch.Tensor,
        attend: _Attention,
    ) -> torch.Tensor:
        """One layer: hidden states (1, n, H) -> the same."""
        normed = layer.before(hidden)
        count, size = len(places), layer.size
        query = layer.query(normed).view(count, -1, size)
        key = layer.key(normed).view(count, -1, size)
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = layer.query_norm(query), layer.key_norm(key)
        both = torch.cat((query, key), 1)
        both = torch.addcmul(both * cos, both.roll(size // 2, -1), sin)
        query, key = both[:, : query.shape[1]], both[:, query.shape[1] :]
        value = layer.value(normed).view(count, -1, size)
        layer.keys.flatten(0, 1).index_copy_(0, places, key.to(layer.keys.dtype))
        layer.values.flatten(0, 1).index_copy_(0, places, value.to(layer.values.dtype))
        hidden = hidden + layer.out(attend(query, layer.keys, layer.values, layer.scaling))
        return hidden + layer.mlp(layer.behind(hidden))


class _Attention:
    """Attention of packed tokens to their own rows.

    Args:
        widths: new tokens of each row.
        slots: where each of the n tokens lies in its row.
        first: each row's first slot that is no padding.
        device: where the cache is.
    """

    def __init__(self, widths: Sequence[int], slots: Sequence[int], first: Sequence[int], device: torch.device) -> None:
        self._rows, self._width, self._length = len(widths), max(widths), max(slots) + 1
        # packed -> padded: rows with fewer tokens repeat their last one; padded -> packed leaves the repeats out
        self._padded: torch.Tensor | None = None
        self._mask: torch.Tensor | None = None
        at, padded, packed = 0, list[int](), list[int]()
        for row, width in enumerate(widths):
            padded += [*range(at, at + width), *[at + width - 1] * (self._width - width)]
            packed += range(row * self._width, row * self._width + width)
            at += width
        if len(packed) < len(padded):
            self._padded, self._packed = (torch.tensor(places, device=device) for places in (padded, packed))
        if any(first) or len(set(slots)) > 1:
            seen = torch.tensor([slots[k] for k in padded], device=device).view(self._rows, self._width, 1)
            keys = torch.arange(self._length, device=device)
            self._mask = keys <= seen
            if any(first):
                self._mask &= keys >= torch.tensor(first, device=device)[:, None, None]

    def __call__(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float) -> torch.Tensor:
        """Queries (n, heads, size), cache (rows, slots, kv heads, size) -> (1, n, heads * size).

        Query heads that share keys are taken as further tokens, so that no key is copied.
        """
        rows, width, mask = self._rows, self._width, self._mask
        heads, size, shared = query.shape[1], query.shape[2], keys.shape[2]
        groups = heads // shared
        if self._padded is not None:
            query = query[self._padded]
        query = query.reshape(rows, width, shared, groups, size).permute(0, 2, 3, 1, 4)
        if mask is not None:
            mask = mask[:, None, None].expand(rows, 1, groups, width, self._length).flatten(2, 3)
        found = functional.scaled_dot_product_attention(
            query.reshape(rows, shared, groups * width, size),
            keys[:rows, : self._length].transpose(1, 2),
            values[:rows, : self._length].transpose(1, 2),
            attn_mask=mask,
            scale=scaling,
        )
        found = found.view(rows, shared, groups, width, size).permute(0, 3, 1, 2, 4).reshape(1, -1, heads * size)
        return found if self._padded is None else found[:, self._packed]
