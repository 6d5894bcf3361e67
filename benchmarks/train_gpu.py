"""What training costs on a GPU: SFT tokens a second and MFU, a GRPO step by parts, memory by setting.

    python benchmarks/train_gpu.py --out results.json              Qwen2-VL-2B, then 7B; under 10 minutes on one card
    python benchmarks/train_gpu.py --device cpu --shape tiny       the same code in seconds, for tests

The shapes are the published ones, the weights random: time and memory don't depend on what a model has learnt. Photos
are 640 x 480 (391 image tokens), prompts the paper's (about 500 tokens), answers those of graphs with 12 objects and 8
relationships (520 tokens). Trainers, rewards and batches are r1sgg's own; rollouts are transformers'. Random weights
never end an answer, so each is max_completion_length long; rewards are given true answers of that size to score.

Model FLOPs are those of matrix products, counted by `flops`: 2 per weight and token forward, twice that backward
(PaLM, arXiv 2204.02311, appendix B), attention over what is attended to, the vision tower over its patches, the
projection to the vocabulary for answer tokens only; nothing for padding, and nothing for what activation checkpointing
computes twice. MFU is those per second over the card's dense bfloat16 peak (maker's data sheet; --peak for others).

Results: not yet run on a GPU.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEEN = 512 * 28 * 28
"""Pixels of an image, as in the recipes."""

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12, "3090": 71e12}
"""Dense bfloat16 FLOP/s by a part of the card's name."""


@dataclass(frozen=True)
class Shape:
    """A Qwen2-VL, and how much of it is measured.

    Attributes:
        text, vision: parts of the configs.
        tied: whether the projection to the vocabulary shares the embedding's weights.
        sft_batch: sequences of an SFT step.
        answers: of a GRPO step.
        length: tokens of an answer.
        full: whether all weights are trained; else a LoRA adapter.
    """

    text: dict[str, int]
    vision: dict[str, int]
    tied: bool
    sft_batch: int
    answers: int
    length: int
    full: bool


def _text(hidden: int, layers: int, heads: int, keys: int, inner: int, vocabulary: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
    }


_TOWER = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
SHAPES = {
    "2b": Shape(_text(1536, 28, 12, 2, 8960, 151936), _TOWER, True, sft_batch=8, answers=16, length=512, full=True),
    "7b": Shape(_text(3584, 28, 28, 4, 18944, 152064), _TOWER, False, sft_batch=4, answers=8, length=512, full=False),
    "tiny": Shape(
        _text(48, 1, 2, 1, 64, 2048),
        {"embed_dim": 32, "depth": 1, "num_heads": 2},
        True,
        sft_batch=2,
        answers=2,
        length=8,
        full=True,
    ),
}

SETTINGS = {
    "all weights, checkpointing": {"checkpointing": True},
    "all weights": {},
    "all but vision, checkpointing": {"checkpointing": True, "freeze_vision": True},
    "LoRA, checkpointing": {"checkpointing": True, "use_peft": True, "freeze_vision": True},
    "LoRA": {"use_peft": True, "freeze_vision": True},
    "QLoRA, checkpointing": {"checkpointing": True, "use_peft": True, "freeze_vision": True, "load_in_4bit": True},
}


# ---------------------------------------------------------------- counting


def flops(config: Any, patches: Sequence[int], texts: Sequence[int], answers: Sequence[int]) -> float:
    """Multiply-adds x 2 of one forward pass.

    Args:
        config: the model's.
        patches: of the vision tower, for each image.
        texts: tokens of each sequence, image tokens and answer included.
        answers: tokens of each answer.
    """
    text, vision = config.get_text_config(), config.vision_config
    hidden, heads = text.hidden_size, text.num_attention_heads
    keys = text.num_key_value_heads * hidden // heads
    layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * text.intermediate_size
    total = 0.0
    for tokens, answer in zip(texts, answers, strict=True):
        total += 2 * text.num_hidden_layers * layer * tokens
        total += 2 * text.num_hidden_layers * hidden * tokens * tokens  # scores and values, half of them masked
        total += 2 * hidden * text.vocab_size * answer
    wide = vision.embed_dim
    merged = wide * vision.spatial_merge_size**2
    for count in patches:
        block = 4 * wide * wide + 2 * wide * int(wide * vision.mlp_ratio)
        total += 2 * vision.depth * (block * count + 2 * wide * count * count)
        total += 2 * 3 * vision.temporal_patch_size * vision.patch_size**2 * wide * count
        total += 2 * (merged * merged + merged * vision.hidden_size) * count / vision.spatial_merge_size**2
    return total


