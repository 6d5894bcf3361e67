"""Turn damage of a checkpoint's files into one sentence that names the file.

The everyday damage is an interrupted download: a weights file that is cut off, an index whose shards are not all there,
a pointer of Git LFS instead of a file. It is found here, before transformers would end in a traceback, or use random
weights without a message. Nothing is repaired.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from r1sgg.errors import ModelError, R1SGGError
from r1sgg.models.prompts import with_image

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

_log = logging.getLogger(__name__)

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TEMPLATE = "chat_template.jinja"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_JSON = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "chat_template.json",
    "adapter_config.json",
    INDEX,
)
_TOKENS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
_AGAIN = "copy it again from where the checkpoint comes from"
_LONGEST_EDGE = 4096  # of what an image processor makes; known ones make at most 2048
_SHOWN = 200  # characters of another library's message


class Naming:
    """A block in which whatever another library raises on damaged files becomes a `ModelError`.

    Args:
        where: the file, or the folder if the fault can be in several files.
        expected: what should be there.
        hint: what to do.
    """

    def __init__(self, where: str | Path, expected: str, hint: str = _AGAIN) -> None:
        self._where, self._expected, self._hint = where, expected, hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None and not isinstance(error, R1SGGError) and _damage(error):
            _log.info("where it happened", exc_info=error)
            raise ModelError(
                f"{self._where}: expected {self._expected}, found none that loads ({_in_words(error)}); {self._hint}"
            ) from error


def _damage(error: BaseException) -> bool:
    """Whether an error is of a kind that transformers and the libraries below it raised on damaged files."""
    from huggingface_hub.errors import StrictDataclassError
    from jinja2 import TemplateError
    from safetensors import SafetensorError

    builtin = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError, ImportError)
    others = (AssertionError, Warning, SafetensorError, TemplateError, StrictDataclassError)
    return isinstance(error, (*builtin, *others)) or type(error) is Exception  # which tokenizers raises


def _in_words(error: BaseException) -> str:
    """Return what an error says, in one line."""
    text = " ".join(str(error).split())[:_SHOWN]
    return text if isinstance(error, OSError | ValueError) and text else f"{type(error).__name__}: {text}"


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file of a checkpoint.

    Raises:
        ModelError: it is no file, or its content is not one JSON object.
    """
    try:
        record = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError):
            found = error.strerror or "no file"
        elif isinstance(error, RecursionError):
            found = "JSON that is nested too deeply"
        else:
            found = _pointer(file) or f"broken JSON ({_in_words(error)})"
        raise ModelError(f"{file}: expected a JSON object, found {found}; {_AGAIN}") from error
    if not isinstance(record, dict):
        raise ModelError(f"{file}: expected a JSON object, found {type(record).__name__}; {_AGAIN}")
    return record


def check_files(folder: Path) -> None:
    """Check the files of a checkpoint one by one: that JSON is JSON, and that weights are whole and all there.

    A file that is not there passes, but for a file of weights that the index names.

    Raises:
        ModelError: see `read_json`; or weights are missing, cut off, or not of a floating-point type.
    """
    for name in _JSON:
        if (folder / name).exists():
            read_json(folder / name)
    if (folder / TEMPLATE).is_file():
        with Naming(folder / TEMPLATE, "a chat template"):
            (folder / TEMPLATE).read_text("utf-8")
    quantized = (folder / "config.json").is_file() and "quantization_config" in read_json(folder / "config.json")
    for file in _weights_files(folder):
        _check_safetensors(file, quantized=quantized)


def _weights_files(folder: Path) -> list[Path]:
    """List the weights files that transformers and peft would read."""
    found = [folder / name for name in (_ADAPTER_WEIGHTS, WEIGHTS) if (folder / name).exists()]
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        return found
    shards = read_json(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()) or not shards:
        raise ModelError(f"{folder / INDEX}: expected a weight_map from weights to files, found none; {_AGAIN}")
    names = sorted(set(shards.values()))
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            hint = "copy it from where the checkpoint comes from"
            raise ModelError(f"{folder / INDEX}: expected the weights file {name!r} beside it, found none; {hint}")
    return [*found, *(folder / name for name in names)]


def _check_safetensors(file: Path, *, quantized: bool) -> None:
    if (pointer := _pointer(file)) is not None:
        raise ModelError(f"{file}: expected weights, found {pointer}")
    from safetensors import safe_open

    with Naming(file, "a whole file of weights"), safe_open(file, framework="np") as weights:
        kinds = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    if not kinds:
        raise ModelError(f"{file}: expected weights, found none; {_AGAIN}")
    for name, kind in kinds.items():
        if name.endswith(".weight") and not quantized and not kind.startswith(("F", "BF")):
            raise ModelError(f"{file}: expected weights of a floating-point type, found {name} of {kind}; {_AGAIN}")


def _pointer(file: Path) -> str | None:
    """Return what to say of a file that is only a pointer of Git LFS; None if it is not."""
    if not file.is_file():
        return None
    with file.open("rb") as reading:
        pointer = reading.read(24).startswith(b"version https://git-lfs")
    return "a pointer of Git LFS; fetch the file with `git lfs pull`" if pointer else None


