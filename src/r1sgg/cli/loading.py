"""What the commands that run a model share: options, opening the model, and the progress bar.

Imports torch and transformers only inside `hide_progress_bars`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast, get_args

import typer

from r1sgg.errors import ConfigError, require
from r1sgg.files import user_path

if TYPE_CHECKING:
    from r1sgg.bulk.stored import Inputs
    from r1sgg.data.dataset import Fault
    from r1sgg.guiding.spec import AnswerFormat
    from r1sgg.inference.engines import Opening
    from r1sgg.inference.reader import Reader
    from r1sgg.models.families import Checkpoint
    from r1sgg.models.prompts import OwnPrompt

Model = Annotated[
    str, typer.Option(help="Checkpoint folder, Hub name (owner/name), or tiny; for a server the name of its model.")
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="ENGINE",
        help="hf; vllm[:OPTION=VALUE,...]; openai[:URL,OPTION=VALUE,...] for any server (key: OPENAI_API_KEY).",
    ),
]
Temperature = Annotated[float, typer.Option(min=0.0, help="0: greedy decoding.")]
TopP = Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus sampling; 1: all tokens.")]
TopK = Annotated[int, typer.Option(min=0, help="Sample among the K most likely tokens; 0: all tokens.")]
Seed = Annotated[int, typer.Option(help="Random seed; each image has its own, derived from it.")]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Maximum length of a completion.")]
Prompt = Annotated[
    str | None,
    typer.Option(
        metavar="PROMPT",
        help="open; closed (lists the vocabulary's names); FILE; column:NAME of the data; default: the checkpoint's.",
    ),
]
Think = Annotated[
    bool | None,
    typer.Option("--think/--no-think", help="Ask for think and answer tags; default: as the checkpoint says."),
]
Vocabulary = Annotated[
    str | None,
    typer.Option(help="Vocabulary of a closed prompt and of the guide: vg150 (default of a closed prompt), psg, FILE."),
]
Format = Annotated[str | None, typer.Option("--answer-format", help="json or compact; default: the checkpoint's.")]
CutLoops = Annotated[
    bool,
    typer.Option("--cut-loops/--no-cut-loops", help="Stop completions that repeat themselves (--engine hf)."),
]
Guide = Annotated[bool, typer.Option("--guide", help="Constrain decoding to valid graphs; adds scores.")]
Samples = Annotated[int, typer.Option(min=1, help="Completions per image, merged into one graph with scores.")]
Scores = Annotated[bool, typer.Option("--scores", help="Add a confidence to each object and relationship.")]
Threshold = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Leave out objects and relationships with lower scores; implies --scores."),
]
MaxPixels = Annotated[int | None, typer.Option(min=1024, help="Resize larger images to at most this many pixels.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: the GPU if there is one.")]
Dtype = Annotated[
    str | None, typer.Option(help="Type of the weights; default: float32 on a CPU, else bfloat16; auto: as they are.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of --engine hf on a CPU; default: as many as the model can use.")
]


Family = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Whose coordinates the model of a server uses; default: what its name says."),
]


class PromptOptions(TypedDict):
    """Fields of `r1sgg.inference.engines.Opening`."""

    prompt_vocabulary: str | None
    guide_vocabulary: str | None
    answer_format: AnswerFormat | None
    think: bool | None
    prompt: OwnPrompt | None
    column: str | None


def prompt_options(
    prompt: str | None,
    vocabulary: str | None,
    answer_format: str | None = None,
    think: bool | None = None,
    *,
    guide: bool,
    columns: bool = False,
) -> PromptOptions:
    """Return the options of prompt and guide; None means that the checkpoint's setting is used.

    Args:
        prompt: "open", "closed", a file or "column:NAME".
        vocabulary: see `Vocabulary`.
        answer_format: see `Format`.
        think: see `Think`.
        guide: whether the command has a guide.
        columns: whether the command's images are rows of data, which may have prompts.

    Raises:
        ConfigError: an unknown value, or options that contradict each other.
        InputError: there is no such vocabulary or prompt file.
    """
    from r1sgg.graph.vocabulary import load_vocabulary
    from r1sgg.guiding.spec import AnswerFormat
    from r1sgg.models.prompts import COLUMN, OwnPrompt, read_prompt

    own, column = None, None
    if prompt in ("open", "closed"):
        own, column = OwnPrompt(""), ""
    elif prompt is not None and prompt.startswith(COLUMN):
        column = prompt.removeprefix(COLUMN)
        if not column or not columns:
            instead = "the name of a column" if columns else "open, closed or a file, because photos have no columns"
            raise ConfigError(f"--prompt {prompt}: expected {instead}; r1sgg generate takes data sets with columns")
    elif prompt is not None:
        if not user_path(prompt).is_file():
            raise ConfigError(f"--prompt: expected open, closed, a file or column:NAME, found {prompt!r}")
        own, column = read_prompt(user_path(prompt)), ""
    if answer_format is not None and answer_format not in get_args(AnswerFormat):
        raise ConfigError(f"--answer-format: expected json or compact, found {answer_format!r}")
    if prompt not in (None, "closed") and vocabulary not in (None, "open") and not guide:
        raise ConfigError(
            f"--vocabulary {vocabulary}: the prompt {prompt} lists no names of its own; add --prompt closed or --guide"
        )
    if prompt == "closed" and vocabulary == "open":
        raise ConfigError("--vocabulary open: a closed prompt needs names; pass vg150, psg or a file")
    if vocabulary is not None:
        load_vocabulary(vocabulary)
    listed = {"closed": vocabulary or "vg150", None: None if guide else vocabulary, "open": "open"}.get(prompt)
    return {
        "prompt_vocabulary": listed,
        "guide_vocabulary": vocabulary if guide else None,
        "answer_format": cast("AnswerFormat | None", answer_format),
        "think": think,
        "prompt": own,
        "column": column,
    }


def open_with_prompts(images: str, opening: Opening, *, annotated: bool = False) -> Inputs:
    """Open the images of a command, with their prompts if the model is asked by a column of the data.

    Args:
        images: the images.
        opening: the model.
        annotated: see `r1sgg.bulk.inputs.open_inputs`.

    Raises:
        ConfigError: --prompt names a column that is not there, or not with every image.
        InputError, ModelError: the images cannot be opened, or there is no such model.
    """
    from r1sgg.bulk.inputs import open_inputs

    column = opening.column_asked() if opening.ask == "paper" else ""
    inputs = open_inputs(images, column, annotated=annotated)
    if not inputs.column or not (without := inputs.without_prompt):
        return inputs
    found = f"none in {images}" if without == len(inputs) else f"none with {without:,} of {len(inputs):,} images"
    if opening.column:
        raise ConfigError(
            f"--prompt column:{inputs.column}: expected a text of that name with each image, found {found}"
        )
    typer.echo(_OTHER_WORDS.format(opening.model, inputs.column, found), err=True)
    return inputs


_OTHER_WORDS = "{}: trained with the prompts of the column {}, found {}: asked with r1sgg's own wording there"


def open_quietly(opening: Opening, *, columns: bool = False, named: bool = True) -> Reader:
    """Open a model for a command, without the progress bars of transformers.

    Args:
        opening: the model.
        columns: whether the command has read the prompts of its images (`open_with_prompts`).
        named: whether the family of a server's model has to be known.

    Raises:
        ConfigError, ModelError: see `Opening.open`.
        MissingDependencyError: a package is not installed.
    """
    hide_progress_bars(opening)
    reader = opening.open()
    if (notice := reader.checkpoint.notice) is not None:
        typer.echo(notice, err=True)
    announce(reader.checkpoint, opening.ask, named=named)
    if not columns and opening.ask == "paper" and (column := reader.checkpoint.settings.column):
        typer.echo(_OTHER_WORDS.format(opening.model, column, "photos without columns"), err=True)
    say_kept_prompt(reader.checkpoint, opening)
    return reader


def say_kept_prompt(checkpoint: Checkpoint, opening: Opening) -> None:
    """Say on standard error that the prompt lists no names, though there is a vocabulary; see `Opening.keeps_open`."""
    if opening.keeps_open(checkpoint):
        names = opening.guide_vocabulary
        typer.echo(
            f"{opening.model}: asked without names in the prompt, as it was trained; --vocabulary {names} is for the "
            "guide alone (--prompt closed lists the names, too)",
            err=True,
        )


def hide_progress_bars(opening: Opening) -> None:
    """Keep transformers from drawing bars while it loads a model, unless a server has it.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
    """
    if opening.spec.kind != "openai":
        require("torch", "train")
        require("transformers", "train")
        from transformers.utils import logging

        logging.disable_progress_bar()


def announce(checkpoint: Checkpoint, ask: str = "paper", *, named: bool = True) -> None:
    """Say on standard error what was guessed or differs: a server's family by its name, and asking natively.

    Args:
        checkpoint: the model.
        ask: see `AskOption`.
        named: whether the family of a server's model has to be known.

    Raises:
        ConfigError: the name says none, and no family was passed.
    """
    from r1sgg.endpoint.remote import Remote
    from r1sgg.models.tongue import native_remarks

    if isinstance(checkpoint, Remote):
        if checkpoint.nameless and named:
            raise ConfigError(checkpoint.nameless)
        if checkpoint.guess:
            typer.echo(checkpoint.guess, err=True)
    for remark in native_remarks(checkpoint) if ask == "native" else ():
        typer.echo(remark, err=True)


def say_left_out(notes: Sequence[Fault]) -> None:
    """Say on standard error what a reader of data left out: the first sentence, and how many more there are."""
    if notes:
        more = f" (and {len(notes) - 1} more, see `r1sgg data check`)" if len(notes) > 1 else ""
        typer.echo(f"{notes[0].text}{more}", err=True)


def print_table(table: Any, width: int = 160) -> None:
    """Print a table on standard output, as wide as a terminal or `width`."""
    from rich.console import Console

    # markup would take r1sgg[train] for a style
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else width, markup=False).print(table)


def remark_calibration(reader: Reader, *, guide: bool, temperature: float, samples: int) -> None:
    """Say on standard error if the checkpoint's calibration was fitted on answers of another kind."""
    calibration = reader.checkpoint.calibration
    remark = calibration and calibration.remark(guide=guide, temperature=temperature, samples=samples)
    if remark:
        typer.echo(f"{reader.checkpoint.name}: {remark}", err=True)


