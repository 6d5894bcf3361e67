"""One way to open any engine: `Opening`, and `load`, which is `r1sgg.load`. No engine is imported unasked.

    hf                                              transformers in this process
    vllm   vllm:tensor_parallel_size=2              vLLM in this process, with its engine arguments
    openai:http://127.0.0.1:8000/v1,server=vllm     any server that speaks OpenAI's chat completions; its options are
                                                    the fields of `r1sgg.endpoint.settings.Endpoint`

Of a server, `prices=0.15/0.6` is what a million tokens cost, read and written; `extra.NAME=VALUE` a further field of
each request; `family=Qwen2.5-VL` whose coordinates the model speaks (`r1sgg.endpoint.remote`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from r1sgg.errors import ConfigError, ModelError
from r1sgg.guiding.spec import AnswerFormat
from r1sgg.inference.reader import Reader

if TYPE_CHECKING:
    from r1sgg.endpoint.settings import Endpoint
    from r1sgg.models.families import Checkpoint


class Habits(NamedTuple):
    """How many images an engine likes together, and how many such batches are sorted by size and written together.

    Only where a batch is padded does it matter who shares it.
    """

    batch_size: int
    window: int


ENGINES = {"hf": Habits(8, 4), "vllm": Habits(128, 1), "openai": Habits(64, 1)}


class EngineSpec(NamedTuple):
    """What stands behind --engine, taken apart."""

    kind: str
    address: str
    options: Mapping[str, str]

    @property
    def habits(self) -> Habits:
        """See `Habits`."""
        return ENGINES[self.kind]


def parse_engine(text: str) -> EngineSpec:
    """Take "KIND[:ADDRESS][,OPTION=VALUE]..." apart; it opens nothing.

    Raises:
        ConfigError: no such kind, or something without "=".
    """
    kind, _, rest = text.partition(":")
    if kind not in ENGINES:
        raise ConfigError(f"--engine: expected one of {', '.join(ENGINES)}, found {kind!r}")
    parts = rest.split(",") if rest else []
    address = parts.pop(0) if kind == "openai" and parts and "=" not in parts[0].partition("/")[0] else ""
    options = dict(part.strip().partition("=")[::2] for part in parts)
    if wrong := [name for name, value in options.items() if not (name and value)]:
        raise ConfigError(f"--engine {text}: expected OPTION=VALUE, found {wrong[0]!r}")
    if kind == "hf" and options:
        raise ConfigError(f"--engine {text}: hf has no options here; use --device and --dtype")
    return EngineSpec(kind, address, options)


@dataclass(frozen=True, slots=True)
class Opening:
    """Which model, with which engine, and how it is asked. Plain values: it can be sent to another machine.

    Attributes:
        model: a checkpoint folder, a name on the Hub (owner/name), or "tiny"; for "openai" also the server's name.
        engine: see the module's docstring.
        device: "cpu", "cuda", ...; None takes the GPU where there is one. For "hf" only.
        dtype: see `r1sgg.models.families.load_model`. For "hf" and "vllm".
        max_pixels: images are reduced to at most so many pixels.
        prompt_vocabulary: what the prompt lists ("open": nothing); None: as the checkpoint says.
        guide_vocabulary: what a guided answer may name; None: what the prompt lists.
        answer_format: "json" or "compact"; None: as the checkpoint says.
        threads: so many threads on a CPU; None chooses (`r1sgg.inference.threads`). For "hf" only.
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

    def __post_init__(self) -> None:
        kind = self.spec.kind
        for name, kinds in (("device", ("hf",)), ("dtype", ("hf", "vllm")), ("threads", ("hf",))):
            if (value := getattr(self, name)) is not None and kind not in kinds:
                raise ConfigError(f"--{name} {value}: this option is for --engine {' or '.join(kinds)}, not {kind}")

    @property
    def spec(self) -> EngineSpec:
        """The engine, taken apart."""
        return parse_engine(self.engine)

    def checkpoint(self) -> Checkpoint:
        """The model without its weights.

        Raises:
            ConfigError: a server's option that there isn't.
            ModelError: see `r1sgg.models.families.load_checkpoint`.
        """
        from r1sgg.models.families import load_checkpoint

        if self.spec.kind == "openai":
            from r1sgg.endpoint.remote import remote

            return self._asked(remote(self.model, self.spec.options.get("family"), self.max_pixels))
        return self._asked(load_checkpoint(self.model, max_pixels=self.max_pixels))

    def open(self) -> Reader:
        """The model, ready to answer.

        Raises:
            ConfigError: an option of the engine that there isn't.
            ModelError: the model cannot be loaded.
            MissingDependencyError: a package is not installed.
        """
        if self.spec.kind == "openai":
            from r1sgg.endpoint.engine import EndpointEngine

            return Reader(self.checkpoint(), EndpointEngine(self._endpoint()), self.guide_vocabulary)
        if self.spec.kind == "vllm":
            from r1sgg.inference.vllm import VLLMEngine

            options = {name: _value(value) for name, value in self.spec.options.items()}
            engine = VLLMEngine.load(self.model, dtype=self.dtype, max_pixels=self.max_pixels, options=options)
            return Reader(_with_template(self._asked(engine.checkpoint)), engine, self.guide_vocabulary)
        from r1sgg.inference.hf import TransformersEngine
        from r1sgg.models.families import load_model

        loaded = load_model(self.model, device=self.device, dtype=self.dtype, max_pixels=self.max_pixels)
        checkpoint = _with_template(self._asked(loaded))
        return Reader(checkpoint, TransformersEngine(loaded, self.threads), self.guide_vocabulary)

    def _asked(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with this prompt and answer format."""
        changes = {"vocabulary": self.prompt_vocabulary, "answer_format": self.answer_format}
        given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
        return dataclasses.replace(checkpoint, settings=dataclasses.replace(checkpoint.settings, **given))

    def _endpoint(self) -> Endpoint:
        from r1sgg.endpoint.settings import Endpoint, Prices

        fields: dict[str, Any] = {"model": self.model, "extra": {}}
        if self.spec.address:
            fields["base_url"] = self.spec.address
        for name, value in self.spec.options.items():
            if name.startswith("extra."):
                fields["extra"][name.removeprefix("extra.")] = _value(value)
            elif name == "prices":
                read, _, written = value.partition("/")
                fields["prices"] = Prices(_read(float, name, read), _read(float, name, written))
            elif name in _FIELDS:
                fields[name] = _read(_FIELDS[name], name, value)
            elif name != "family":
                known = ", ".join(f"{key}=" for key in (*_FIELDS, "prices", "family"))
                raise ConfigError(f"--engine openai: expected options of {known}, extra.NAME=, found {name!r}")
        return Endpoint(**fields)


def _with_template(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, if there is a layout for chats with it (InstructBLIP needs none)."""
    processor = checkpoint.processor
    if getattr(processor, "chat_template", None) or hasattr(processor, "qformer_tokenizer"):
        return checkpoint
    raise ModelError(
        f"{checkpoint.name}: expected a checkpoint with a chat template (chat_template.jinja), found none; "
        "copy the file from the instruct model that it was trained from"
    )


_FIELDS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("model", "server", "key_variable", "image_format"), str),
    **dict.fromkeys(("concurrency", "retries", "stop_after", "stages"), int),
    **dict.fromkeys(("requests_per_minute", "timeout", "back_off", "budget"), float),
}


def _read(kind: Callable[[str], Any], name: str, value: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise ConfigError(f"--engine openai: {name}: expected a number, found {value!r}") from error


def _value(text: str) -> Any:
    """JSON where it is JSON (4, true, 0.9), else the text."""
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
) -> Reader:
    """Load a checkpoint as a function from images to scene graphs.

    Args:
        model: a checkpoint folder, a name on the Hub (owner/name), or "tiny".
        engine: "hf", "vllm" or "openai:URL", see the head of this file.
        device: "cpu", "cuda", ...; None takes the GPU where there is one.
        dtype: see `r1sgg.models.families.load_model`.
        max_pixels: see `r1sgg.models.families.load_processor`.
        threads: see `Opening`.

    Raises:
        ModelError: see `r1sgg.models.families.load_model`.
    """
    return Opening(str(model), engine, device, dtype, max_pixels, threads=threads).open()