def check_parts(path: str) -> None:
    """Find the file of a checkpoint because of which its processor does not load; return if it is none of these.

    Raises:
        ModelError: config.json or tokenizer.json is no configuration or no tokenizer.
    """
    if not (folder := Path(path)).is_dir():
        return
    from tokenizers import Tokenizer
    from transformers import AutoConfig

    if (folder / "config.json").is_file():
        with Naming(folder / "config.json", "the configuration of a model"):
            AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    if (folder / "tokenizer.json").is_file():
        with Naming(folder / "tokenizer.json", "a tokenizer"):
            Tokenizer.from_file(str(folder / "tokenizer.json"))


def load_weights(path: str, **options: Any) -> PreTrainedModel:
    """Load a model whose weights are all there and of the right shapes.

    Args:
        path: a resolved checkpoint, no adapter.
        options: for `from_pretrained`.

    Raises:
        ModelError: see `check_weights`.
    """
    check_weights(path)  # before memory is allocated for what config.json says
    return _load(path, **options)


def check_weights(path: str) -> None:
    """Check that a model's weights are all there and of the right shapes, without reading their values.

    Args:
        path: a resolved checkpoint, no adapter.

    Raises:
        ModelError: they are not, or config.json is damaged.
    """
    _load(path, device_map="meta")


def _load(path: str, **options: Any) -> PreTrainedModel:
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    local = Path(path).is_dir()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # else it prints a table of the weights that do not fit
    try:
        with Naming(path, "weights (model.safetensors) that go with config.json"):
            model, info = AutoModelForImageTextToText.from_pretrained(
                path,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                use_safetensors=True,
                local_files_only=local,
                trust_remote_code=False,
                **options,
            )
    except ModelError:
        check_parts(path)
        raise
    finally:
        logging.set_verbosity(verbosity)
    _check_fit(info, path)
    rows = model.config.get_text_config().vocab_size
    for name in _TOKENS:
        if (token := getattr(model.config, name, None)) is not None and not 0 <= token < rows:
            where = Path(path) / "config.json"
            raise ModelError(f"{where}: expected {name} below the vocabulary's size {rows}, found {token}; {_AGAIN}")
    ends = model.generation_config.eos_token_id
    if ends is not None and not all(isinstance(end, int) for end in (ends if isinstance(ends, list) else [ends])):
        where = Path(path) / "generation_config.json"
        raise ModelError(f"{where}: expected eos_token_id to be a number or a list of them, found {ends!r}; {_AGAIN}")
    loaded: PreTrainedModel = model
    return loaded


def _check_fit(info: Mapping[str, Any], path: str) -> None:
    """Check that the weights that were loaded are those that config.json asks for.

    Args:
        info: what `from_pretrained` returns if asked for `output_loading_info`, with `ignore_mismatched_sizes`.
        path: the resolved checkpoint.

    Raises:
        ModelError: a weight is missing, which transformers replaces by random numbers, or of another shape.
    """
    weights = f"{Path(path) / (WEIGHTS if (Path(path) / WEIGHTS).is_file() else INDEX)}"
    hint = "config.json and the weights are of different models, or one of them is damaged"
    if mismatched := sorted(info["mismatched_keys"]):
        name, found, expected = mismatched[0]
        raise ModelError(f"{weights}: expected {name} of shape {list(expected)}, found {list(found)}; {hint}")
    if missing := sorted(info["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"{weights}: expected the weight {missing[0]}{more}, found none; {hint}")


def check_image_processor(processor: ProcessorMixin, path: str, *, one_size: bool) -> None:
    """Check that a processor takes an image, and does not make a huge one of it.

    Args:
        processor: the checkpoint's.
        path: the resolved checkpoint.
        one_size: it brings all images to one size; else its size is a number of pixels, which `load_processor` sets.

    Raises:
        ModelError: it does not.
    """
    from PIL import Image

    names = ("processor_config.json", "preprocessor_config.json")
    file = next((Path(path) / name for name in names if (Path(path) / name).is_file()), path)
    images = processor.image_processor
    with Naming(file, "an image processor"):
        numbers = {name: getattr(images, name, None) or 1 for name in ("patch_size", "merge_size")}
        numbers |= dict(images.size or {}) if one_size else {}
        for name, number in numbers.items():
            if not 0 < number <= _LONGEST_EDGE:
                raise ModelError(f"{file}: expected {name} from 1 to {_LONGEST_EDGE:,}, found {number}; {_AGAIN}")
        images([Image.new("RGB", (64, 64))], return_tensors="pt")


def check_template(processor: ProcessorMixin, path: str, *, places: bool = True) -> None:
    """Check that a processor's chat template renders and has a place for the image; one without a template passes.

    Args:
        processor: the checkpoint's.
        path: the resolved checkpoint.
        places: whether the template must write the image's placeholder.

    Raises:
        ModelError: it does not.
    """
    if processor.chat_template is None:
        return
    names = (TEMPLATE, "chat_template.json")
    file = next((Path(path) / name for name in names if (Path(path) / name).is_file()), path)
    with Naming(file, "a chat template"):
        chat = with_image([{"role": "user", "content": "?"}])
        text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    if places and str(processor.image_token) not in text:
        found = f"one that writes none of {processor.image_token}"
        raise ModelError(f"{file}: expected a chat template with a place for the image, found {found}; {_AGAIN}")