def describe_usage(reader: Reader) -> str | None:
    """Describe the requests to a server and their cost; None for an engine in this process."""
    used = getattr(reader.engine, "usage", None)
    if used is None:
        return None
    counted = "" if not used.uncounted else f" (lower bound: {used.uncounted} responses without a count)"
    cost = "" if used.cost is None else f", cost {used.cost:.2f}"
    tokens = f"{used.input_tokens:,} tokens read, {used.output_tokens:,} written{counted}"
    return f"{used.answers:,} responses, {used.retries:,} retries, {tokens}{cost}"


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress on standard error, as a bar on a terminal, else one line per minute; called with (done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not sys.stderr.isatty():
        yield Lines(title)
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(title, total=None)

    def show(done: int, total: int) -> None:
        bar.start()  # only now: an error before the first step should print its one sentence and no bar
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if bar.live.is_started:  # stop() prints an empty line even if nothing was shown
            bar.stop()


class Lines:
    """Progress for a log file: at most one line per `every` seconds, with an estimate of the time left."""

    def __init__(self, title: str, every: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._every, self._clock = title, every, clock
        self._began: tuple[float, int] | None = None
        self._said = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._began is None:
            self._began, self._said = (now, done), now
        seconds, made = now - self._began[0], done - self._began[1]
        if now - self._said < self._every or not made:
            return
        self._said = now
        left = round(seconds / made * (total - done))
        pace = f"{made / seconds:.3g} a second, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        typer.echo(f"{self._title}: {done:,} of {total:,} ({100 * done // total} %), {pace}", err=True)
