"""Bytes on each card of a training run: counted where they can be, estimated where they cannot.

Counted: weights, gradients and the optimizer's state (tests/training/test_memory.py compares them with a run's).
Estimated: what the layers keep for the backward pass, and what vLLM needs. What a layer keeps, in bytes per token, was
counted with torch's saved-tensor hooks on the layers of transformers 5.23 (h: hidden size, i: inner size of the MLP,
k: key heads times their size):

    language layer    20 h + 8 i + 4 k    bfloat16 weights
                      30 h + 8 i + 4 k    float32 weights, bfloat16 computation
                      32 h + 16 i + 8 k   float32
    vision layer      30 h + 8 i          per patch: Qwen2.5-VL's, the largest; 22 h + 6 i in Qwen2-VL

With activation checkpointing a layer keeps its input, and one layer at a time is computed again. TRL 1.16 projects to
the vocabulary in tiles, so logits take a fixed amount. Not counted: padding beyond the lengths given, and
fragmentation; `RESERVED` stands for them and for the CUDA context.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from r1sgg.training.shape import Shape

Launch = Literal["ddp", "fsdp2", "zero2", "zero3"]
LAUNCHES: tuple[Launch, ...] = get_args(Launch)
GIB = 1 << 30

RESERVED = 0.08
"""Share of a card's memory that is left free, for the CUDA context and for fragmentation."""
_TILE = 4096 * 32768 * 4 * 2  # TRL's tile of logits in float32, and its gradient
_PROMPT = 2048  # tokens of a prompt and its image, where no limit of the context is given
_AT_ONCE = 64  # sequences with a place in vLLM's cache; it lets the others wait
_VLLM_WORKSPACE = 2 * GIB  # activations of 4,096 tokens, the encoder's cache and CUDA graphs, at most
_SPARE = 1.1  # of vLLM's share: blocks of the cache are not filled


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Sequences that colocated vLLM samples on a card at once, and the longest one in tokens, its prompt included."""

    sequences: int
    tokens: int


_NONE = Rollouts(0, 0)


@dataclass(frozen=True, slots=True)
class Setup:
    """How a run trains.

    Attributes:
        gpus: processes, one on each card.
        launch: how the model is spread over them.
        trained: how many weights are trained.
        rank: of an adapter; None: the weights themselves are trained.
        weight_bytes: of the model's weights: 4, or 2 (frozen bfloat16 under an adapter).
        four_bits: QLoRA.
        mixed: bfloat16 computation with float32 weights.
        optimizer: the recipe's `optim`.
        checkpointing: activations are computed again in the backward pass.
        sequences: in one pass on one card.
        tokens: of a sequence: prompt, image and completion.
        image_tokens: of them those of the image.
        reference: a second model with frozen weights (GRPO with beta above 0 and no adapter).
        rollouts: what vLLM samples on each card; none of it without vLLM or with a server.
        asleep: vLLM gives its memory back during the update.
    """

    gpus: int
    launch: Launch
    trained: int
    rank: int | None
    weight_bytes: int
    four_bits: bool
    mixed: bool
    optimizer: str
    checkpointing: bool
    sequences: int
    tokens: int
    image_tokens: int
    reference: bool = False
    rollouts: Rollouts = _NONE
    asleep: bool = False


class Item(NamedTuple):
    """Bytes of one kind, and how they were found: "counted" or "estimated", with the rule."""

    name: str
    bytes: int
    how: str


def bytes_on_a_card(shape: Shape, setup: Setup) -> list[Item]:
    """Return what a card holds at the largest moment of a step."""
    shards = setup.gpus if setup.launch != "ddp" else 1
    spread = shards if setup.launch in ("fsdp2", "zero3") else 1
    items = [_weights(shape, setup, spread)]
    gathered = _gathered(shape, setup, spread)
    if gathered.bytes:
        items.append(gathered)
    each = 4 if setup.rank is not None else setup.weight_bytes  # peft keeps adapters in float32
    items.append(Item("gradients", each * setup.trained // shards, f"counted: {each} bytes x {_of(setup, shards)}"))
    if setup.launch == "ddp" and setup.gpus > 1:
        items.append(Item("DDP's buckets", each * setup.trained, f"counted: {each} bytes x {_of(setup, 1)}"))
    state = _state_bytes(setup.optimizer, each)
    how = f"counted: {state} bytes x {_of(setup, shards)} ({setup.optimizer})"
    items.append(Item("optimizer", state * setup.trained // shards, how))
    if setup.reference:
        size = 4 * shape.weights // spread
        items.append(Item("reference model", size, "counted: float32, because beta is above 0"))
    items.append(_activations(shape, setup))
    tile = min(_TILE, setup.sequences * setup.tokens * shape.vocabulary * 8)
    items.append(Item("logits", tile, "estimated: one tile of TRL's projection and its gradient"))
    if setup.rollouts.sequences:
        vllm = vllm_bytes(shape, setup.rollouts)
        if setup.asleep:  # then there are no activations and no logits
            more = max(0, vllm.bytes - sum(item.bytes for item in items[-2:]))
            vllm = Item("vLLM, asleep in the update", more, f"{vllm.how}, less activations and logits")
        items.append(vllm)
    return items


def sampled_at_once(arguments: Any, sequences: int) -> Rollouts:
    """Return what vLLM samples on a card for a GRPO recipe.

    Args:
        arguments: TRL's GRPOConfig.
        sequences: of one process in a round of sampling.
    """
    longest = arguments.vllm_max_model_length or _PROMPT + arguments.max_completion_length
    return Rollouts(min(sequences * arguments.vllm_tensor_parallel_size, _AT_ONCE), longest)


def vllm_bytes(shape: Shape, rollouts: Rollouts) -> Item:
    """Return what colocated vLLM needs: bfloat16 weights, the cache of all sequences at once, and workspace."""
    sequences, tokens = rollouts.sequences, rollouts.tokens
    cache = shape.cache * sequences * tokens
    total = int((2 * shape.weights + cache + _VLLM_WORKSPACE) * _SPARE)
    kept = f"{2 * shape.weights / GIB:.1f} GiB of weights, {cache / GIB:.1f} GiB of keys and values for {sequences} x "
    return Item("vLLM", total, f"estimated: {kept}{tokens:,} tokens, {_VLLM_WORKSPACE // GIB} GiB of workspace, +10 %")


def vllm_share(shape: Shape, rollouts: Rollouts, card: int) -> float:
    """Return the share of a card's memory for colocated vLLM (`vllm_gpu_memory_utilization`), to 1/100.

    Args:
        shape: of the model.
        rollouts: what is sampled.
        card: bytes of the card's memory.
    """
    return min(0.95, math.ceil(100 * vllm_bytes(shape, rollouts).bytes / card) / 100)


def kept_by_layers(shape: Shape, setup: Setup) -> tuple[int, int]:
    """Return the bytes that all layers of the language model and of the tower keep without checkpointing."""
    h, i, k = shape.hidden, shape.inner, shape.keys
    if setup.weight_bytes == 2:
        token = 20 * h + 8 * i + 4 * k
    else:
        token = 30 * h + 8 * i + 4 * k if setup.mixed else 32 * h + 16 * i + 8 * k
    patch = (30 * shape.vision_hidden + 8 * shape.vision_inner) * (1 if setup.weight_bytes == 2 or setup.mixed else 2)
    tokens = setup.sequences * setup.tokens
    patches = setup.sequences * setup.image_tokens * shape.patches
    return token * tokens * shape.layers, patch * patches * shape.vision_layers


def _activations(shape: Shape, setup: Setup) -> Item:
    text, vision = kept_by_layers(shape, setup)
    if not setup.checkpointing:
        return Item("activations", text + vision, "estimated: what every layer keeps")
    inputs = setup.weight_bytes * setup.sequences * setup.tokens * shape.hidden * shape.layers
    patches = setup.sequences * setup.image_tokens * shape.patches
    inputs += setup.weight_bytes * patches * shape.vision_hidden * shape.vision_layers
    one = max(text // max(shape.layers, 1), vision // max(shape.vision_layers, 1))
    return Item("activations", inputs + one, "estimated: the inputs of all layers, and one layer computed again")


def _weights(shape: Shape, setup: Setup, spread: int) -> Item:
    if setup.four_bits:
        size = shape.linear * 0.52 + (shape.weights - shape.linear) * 2 + 4 * setup.trained
        return Item("weights", int(size) // spread, "counted: 4 bits and scales for the language model's linear layers")
    adapter = 4 * setup.trained if setup.rank is not None else 0
    if setup.launch in ("zero2", "zero3") and setup.rank is None:
        size = 2 * shape.weights // spread + 4 * setup.trained // setup.gpus
        return Item("weights", size, "counted: bfloat16, and DeepSpeed's float32 copy spread over the cards")
    named = "float32" if setup.weight_bytes == 4 else "bfloat16"
    over = f" over {spread} cards" if spread > 1 else ""
    size = (setup.weight_bytes * shape.weights + adapter) // spread
    return Item("weights", size, f"counted: {named}, {shape.weights:,} weights{over}")


def _gathered(shape: Shape, setup: Setup, spread: int) -> Item:
    if spread > 1:
        size = 2 * (shape.outside + 2 * shape.largest)
        how = "estimated: bfloat16, all outside of the layers and two layers at a time"
        return Item("gathered weights", size, how)
    if setup.mixed and setup.weight_bytes == 4 and setup.launch == "ddp":
        size = 2 * (setup.trained if setup.rank is None else 0)
        return Item("bfloat16 copies", size, "estimated: autocast keeps one of each trained weight")
    return Item("", 0, "")


def _state_bytes(optimizer: str, each: int) -> int:
    """Bytes of an optimizer's state for each trained weight of `each` bytes; an unknown one counts as AdamW."""
    if re.search(r"adafactor|sgd|galore|apollo", optimizer):
        return 0
    if re.search(r"8bit|bnb", optimizer) and "torch" not in optimizer:
        return 1 if "lion" in optimizer else 2
    return each if "lion" in optimizer else 2 * each


def _of(setup: Setup, shards: int) -> str:
    over = f" over {shards} cards" if shards > 1 else ""
    what = "weights" if setup.rank is None else f"weights of the adapter (rank {setup.rank})"
    return f"{setup.trained:,} trained {what}{over}"
