"""Options of our own that a recipe may hold beside TRL's: model and data, targets of SFT, rewards of GRPO.

Two more classes are in the modules that use them: `r1sgg.training.parts.PartOptions` and
`r1sgg.training.rollouts.RolloutOptions`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from r1sgg.data.targets import Order, target
from r1sgg.errors import ConfigError
from r1sgg.graph.given import TASKS, Task
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.rewards.rubric import DEFAULT_SET


@dataclass
class RunOptions:
    """Model, data, evaluation and checkpoints. None means: as the checkpoint's own r1sgg.json says."""

    model: str = field(default="tiny", metadata={"help": "Checkpoint folder, Hub name (owner/name), or tiny."})
    data: str | None = field(
        default=None,
        metadata={"help": "A ground-truth file, or vg150:, psg:, coco:PATH, hub:NAME, scenes:COUNT."},
    )
    validation: str | None = field(
        default=None, metadata={"help": "Data of the evaluation during training, written like --data."}
    )
    validate_steps: int = field(
        default=0, metadata={"help": "Steps between SGDET evaluations on --validation; 0: at start and end only."}
    )
    validate_images: int = field(default=200, metadata={"help": "Evaluate at most this many images."})
    validate_batch_size: int = field(default=32, metadata={"help": "Images per generation batch of the evaluation."})
    validate_tokens: int = field(default=1024, metadata={"help": "Longest completion in the evaluation, in tokens."})
    prompt: str | None = field(
        default=None,
        metadata={
            "help": "open; closed (lists the vocabulary's names); FILE; column:NAME of the data; default: the "
            "checkpoint's."
        },
    )
    wording: str | None = field(
        default=None,
        metadata={"help": "Of r1sgg's own prompt: paper, or short (one line); default: the checkpoint's."},
    )
    vocabulary: str | None = field(
        default=None,
        metadata={
            "help": "Vocabulary of a closed prompt and of the guide: vg150 (default of a closed prompt), psg, FILE."
        },
    )
    think: bool | None = field(
        default=None, metadata={"help": "Ask for think and answer tags; default: as the checkpoint says."}
    )
    minify: bool | None = field(
        default=None, metadata={"help": "JSON without spaces after commas and colons; default: as the checkpoint says."}
    )
    answer_format: str | None = field(default=None, metadata={"help": "json or compact; default: the checkpoint's."})
    image_size: bool | None = field(
        default=None, metadata={"help": "State the image's size in the prompt; default: as the checkpoint says."}
    )
    global_batch_size: int | None = field(
        default=None,
        metadata={"help": "Sequences per step over all processes; determines gradient_accumulation_steps."},
    )
    max_pixels: int | None = field(
        default=None, metadata={"help": "Resize larger images to at most this many pixels; 0: as the checkpoint does."}
    )
    logged_completions: int = field(
        default=8,
        metadata={"help": "Completions written to completions.jsonl at each log (GRPO) or evaluation (SFT); 0: none."},
    )
    resume: bool = field(default=False, metadata={"help": "Resume from the last checkpoint in output_dir."})
    requeue: bool = field(
        default=False,
        metadata={"help": "Resume if there is a checkpoint, else start: for queues that repeat a command."},
    )
    keep_best: str | None = field(
        default=None, metadata={"help": "Keep the model with the best R@50 (or another figure) in output_dir/best."}
    )
    early_stop: int = field(
        default=0, metadata={"help": "Stop after this many evaluations without a better keep_best; 0: never."}
    )


@dataclass
class TargetOptions:
    """Which part of an annotated graph SFT teaches, in which order (`r1sgg.data.targets`); seeded by `seed`."""

    object_order: Order = field(
        default="annotated",
        metadata={"help": "Objects as annotated, by position, or shuffled in each epoch from the second on."},
    )
    max_objects: int | None = field(default=None, metadata={"help": "Teach at most this many objects per image."})
    max_relationships: int | None = field(
        default=None, metadata={"help": "Teach at most this many relationships per image."}
    )

    task: Task = field(
        default="sgdet",
        metadata={"help": "Teach sgdet, or answers to prompts that give boxes (sgcls) or boxes and names (predcls)."},
    )

    def bind(self, seed: int) -> Callable[..., SceneGraph]:
        """Return `target` with these options, to be called with a graph and epoch=N.

        Raises:
            ConfigError: a limit that is too low, or no such task.
        """
        if self.task not in TASKS:
            raise ConfigError(f"task: expected one of {', '.join(TASKS)}, found {self.task!r}")
        bound = functools.partial(
            target,
            order=self.object_order,
            seed=seed,
            max_objects=self.max_objects,
            max_relationships=self.max_relationships,
        )
        bound(EMPTY, epoch=0)  # a wrong option is an error now, not at the first image
        return bound


@dataclass
class RewardOptions:
    """The rewards of GRPO."""

    rewards: str = field(  # a recipe may also hold a mapping
        default=DEFAULT_SET,
        metadata={
            "help": 'A reward set, FILE.py:FUNCTION, or terms and weights: {"format": 1, "my_rewards.py:my_term": 2}.'
        },
    )
    similarity: str = field(default="glove", metadata={"help": "Label similarity: glove, exact or spacy:MODEL."})
    clamp: bool | None = field(
        default=None, metadata={"help": "Count negative cosines as 0; default: as the reward set does."}
    )