class Clock:
    """Seconds by part; on a GPU, work that was asked for is waited for."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.spent: dict[str, float] = defaultdict(float)

    def now(self) -> float:
        """The time when everything asked for is done."""
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Count a method's time, without what it calls that is counted itself."""
        plain: Callable[..., Any] = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            begun, inner = self.now(), sum(self.spent.values())
            try:
                return plain(*args, **kwargs)
            finally:
                self.spent[part] += self.now() - begun - (sum(self.spent.values()) - inner)

        setattr(owner, name, call)


# ---------------------------------------------------------------- data and models


class Photos:
    """Noise of a photo's size with graphs of a photo's size, as much as is asked for."""

    name, notes = "noise", ()

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def draw(self, row: int) -> tuple[Any, Any]:
        """An image and its annotation."""
        import numpy as np
        from PIL import Image

        from r1sgg.data.base import Example
        from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
        from r1sgg.graph.vocabulary import VG150

        draw = np.random.default_rng(row)
        image = Image.fromarray(draw.integers(0, 255, (480, 640, 3), dtype=np.uint8))
        corners = np.sort(draw.uniform(0, 1, (12, 2, 2)), axis=1)
        corners[:, 1] = np.minimum(corners[:, 1] + 0.02, 1)
        corners[:, 0] = np.minimum(corners[:, 0], corners[:, 1] - 0.01)
        names = draw.choice(VG150.objects, 12, replace=False)
        objects = [
            SceneObject(f"{n}.1", n, tuple(c)) for n, c in zip(names, corners.reshape(-1, 4).tolist(), strict=True)
        ]
        pairs = draw.choice(12 * 11, 8, replace=False)
        relations = [
            Relationship(int(p // 11), str(draw.choice(VG150.predicates)), int((p // 11 + 1 + p % 11) % 12))
            for p in pairs
        ]
        return image, Example(str(row), 640, 480, SceneGraph.build(objects, relations))


def build(shape: Shape, device: str, dtype: str) -> tuple[Any, Any]:
    """A model with random weights and a checkpoint around its processor."""
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    from r1sgg.miniature.tiny import build_processor, vision_token_ids
    from r1sgg.miniature.tokenizer import build_tokenizer
    from r1sgg.models.families import Checkpoint, family_of
    from r1sgg.models.prompts import AnswerSettings

    tokenizer = build_tokenizer()
    pairs = shape.text["hidden_size"] // shape.text["num_attention_heads"] // 2
    side = pairs * 3 // 8
    config = Qwen2VLConfig(
        text_config={
            **shape.text,
            "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [pairs - 2 * side, side, side],
            },
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "tie_word_embeddings": shape.tied,
        },
        vision_config={**shape.vision, "hidden_size": shape.text["hidden_size"], "mlp_ratio": 4, "patch_size": 14},
        tie_word_embeddings=shape.tied,
        **vision_token_ids(tokenizer),
    )
    plain = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model = Qwen2VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(plain)
    processor = build_processor(tokenizer, min_pixels=28 * 28, max_pixels=SEEN)
    settings = AnswerSettings(prompt="paper", think=True)
    return model, Checkpoint("random", "random", family_of(model.config), processor, settings)


# ---------------------------------------------------------------- measuring


def sft(shape: Shape, device: str, steps: int, work: Path, setting: dict[str, bool]) -> dict[str, float]:
    """Seconds a step, tokens and FLOPs of it, and the most memory."""
    import torch
    from trl import SFTConfig

    from r1sgg.training.parts import PartOptions, prepare_parts
    from r1sgg.training.rows import TrainingRows
    from r1sgg.training.sft import DEFAULTS, AnswerTrainer, pad_reader_right

    options = dict(setting)
    checkpointing = options.pop("checkpointing", False)
    adapter = options.get("use_peft", False)
    model, checkpoint = build(shape, device, "bfloat16" if adapter and device != "cpu" else "float32")
    parts = prepare_parts(PartOptions(**options), checkpoint, "adamw_torch_fused")
    if options.get("load_in_4bit"):
        model.save_pretrained(work / "weights")
        checkpoint.processor.save_pretrained(work / "weights")
        model = str(work / "weights")
        release()
    rows = TrainingRows(Photos(shape.sft_batch * (steps + 1)), checkpoint, completion=True)
    arguments = SFTConfig(
        str(work),
        **DEFAULTS,
        max_steps=steps + 1,
        per_device_train_batch_size=shape.sft_batch,
        activation_checkpointing=checkpointing,
        **common(device),
    )
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        processing_class=checkpoint.processor,
        train_dataset=rows,
        **parts.arguments,
    )
    parts.freeze(trainer.model)
    trainer.hidden = checkpoint.family.hidden
    trainer.data_collator = pad_reader_right(trainer.data_collator, checkpoint.family)
    batches = [trainer.data_collator([rows[k] for k in range(shape.sft_batch)])]
    begun = Begun(Clock(device), after=1)
    watched(trainer, begun)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    seconds = begun.seconds / steps
    texts = [int(n) for n in batches[0]["attention_mask"].sum(1)]
    answers = [int(n) for n in (batches[0]["labels"] != -100).sum(1)]
    patches = [int(n) for n in batches[0]["image_grid_thw"].prod(1)]
    forward = flops(trainer.model.config, patches, texts, answers)
    found = {
        "seconds": seconds,
        "tokens": float(sum(texts)),
        "answer_tokens": float(sum(answers)),
        "flops": 3 * forward,
        "gib": torch.cuda.max_memory_allocated() / 2**30 if device != "cpu" else 0.0,
        "parameters": float(sum(p.numel() for p in trainer.model.parameters())),
    }
    del trainer, model
    release()
    return found


