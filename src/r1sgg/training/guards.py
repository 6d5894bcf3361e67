"""Early warnings: what a run's own numbers say is going wrong, one message for each kind of trouble.

A message says what was seen, what it usually means and what to do; it goes to the log and to warnings.jsonl. Two kinds
stop the run before the weights change: numbers that are not finite, and images that do not reach the model. `TROUBLES`
is the table of docs/training.md. Nothing here changes the training.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback

from r1sgg.errors import TrainingError
from r1sgg.graph.ledger import Ledger
from r1sgg.graph.text import parse
from r1sgg.judging.diagnosis import findings, frame_found
from r1sgg.judging.frames import FrameEvidence
from r1sgg.rewards.adapters import ScoredBatch
from r1sgg.training.diagnosis import image_token_of, missing_images, resized_units
from r1sgg.training.logs import MetricsLog, StepFile
from r1sgg.training.trends import Enumeration, FormatCollapse, RewardWithoutRecall
from r1sgg.training.validation import Answer, validations

_log = logging.getLogger(__name__)


class Trouble(NamedTuple):
    """What a sign usually means, and what to do."""

    means: str
    do: str


TROUBLES: dict[str, Trouble] = {
    "zero_gradient": Trouble(
        "no trained weight takes part in the loss: everything is frozen, no completion token is in the labels, or "
        "(GRPO with vLLM and a guide or schema) the importance-sampling correction masks every token",
        "look at freeze_vision and the adapter's target modules, print a batch's labels, or set "
        "vllm_importance_sampling_correction: false",
    ),
    "equal_rewards": Trouble(
        "all completions of a group have the same reward, so their advantages are 0: the model always fails (reward "
        "0), has already learnt all that the reward measures, or samples the same completion each time",
        "read completions.jsonl; start from SFT or a softer reward (paper-v1, balanced), raise temperature or "
        "num_generations",
    ),
    "not_finite": Trouble(
        "the learning rate is too high, float16 overflowed, or a reward is not a number",
        "resume from the last checkpoint with a lower learning_rate or more warmup_steps, and bf16 instead of fp16",
    ),
    "reward_without_recall": Trouble(
        "the model has learnt to exploit the reward, which differs from what the evaluation measures",
        "use the model in best/ (keep_best) or an earlier checkpoint, lower the learning rate, add beta, or choose a "
        "reward with a precision term (balanced)",
    ),
    "enumeration": Trouble(
        "listing more relations raises the reward though no more of them are right, as rewards of recall alone do",
        "use a reward with one-to-one matching and a penalty for duplicates (balanced), or lower max_completion_length",
    ),
    "format_collapse": Trouble(
        "the policy has left the layout that SFT taught: the learning rate is too high or no reward measures the "
        "format",
        "return to an earlier checkpoint with a lower learning_rate, and keep `format` among the rewards",
    ),
    "clipped": Trouble(
        "completions are cut at the length limit, so their JSON never closes and they count as failures",
        "raise max_completion_length (validate_tokens in the evaluation), set minify or the compact layout, or "
        "mask_truncated_completions",
    ),
    "images_missing": Trouble(
        "the model would see text alone: the prompt was cut (max_length), the chat template has no place for an "
        "image, or the rollout engine drops images (use_transformers_continuous_batching does)",
        "leave max_length and use_transformers_continuous_batching out, and use the model's own chat template",
    ),
    "frame_mismatch": Trouble(
        "boxes are written in one unit and read in another: each family has its own (thousandths, pixels of the "
        "resized image, ...)",
        "train and evaluate with one max_pixels and the model's own processor, and check that the checkpoint's family "
        "is what config.json says",
    ),
    "misread": Trouble(
        "the model copies the prompt or has collapsed to one completion, or writes relationships between objects that "
        "it has not declared",
        "read the completions of the evaluation; start from SFT, or lower the learning rate",
    ),
}

STREAK = 3
"""Steps (or rollouts) in a row before a number that can occur by chance is reported."""
CLIPPED = 0.25
"""Share of completions cut at the limit from which it is reported."""
_SAMPLE = 8  # completions of a batch whose boxes are checked
_ENOUGH = 50  # correctly named objects before boxes are judged
_SEEN = 0.5  # share of the true objects that has to be named
_APART = 0.05  # mean IoU below which boxes are in the wrong place
_COMPLETIONS = 20  # evaluated completions before they are diagnosed as a whole
_MISREAD = ("same_graph", "prompt_example", "prompt_echo", "lost_relations", "duplicate_key")

Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


class Guards(TrainerCallback):  # type: ignore[misc]
    """Watches a run. `ResumableTrainer` and `GraphTrainer` call it too, beside the callback's events."""

    def __init__(self, folder: Path, log: MetricsLog, processor: Any, frames: int = 1) -> None:
        self.file = StepFile(folder / "warnings.jsonl")
        self.log, self.processor, self.frames = log, processor, frames
        self.said: set[str] = set()
        self.boxes = FrameEvidence()
        self._step = 0
        self._speaks = True
        self._zero = self._equal = self._infinite = 0
        self._failures = FormatCollapse()
        self._enumerates = Enumeration()
        self._sampled = Enumeration(window=5)
        self._reward_and_recall = RewardWithoutRecall()
        self._true: float | None = None  # annotated relations per image of the last rollouts

    # ---------------------------------------------------------------- each step

    def gradient(self, norm: float, *, scaled: bool = False) -> None:
        """Check a step's gradient norm before the step is taken.

        Args:
            norm: over all trained weights.
            scaled: a gradient scaler is in use (fp16). It skips steps that overflow and lowers its scale, so some
                infinite norms in a row are normal.

        Raises:
            TrainingError: it is not finite.
        """
        self._infinite = 0 if math.isfinite(norm) else self._infinite + 1
        if self._infinite > (10 if scaled else 0):
            raise TrainingError(
                self._message("not_finite", f"the gradient is {norm}; this step was not taken and nothing was saved")
            )
        self._zero = self._zero + 1 if norm == 0 and not self._equal else 0
        if self._zero == STREAK:
            self._say("zero_gradient", f"the gradient was exactly 0 in {STREAK} steps in a row")

    def rollouts(self, equal_share: float) -> None:
        """Check the share of prompts, over all processes, whose completions all have the same reward."""
        self._equal = self._equal + 1 if equal_share == 1 else 0
        if self._equal == STREAK:
            self._say("equal_rewards", f"in {STREAK} rollouts in a row all completions of each group had one reward")

    def images(self, ids_BT: Any, batch: Mapping[str, Any]) -> None:
        """Check a batch that goes to the model.

        Raises:
            TrainingError: its images do not match its prompts.
        """
        if (token := image_token_of(self.processor)) is None:
            return
        merge = getattr(self.processor.image_processor, "merge_size", None)
        if found := missing_images(ids_BT, batch, token, merge):
            raise TrainingError(self._message("images_missing", f"a batch has {found}"))

    def collator(self, plain: Collator) -> Collator:
        """Wrap a collator, so that the images of each batch are checked."""

        def checked(examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch = plain(examples)
            self.images(batch["input_ids"], batch)
            return batch

        return checked

    def sampled(self, batch: ScoredBatch) -> None:
        """Look at sampled completions, and log two more numbers; an observer of `trl_rewards`."""
        count = len(batch.texts)
        self._true = sum(len(example.graph.pairs) for example in batch.examples) / count
        if log := batch.columns.get("log_metric"):
            log("completions/relations_per_image", sum(len(p.columns.predicates) for p in batch.parsed) / count)
            log("completions/failure_rate", sum(p.failure is not None for p in batch.parsed) / count)
        for k in range(0, count, max(count // _SAMPLE, 1)):
            if batch.parsed[k].failure is None:
                example = batch.examples[k]
                size = (example.width, example.height)
                units = resized_units(size, self.processor, self.frames)
                self.boxes.add(batch.parsed[k], example.graph, size, units)
        self._judge_boxes("sampled completions")

    def _judge_boxes(self, where: str) -> None:
        if self.boxes.named < _ENOUGH or (verdict := self.boxes.verdict()) is None:
            return
        named = verdict.named / self.boxes.objects
        if verdict.wrong or verdict.partly_wrong:
            self._say("frame_mismatch", f"{where}: {frame_found(verdict)}")
        elif named >= _SEEN and verdict.overlap < _APART:
            self._say(
                "frame_mismatch",
                f"{where} name {named:.0%} of the true objects correctly, but their boxes overlap the true ones by "
                f"{verdict.overlap:.2f} (mean IoU)",
            )
        self.boxes = FrameEvidence()

    # ---------------------------------------------------------------- events of the trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._speaks, self._step = state.is_world_process_zero, state.global_step
        if self._speaks:
            self.said = {row["trouble"] for row in self.file.begin(state.global_step)}
        for row in self.log.earlier:
            self._logged(row)
            if validations([row]):
                self._validated(row["step"], row, None)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step = state.global_step + 1

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self._step = state.global_step
        self._logged({"step": state.global_step, **(logs or {})})

    def on_validation(
        self, args: Any, state: Any, control: Any, numbers: Mapping[str, float], answers: Sequence[Answer]
    ) -> None:
        """Check the figures of an evaluation during training, and its completions."""
        if not self._speaks or not answers:
            return
        self._step = state.global_step
        true = sum(len(answer.example.graph.pairs) for answer in answers) / len(answers)
        self._validated(state.global_step, numbers, true)
        kept, self.boxes, ledger = self.boxes, FrameEvidence(), Ledger()
        for answer in answers:
            parsed = parse(answer.text, answer.frame)
            ledger.add(parsed, answer.example.image_id)
            if parsed.failure is None:
                units = resized_units(answer.size, self.processor, self.frames)
                self.boxes.add(parsed, answer.example.graph, answer.size, units)
        self._judge_boxes("evaluated completions")
        self.boxes = kept
        if len(answers) >= _COMPLETIONS:
            for finding in findings(ledger):
                if finding.kind in _MISREAD:
                    self._say("misread", finding.found, "evaluated completions")

    def _logged(self, row: Mapping[str, Any]) -> None:
        clipped, failed = row.get("completions/clipped_ratio"), row.get("completions/failure_rate")
        relations = row.get("completions/relations_per_image")
        recall = next((row[name] for name in _RECALLS if row.get(name) is not None), None)
        self._check_answers("sampled completions", clipped, failed)
        if relations is not None and recall is not None:
            self._say("enumeration", self._sampled.add(relations, recall, self._true), "sampled completions")
        if row.get("reward") is not None:
            self._reward_and_recall.add_reward(row["step"], row["reward"])

    def _validated(self, step: int, numbers: Mapping[str, float], true: float | None) -> None:
        clipped = numbers.get("clipped_ratio") if step else None  # an untrained model may never end a completion
        self._check_answers("evaluated completions", clipped, numbers["failure_rate"])
        if (recall := numbers.get("R@50")) is None:
            return
        seen = self._enumerates.add(numbers["relations_per_image"], recall, true)
        self._say("enumeration", seen, "evaluated completions")
        self._say("reward_without_recall", self._reward_and_recall.add_recall(step, recall))

    def _check_answers(self, kind: str, clipped: float | None, failed: float | None) -> None:
        if clipped is not None and clipped >= CLIPPED:
            self._say("clipped", f"{clipped:.0%} of the {kind} reach the length limit")
        if failed is not None and (before := self._failures.add(kind, failed)) is not None:
            self._say("format_collapse", f"{failed:.0%} of the {kind} cannot be read, after {before:.0%}")

    # ---------------------------------------------------------------- messages

    def _message(self, name: str, seen: str) -> str:
        trouble = TROUBLES[name]
        return f"step {self._step}: {seen}. Usually {trouble.means}. To do: {trouble.do} (docs/training.md: {name})"

    def _say(self, name: str, seen: str | None, where: str = "") -> None:
        """Report a kind of trouble, unless nothing was seen or it was reported before."""
        if seen is None or name in self.said or not self._speaks:
            return
        self.said.add(name)
        message = self._message(name, f"{where}: {seen}" if where else seen)
        _log.warning("%s", message)
        self.file.append([{"step": self._step, "trouble": name, "message": message}])


_RECALLS = ("rewards/hard_recall/mean", "rewards/hard_recall_relax/mean", "rewards/edge/mean")
