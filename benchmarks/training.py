"""What training the embedded model costs, and how much of a GRPO step is ours.

    python benchmarks/training.py --steps 8 --out results.json

Three processes, one after another, each on one core (OMP_NUM_THREADS=1), all times CPU-seconds of the process:

    sft     `r1sgg sft`, recipe configs/tiny-sft.yaml: sequences a second
    ours    `r1sgg grpo`, recipe configs/tiny-grpo.yaml: completions a second, and where the time goes
    bare    TRL's GRPOTrainer with the same model, prompts and options, images ready in memory, a constant reward

"Ours" is what this package adds to TRL's step: drawing and preparing rows, parsing and scoring, and the logs. The first
step of each is left out (it holds the start).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SPENT: dict[str, float] = defaultdict(float)
"""CPU-seconds by part, since the last `start_clock`."""


def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its CPU time counted under `part`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        begun = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            SPENT[part] += time.process_time() - begun

    return call


def watch(owner: Any, name: str, part: str) -> None:
    """Count the CPU time of a method."""
    setattr(owner, name, timed(part, getattr(owner, name)))


def clock(steps: int) -> Any:
    """A callback that starts counting after the first step."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        begun = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 1:
                SPENT.clear()
                self.begun = time.process_time()
            if state.global_step == steps:
                SPENT["step"] = time.process_time() - self.begun

    return Clock()


def child(kind: str, steps: int, folder: Path) -> dict[str, float]:
    """One of the three, in this process."""
    from trl import GRPOTrainer

    from r1sgg.training import grpo, rows, run, sft

    watch(GRPOTrainer, "_generate", "generation")
    watch(GRPOTrainer, "_calculate_rewards", "reward")
    watch(GRPOTrainer, "compute_loss", "passes (forward)")
    counter = clock(steps)
    prepare = run.prepare

    def prepared(*args: Any, **kwargs: Any) -> Any:
        made = prepare(*args, **kwargs)
        made.callbacks.append(counter)
        return made

    sft.prepare = grpo.prepare = prepared  # type: ignore[attr-defined]
    options = ["--output_dir", str(folder), "--max_steps", str(steps), "--validate_steps", "0", "--save_strategy", "no"]
    if kind == "sft":
        watch(rows.TrainingRows, "__getitems__", "rows")
        sft.train_sft(ROOT / "configs" / "tiny-sft.yaml", options)
    elif kind == "ours":
        watch(rows.TrainingRows, "__getitems__", "rows")
        watch(grpo.CompletionsLog, "on_log", "logs")
        grpo.train_grpo(ROOT / "configs" / "tiny-grpo.yaml", [*options, "--model", "tiny-sft"])
    else:
        bare(steps, folder, counter)
    return dict(SPENT)


def bare(steps: int, folder: Path, counter: Any) -> None:
    """TRL by itself: the same recipe, a list of prompts and images, one constant reward."""
    import datasets
    import yaml
    from trl import GRPOConfig, GRPOTrainer

    from r1sgg.data.sources import open_data
    from r1sgg.guiding.table import suppressed_token_ids
    from r1sgg.models.families import load_model

    recipe = yaml.safe_load((ROOT / "configs" / "tiny-grpo.yaml").read_text())
    known = {f for f in GRPOConfig.__dataclass_fields__ if f in recipe}
    loaded = load_model("tiny-sft", device="cpu")
    if recipe.get("freeze_vision"):
        loaded.model.model.visual.requires_grad_(False)
    arguments = GRPOConfig(
        **{**{name: recipe[name] for name in known}, "output_dir": str(folder), "max_steps": steps},
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_num_workers=0,
        generation_kwargs={
            "suppress_tokens": suppressed_token_ids(loaded.model.config, loaded.processor.tokenizer),
        },
    )
    source = open_data(recipe["data"])
    drawn = [source.draw(k) for k in range(16 * (steps + 1))]
    prompts = [{"image": image, "prompt": loaded.messages(image.size)} for image, _ in drawn]
    trainer = GRPOTrainer(
        model=loaded.model,
        args=arguments,
        processing_class=loaded.processor,
        reward_funcs=[lambda completions, **columns: [0.5] * len(completions)],
        train_dataset=datasets.Dataset.from_list(prompts),
        callbacks=[counter],
    )
    trainer.train()


def main() -> None:
    """Run the three and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, folder = arguments.child
        print(json.dumps(child(kind, arguments.steps, Path(folder))))
        return
    results: dict[str, dict[str, float]] = {}
    counts = {"sft": 32, "ours": 128, "bare": 128}
    with tempfile.TemporaryDirectory() as work:
        for kind in counts:
            command = [sys.executable, __file__, "--steps", str(arguments.steps), "--child", kind, f"{work}/{kind}"]
            done = subprocess.run(
                command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, stdout=subprocess.PIPE, text=True
            )
            results[kind] = json.loads(done.stdout.splitlines()[-1])
    measured = arguments.steps - 1
    print(f"\n{measured} steps each, CPU-seconds")
    print("| | a step | sequences a CPU-second | parts of the step |\n|---|---|---|---|")
    for kind, spent in results.items():
        step = spent["step"] / measured
        parts = ", ".join(f"{n} {100 * s / spent['step']:.1f} %" for n, s in spent.items() if n != "step")
        print(f"| {kind} | {step:.2f} | {counts[kind] / step:.1f} | {parts} |")
    ours = results["ours"]
    share = sum(ours.get(part, 0.0) for part in ("rows", "reward", "logs")) / ours["step"]
    ratio = ours["step"] / results["bare"]["step"]
    print(f"\nours of the GRPO step: {100 * share:.1f} %; step against bare TRL: {ratio:.3f}x")
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