def grpo(shape: Shape, device: str, steps: int, work: Path) -> dict[str, float]:
    """Seconds of a step by parts."""
    from trl import GRPOConfig

    from r1sgg.graph.text import render
    from r1sgg.guiding.table import suppressed_token_ids
    from r1sgg.judging.labels import load_similarity
    from r1sgg.rewards.adapters import trl_rewards
    from r1sgg.rewards.rubric import Rubric
    from r1sgg.training.grpo import GraphTrainer, without_tokens
    from r1sgg.training.parts import PartOptions, prepare_parts
    from r1sgg.training.rows import TrainingRows

    model, checkpoint = build(shape, device, "float32" if shape.full or device == "cpu" else "bfloat16")
    parts = prepare_parts(PartOptions(use_peft=not shape.full), checkpoint, "adamw_torch_fused")
    photos = Photos(shape.answers * (steps + 1))
    functions, weights = trl_rewards(Rubric.of("paper-v4", load_similarity("glove")))
    truths = [render(photos.draw(k)[1].graph, (1000, 1000), think=True) for k in range(8)]
    clock = Clock(device)

    def scored(function: Callable[..., Any]) -> Callable[..., Any]:
        def score(completions: Sequence[Any], **columns: Any) -> Any:
            answers = [[{"role": "assistant", "content": truths[k % 8]}] for k in range(len(completions))]
            return [value + k for k, value in enumerate(function(completions=answers, **columns))]

        score.__name__ = function.__name__
        return score

    tokens = suppressed_token_ids(model.config, checkpoint.processor.tokenizer)
    arguments = GRPOConfig(
        str(work),
        max_steps=steps + 1,
        per_device_train_batch_size=shape.answers,
        num_generations=2 if shape.answers < 8 else 8,
        max_completion_length=shape.length,
        reward_weights=weights,
        generation_kwargs=without_tokens({"min_new_tokens": shape.length}, tokens, vllm=False),
        activation_checkpointing=device != "cpu",
        **common(device),
    )
    trainer = GraphTrainer(
        model=model,
        args=arguments,
        processing_class=checkpoint.processor,
        reward_funcs=[scored(function) for function in functions],
        train_dataset=TrainingRows(photos, checkpoint, completion=False),
        **parts.arguments,
    )
    for name, part in (("_generate", "rollout"), ("_calculate_rewards", "reward"), ("training_step", "passes")):
        clock.watch(trainer, name, part)
    begun = Begun(clock, after=1)
    watched(trainer, begun)
    trainer.train()
    found = {part: seconds / steps for part, seconds in clock.spent.items()}
    found["step"] = begun.seconds / steps
    found["rest"] = found["step"] - sum(found[part] for part in ("rollout", "reward", "passes"))
    found["answers"], found["answer_tokens"] = float(shape.answers), float(shape.answers * shape.length)
    del trainer, model
    release()
    return found


class Begun:
    """Seconds of the steps after the first, which holds the start."""

    def __init__(self, clock: Clock, after: int) -> None:
        self.clock, self.after, self.start, self.seconds = clock, after, 0.0, 0.0

    def callback(self) -> Any:
        """For a trainer."""
        from transformers import TrainerCallback

        outer = self

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == outer.after:
                    outer.clock.spent.clear()
                    outer.start = outer.clock.now()
                outer.seconds = outer.clock.now() - outer.start

        return Callback()


