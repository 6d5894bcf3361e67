"""One way to open any engine: `Opening`, and `load`, which is `r1sgg.load`. No engine is imported unasked.

    hf                                              transformers in this process
    vllm   vllm:tensor_parallel_size=2              vLLM in this process, with its engine arguments (values are JSON)
    openai:http://127.0.0.1:8000/v1,server=vllm     any server that speaks OpenAI's chat completions; its options are
                                                    the fields of `r1sgg.endpoint.settings.Endpoint`

Of a server, `prices=0.15/0.6` is what a million tokens cost, read and written; `extra.NAME=VALUE` a further field of
each request; `family=Qwen2.5-VL` whose coordinates the model speaks, as `--family` (`r1sgg.endpoint.remote`). Another
package registers an `EngineKind` as an entry point of the group "r1sgg.engines" (docs/howto/engine.md).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import orjson

from r1sgg.data.predictions import Ask
from r1sgg.errors import ConfigError, ModelError, choices
from r1sgg.files import user_path
from r1sgg.guiding.spec import AnswerFormat
from r1sgg.inference.engine import Engine
from r1sgg.inference.reader import Reader
from r1sgg.models.known import recommended_ask
from r1sgg.models.prompts import OwnPrompt

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint


_log = logging.getLogger(__name__)


class Habits(NamedTuple):
    """How many images an engine likes together, and how many such batches are sorted by size and written together.

    Only where a batch is padded does it matter who shares it.
    """

    batch_size: int
    window: int


def own_checkpoint(opening: Opening) -> Checkpoint:
    """Return the model that `Opening.model` names, without its weights.

    Raises:
        ModelError: see `r1sgg.models.families.load_checkpoint`.
    """
    from r1sgg.models.families import load_checkpoint

    return load_checkpoint(opening.model, max_pixels=opening.max_pixels)


class EngineKind(NamedTuple):
    """An engine that `--engine` can name.

    Attributes:
        open: returns how the model is asked and the engine that answers; heavy imports go inside it.
        checkpoint: returns how the model is asked, without loading weights.
        habits: how its images are batched.
        takes: which of `Opening.device`, `dtype`, `threads` and `family` it uses; another that is given is an error.
        options: the OPTION=VALUE that it takes; None: any, `open` checks them.
        address: whether an address may follow its name (KIND:ADDRESS,OPTION=VALUE).
    """

    open: Callable[[Opening], tuple[Checkpoint, Engine]]
    checkpoint: Callable[[Opening], Checkpoint] = own_checkpoint
    habits: Habits = Habits(8, 4)
    takes: tuple[str, ...] = ()
    options: tuple[str, ...] | None = None
    address: bool = False


_OWN = {
    "hf": "r1sgg.inference.engines:HF",
    "vllm": "r1sgg.inference.engines:VLLM",
    "openai": "r1sgg.endpoint.opening:OPENAI",  # by name, because r1sgg.endpoint is built on r1sgg.inference
}

_LOADS = ("hf", "vllm")  # the engines that load the checkpoint themselves


@functools.cache
def _engines() -> dict[str, EntryPoint]:
    """Return the engines of this package, and those that installed packages register under other names."""
    own = {name: EntryPoint(name, place, "r1sgg.engines") for name, place in _OWN.items()}
    return own | {point.name: point for point in entry_points(group="r1sgg.engines") if point.name not in own}


def engine_kind(name: str) -> EngineKind:
    """Return the engine of that name.

    Raises:
        ConfigError: there is none.
        TypeError: a package registered something else under that name.
    """
    if name not in _engines():
        raise ConfigError(f"--engine: expected one of {choices(_engines(), name)}, found {name!r}")
    kind = _engines()[name].load()
    if not isinstance(kind, EngineKind):
        raise TypeError(f"entry point {name!r} of r1sgg.engines: expected an EngineKind, found {type(kind).__name__}")
    return kind


class EngineSpec(NamedTuple):
    """What follows --engine, taken apart."""

    kind: str
    address: str
    options: Mapping[str, str]

    @property
    def habits(self) -> Habits:
        """See `Habits`."""
        return engine_kind(self.kind).habits


def parse_engine(text: str) -> EngineSpec:
    """Take "KIND[:ADDRESS][,OPTION=VALUE]..." apart; it opens nothing.

    Raises:
        ConfigError: no such kind or option, or something without "=".
    """
    name, _, rest = text.partition(":")
    kind = engine_kind(name)
    parts = _split(rest)
    address = parts.pop(0) if kind.address and parts and "=" not in parts[0].partition("/")[0] else ""
    options = dict(part.strip().partition("=")[::2] for part in parts)
    if wrong := [option for option, value in options.items() if not (option and value)]:
        raise ConfigError(f"--engine {text}: expected OPTION=VALUE, found {wrong[0]!r}")
    if options and kind.options == ():
        instead = f"; use --{' and --'.join(kind.takes)}" if kind.takes else ""
        raise ConfigError(f"--engine {text}: {name} has no options here{instead}")
    if kind.options is not None and (unknown := [option for option in options if option not in kind.options]):
        known = choices((f"{option}=" for option in kind.options), f"{unknown[0]}=")
        raise ConfigError(f"--engine {text}: expected options of {known}, found {unknown[0]!r}")
    return EngineSpec(name, address, options)


def _split(text: str) -> list[str]:
    """Split at commas, but not inside the brackets of a JSON value."""
    parts, depth = [""] if text else [], 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


@dataclass(frozen=True, slots=True)
class Opening:
    """Which model, with which engine, and how it is asked. Plain values: it can be sent to another machine.

    Attributes:
        model: a checkpoint folder, a name on the Hub (owner/name), "tiny" or "photo"; for "openai" also the server's
            name.
        engine: see the module's docstring.
        device: "cpu", "cuda", ...; None takes the GPU where there is one. For "hf" only.
        dtype: see `r1sgg.models.families.load_model`. For "hf" and "vllm".
        max_pixels: images are reduced to at most so many pixels.
        prompt_vocabulary: what the prompt lists ("open": nothing); None: as the checkpoint says, see `keeps_open`.
        guide_vocabulary: what a guided answer may name; None: what the prompt lists.
        answer_format: "json" or "compact"; None: as the checkpoint says.
        threads: so many threads on a CPU; None chooses (`r1sgg.inference.threads`). For "hf" only.
        think: ask for <think> and <answer> tags; None: as the checkpoint says.
        prompt: ask with this text; one without text: with our prompt. None: as the checkpoint says.
        column: the column of the data that has the prompts; "": none. None: as the checkpoint says.
        ask: see `r1sgg.inference.reader.Reader`.
        family: whose coordinates a server's model uses; None: the family that its name says. For "openai" only.
    """

    model: str = "tiny"
    engine: str = "hf"
    device: str | None = None
    dtype: str | None = None
    max_pixels: int | None = None
    prompt_vocabulary: str | None = None
    guide_vocabulary: str | None = None
    answer_format: AnswerFormat | None = None
    threads: int | None = None
    think: bool | None = None
    prompt: OwnPrompt | None = None
    column: str | None = None
    family: str | None = None
    ask: Ask = "paper"

    def __post_init__(self) -> None:
        spec = self.spec
        for name in ("device", "dtype", "threads", "family"):
            if (value := getattr(self, name)) is not None and name not in engine_kind(spec.kind).takes:
                kinds = " or ".join(kind for kind in _OWN if name in engine_kind(kind).takes)
                raise ConfigError(f"--{name} {value}: this option is for --engine {kinds}, not {spec.kind}")
        self._check_native()

    def _check_native(self) -> None:
        """See that native questions are given no option that they do not have; the names that a prompt lists they have.

        Raises:
            ConfigError: one is given.
        """
        if self.ask != "native":
            return
        without = {
            "--no-think" if self.think is False else "--think": self.think is not None,
            "--answer-format": self.answer_format is not None,
            "--prompt FILE": self.prompt is not None and bool(self.prompt.text),
            "--prompt column:NAME": bool(self.column),
        }
        if given := [name for name, is_given in without.items() if is_given]:
            them = "it" if len(given) == 1 else "them"
            raise ConfigError(
                f"{' and '.join(given)}: expected --ask paper too, because --ask native asks two questions in words of "
                f"its own; leave {them} out, or pass --ask paper"
            )

    @property
    def spec(self) -> EngineSpec:
        """The engine, taken apart."""
        return parse_engine(self.engine)

    def column_asked(self) -> str:
        """Return the column of the data that has the prompts, "" if none has; nothing is loaded.

        Raises:
            ModelError: there is no such checkpoint.
            InputError: its r1sgg.json is damaged.
        """
        if self.column is not None:
            return self.column
        if self.prompt is not None:
            return ""
        from r1sgg.models.families import answer_settings, resolve
        from r1sgg.models.known import known_checkpoint

        if self.spec.kind in _LOADS or user_path(self.model).is_dir():
            return answer_settings(resolve(self.model)).column
        known = known_checkpoint(self.model)  # a server's model: nothing is fetched for its name
        return "" if known is None else known.settings.column

    def checkpoint(self) -> Checkpoint:
        """Return the model without its weights.

        Raises:
            ConfigError: an option of the engine has a wrong value.
            ModelError: see `r1sgg.models.families.load_checkpoint`.
        """
        return self._asked(engine_kind(self.spec.kind).checkpoint(self))

    def open(self) -> Reader:
        """Load the model.

        Raises:
            ConfigError: the engine has no such option, or an option has a wrong value.
            ModelError: the model cannot be loaded.
            MissingDependencyError: a package is not installed.
        """
        checkpoint, engine = engine_kind(self.spec.kind).open(self)
        return Reader(self._asked(checkpoint), engine, self.guide_vocabulary, self.ask)

    def keeps_open(self, checkpoint: Checkpoint) -> bool:
        """Whether the guide's names stay out of the prompt, because the checkpoint was trained with none in it.

        A prompt that lists them is not the one that it knows. A checkpoint that does not say how it was trained, and
        one whose prompt listed names, is asked with the guide's names, unless the prompt is chosen.
        """
        trained_open = checkpoint.recorded and checkpoint.settings.vocabulary == "open"
        return trained_open and self._follows_the_guide and self.guide_vocabulary != "open" and self.ask == "paper"

    @property
    def _follows_the_guide(self) -> bool:
        """Whether there are names for the guide, and no prompt was chosen."""
        return self.guide_vocabulary is not None and (self.prompt_vocabulary, self.prompt, self.column) == (None,) * 3

    def _asked(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with this prompt and answer format."""
        listed = self.prompt_vocabulary
        if self._follows_the_guide and not self.keeps_open(checkpoint):
            listed = self.guide_vocabulary
        changes = {
            "vocabulary": listed,
            "answer_format": self.answer_format,
            "think": self.think,
            "column": self.column,
        }
        given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
        if self.prompt is not None:
            ours = "paper" if checkpoint.settings.prompt == "own" else checkpoint.settings.prompt
            given |= {"prompt": "own" if self.prompt.text else ours, "own": self.prompt.text}
            given["system"] = self.prompt.system
        return dataclasses.replace(checkpoint, settings=dataclasses.replace(checkpoint.settings, **given))


def _open_hf(opening: Opening) -> tuple[Checkpoint, Engine]:
    from r1sgg.inference.hf import TransformersEngine
    from r1sgg.models.families import load_model

    loaded = load_model(opening.model, device=opening.device, dtype=opening.dtype, max_pixels=opening.max_pixels)
    return _with_template(loaded), TransformersEngine(loaded, opening.threads)


def _open_vllm(opening: Opening) -> tuple[Checkpoint, Engine]:
    from r1sgg.inference.vllm import VLLMEngine

    options = {name: option_value(value) for name, value in opening.spec.options.items()}
    engine = VLLMEngine.load(opening.model, dtype=opening.dtype, max_pixels=opening.max_pixels, options=options)
    return _with_template(engine.checkpoint), engine


HF = EngineKind(_open_hf, habits=Habits(8, 4), takes=("device", "dtype", "threads"), options=())
VLLM = EngineKind(_open_vllm, habits=Habits(128, 1), takes=("dtype",))


def _with_template(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint if it has a chat template."""
    if getattr(checkpoint.processor, "chat_template", None):
        return checkpoint
    raise ModelError(
        f"{checkpoint.name}: expected a checkpoint with a chat template (chat_template.jinja), found none; "
        "copy the file from the instruct model that it was trained from"
    )


def option_value(text: str) -> Any:
    """Return the value of JSON (4, true, 0.9), or the text where it is no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def load(
    model: str | Path = "tiny",
    *,
    engine: str = "hf",
    device: str | None = None,
    dtype: str | None = None,
    max_pixels: int | None = None,
    threads: int | None = None,
    ask: Ask | None = None,
) -> Reader:
    """Load a checkpoint as a function from images to scene graphs.

    Args:
        model: a checkpoint folder, a name on the Hub (owner/name), "photo" (a small model that reads photos; fetched
            from the Hub at its first use), or "tiny", which knows drawn scenes only and says so.
        engine: "hf", "vllm" or "openai:URL", see the head of this file.
        device: "cpu", "cuda", ...; None takes the GPU where there is one.
        dtype: see `r1sgg.models.families.load_model`.
        max_pixels: see `r1sgg.models.families.load_processor`.
        threads: see `Opening`.
        ask: "paper" (one prompt for the graph), or "native" (two questions in the words and the layout that the model's
            makers taught it); None, as in the commands: "native" for "photo", else "paper".

    Raises:
        ConfigError: a wrong option of the engine, no such `ask`, or a server's model whose name says no family (option
            `family=`).
        ModelError: see `r1sgg.models.families.load_model`.
    """
    from r1sgg.models.tongue import native_remarks

    if ask not in (None, *get_args(Ask)):
        raise ConfigError(f"ask: expected {' or '.join(get_args(Ask))}, found {ask!r}")
    asked = recommended_ask(str(model)) if ask is None else ask
    reader = Opening(str(model), engine, device, dtype, max_pixels, threads=threads, ask=asked).open()
    if nameless := getattr(reader.checkpoint, "nameless", ""):
        reader.close()
        raise ConfigError(f'{nameless}; in Python engine="openai:URL,family=NAME"')
    remarks = [reader.checkpoint.notice, getattr(reader.checkpoint, "guess", "")]
    for said in filter(None, (*remarks, *(native_remarks(reader.checkpoint) if asked == "native" else ()))):
        _log.warning("%s", said)
    return reader