def watched(trainer: Any, begun: Begun) -> None:
    """Time a trainer's steps, and let it print nothing."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(begun.callback())


def common(device: str) -> dict[str, Any]:
    """Options of both trainers."""
    return {
        "bf16": device != "cpu",
        "use_cpu": device == "cpu",
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "optim": "adamw_torch_fused",
    }


def release() -> None:
    """Give memory back."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ---------------------------------------------------------------- the run


def run(shapes: Sequence[str], device: str, steps: int, minutes: float, peak: float | None) -> dict[str, Any]:
    """Measure everything there is time for, the most telling first."""
    import torch

    begun = time.monotonic()
    name = torch.cuda.get_device_name() if device != "cpu" else "CPU"
    peak = peak or next((value for part, value in PEAKS.items() if part in name), None)
    found: dict[str, Any] = {"device": name, "peak": peak, "torch": torch.__version__, "shapes": {}}

    def attempt(what: str, measure: Callable[[Path], dict[str, float]]) -> dict[str, Any]:
        if time.monotonic() - begun > 60 * minutes:
            return {"not run": "no time left"}
        print(f"{what} ...", file=sys.stderr, flush=True)
        try:
            with tempfile.TemporaryDirectory() as work:
                return dict(measure(Path(work)))
        except torch.OutOfMemoryError:
            release()
            return {"not run": "does not fit into the card's memory"}

    for key in shapes:
        shape = SHAPES[key]
        first = SETTINGS["all weights, checkpointing" if shape.full else "LoRA, checkpointing"]
        results: dict[str, Any] = {}
        found["shapes"][key] = results
        results["sft"] = attempt(f"{key}: SFT", lambda work, s=shape, o=first: sft(s, device, steps, work, o))
        results["grpo"] = attempt(f"{key}: GRPO", lambda work, s=shape: grpo(s, device, steps, work))
    for key in shapes:
        memory = found["shapes"][key]["memory"] = {}
        for title, setting in SETTINGS.items():
            if setting.get("load_in_4bit") and not importlib.util.find_spec("bitsandbytes"):
                memory[title] = {"not run": "bitsandbytes is not installed"}
                continue
            measure = lambda work, s=SHAPES[key], o=setting: sft(s, device, 1, work, o)  # noqa: E731
            memory[title] = attempt(f"{key}: {title}", measure)
    found["minutes"] = round((time.monotonic() - begun) / 60, 1)
    return found


def show(found: dict[str, Any]) -> None:
    """The tables."""
    print(f"{found['device']}, torch {found['torch']}, {found['minutes']} minutes\n")
    print("| shape | parameters | SFT tokens/s | MFU % | GRPO step, s | rollout % | passes % | reward % | rest % |")
    print("|---|---|---|---|---|---|---|---|---|")
    for key, results in found["shapes"].items():
        one, two = results["sft"], results["grpo"]
        cells = [key, one.get("not run", ""), "", ""]
        if "seconds" in one:
            share = f"{100 * one['flops'] / one['seconds'] / found['peak']:.1f}" if found["peak"] else "-"
            cells = [key, f"{one['parameters'] / 1e9:.2f} B", f"{one['tokens'] / one['seconds']:.0f}", share]
        if "step" in two:
            parts = [f"{100 * two[part] / two['step']:.1f}" for part in ("rollout", "passes", "reward", "rest")]
            cells += [f"{two['step']:.2f}", *parts]
        else:
            cells += [two["not run"], "", "", "", ""]
        print(f"| {' | '.join(cells)} |")
    print("\n| SFT memory, GiB | " + " | ".join(found["shapes"]) + " |\n|---|" + "---|" * len(found["shapes"]))
    for title in SETTINGS:
        cells = []
        for results in found["shapes"].values():
            row = results["memory"][title]
            cells.append(row["not run"] if "not run" in row else f"{row['gib']:.1f}")
        print(f"| {title} | {' | '.join(cells)} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--shape", action="append", choices=tuple(SHAPES), help="may be repeated; by default 2b and 7b")
    parser.add_argument("--steps", type=int, default=4, help="steps that are measured, after one that is not")
    parser.add_argument("--minutes", type=float, default=8.5, help="start nothing after so many")
    parser.add_argument("--peak", type=float, help="dense bfloat16 FLOP/s of the card")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no GPU is visible here, so nothing was measured; --device cpu --shape tiny runs the same code")
        return
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    shapes = arguments.shape or ["2b", "7b"]
    found = run(shapes, arguments.device, arguments.steps, arguments.minutes, arguments.peak)
    show(found)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
