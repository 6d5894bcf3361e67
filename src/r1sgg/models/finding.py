"""Finding a checkpoint: a folder, a name on the Hub, "photo", or one that a package ships; and its config.json.

A folder that training with LoRA wrote has an adapter and no config.json; the base model's is used.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from r1sgg.errors import ModelError, require
from r1sgg.files import user_path
from r1sgg.models.known import RECOMMENDED, Recommended

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from transformers import ProcessorMixin

ADAPTER = "adapter_config.json"


@functools.cache
def shipped() -> dict[str, EntryPoint]:
    """Return the checkpoints that installed packages register by name, as entry points "r1sgg.checkpoints".

    Each is a function that takes the name and returns the checkpoint's folder.
    """
    return {point.name: point for point in entry_points(group="r1sgg.checkpoints")}


def resolve(name: str | Path) -> str:
    """Return the folder or the Hub name that `name` refers to.

    Raises:
        ModelError: it is neither an existing folder nor of the form owner/name.
    """
    if (point := shipped().get(str(name))) is not None:  # a folder of the same name is written ./tiny
        return str(point.load()(str(name)))
    if (recommended := RECOMMENDED.get(str(name))) is not None:
        _announce(str(name), recommended)
        return recommended.hub
    path = user_path(name)
    if path.is_dir():
        if not (path / "config.json").is_file() and not (path / ADAPTER).is_file():
            raise ModelError(f"{path}: expected a checkpoint folder, found no config.json in it")
        return str(path)
    if path.exists():
        raise ModelError(f"{path}: expected a checkpoint folder, found a file")
    owner, slash, rest = str(name).partition("/")
    if isinstance(name, Path) or not slash or not owner.strip(".~") or "/" in rest or not rest:
        raise ModelError(f"{name}: no such checkpoint folder (a name on the Hub has the form owner/name)")
    return str(name)


@functools.cache
def _announce(name: str, recommended: Recommended) -> None:
    """Say, before anything is fetched, what a short name stands for and how large it is."""
    if cached(recommended.hub):
        return
    if os.environ.get("HF_HUB_OFFLINE"):
        raise ModelError(
            f"{name}: expected {recommended} in the Hub's cache, found it neither there nor a way to fetch it "
            f"(HF_HUB_OFFLINE is set); {_elsewhere(recommended.hub)}"
        )
    _log.warning("%s is %s, which is downloaded now and kept in the Hub's cache", name, recommended)


def cached(hub_name: str) -> bool:
    """Return whether the weights of a model of the Hub are in its cache on this machine; nothing is asked for."""
    huggingface_hub: Any = require("huggingface_hub", "train")
    files = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(huggingface_hub.try_to_load_from_cache(hub_name, file), str) for file in files)


def _elsewhere(hub_name: str) -> str:
    return (
        f"on a machine with a network run `hf download {hub_name} --local-dir FOLDER`, copy the folder here, and use "
        "--model FOLDER"
    )


def adapter_base(path: str) -> str | None:
    """Return the resolved base model of an adapter folder; None if the folder has a whole model.

    Args:
        path: a resolved checkpoint.

    Raises:
        ModelError: the adapter names no base model, the base is missing, or the folder also has a model.
    """
    file = Path(path) / ADAPTER
    if not file.is_file():
        return None
    if (Path(path) / "config.json").is_file():  # transformers would load the adapter without a message
        raise ModelError(f"{path}: expected a model or an adapter, found both; remove config.json or {ADAPTER}")
    try:
        record = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ModelError(f"{file}: expected a JSON object, found broken JSON ({error.msg})") from error
    base = record.get("base_model_name_or_path") if isinstance(record, dict) else None
    if not isinstance(base, str):
        raise ModelError(
            f"{file}: expected base_model_name_or_path, the model that the adapter changes, found {base!r}"
        )
    try:
        return resolve(base)
    except ModelError as error:
        hint = "; copy it there, or write its place into base_model_name_or_path"
        if not base.startswith(("/", "~")):
            hint = f"; a relative path counts from the current folder: start in another one, or{hint.removeprefix(';')}"
        raise ModelError(f"{path}: the base model of this adapter is missing: {error}{hint}") from error


def config_of(path: str) -> dict[str, Any]:
    """Read config.json of a resolved checkpoint; for an adapter, of its base model.

    Raises:
        ModelError: it is missing or cannot be read.
    """
    require("transformers", "train")
    from huggingface_hub.errors import LocalEntryNotFoundError
    from transformers import PreTrainedConfig

    path = adapter_base(path) or path
    try:
        with _retries_unsaid():
            config, _ = PreTrainedConfig.get_config_dict(path, local_files_only=is_local(path))
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: JSON that is nested too deeply
        if is_local(path):
            raise ModelError(f"{path}: config.json cannot be read: {first_line(error)}") from error
        offline = " (the Hub is switched off by HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") else ""
        unreachable = offline or any(isinstance(cause, LocalEntryNotFoundError) for cause in _causes(error))
        raise ModelError(
            f"{path}: no such folder here, and the Hub gave no such model{offline}: {first_line(error).rstrip('.')}"
            + (f"; {_elsewhere(path)}" if unreachable else "")
        ) from error
    return dict(config)


_RETRY = re.compile(r"thrown while requesting|^Retrying in ")


@contextlib.contextmanager
def _retries_unsaid() -> Iterator[None]:
    """Replace the two lines that the Hub client writes for each retry: one says that it retries, the error the rest."""

    def is_another(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if message.startswith("Retrying in ") and "[Retry 1/" in message:
            _log.warning("the Hub cannot be reached; trying again for about half a minute")
        return not _RETRY.search(message)

    client = logging.getLogger("huggingface_hub.utils._http")
    client.addFilter(is_another)
    try:
        yield
    finally:
        client.removeFilter(is_another)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


_VOCABULARY = ("tokenizer.json", "added_tokens.json", "tokenizer_config.json", "vocab.json")


def has_tokens(path: str, tokens: Iterable[str]) -> bool:
    """Return whether the tokenizer of a resolved checkpoint has all of some tokens; for an adapter, its base model's.

    The files are searched as text: a tokenizer of 150,000 tokens takes a second to load.
    """
    from transformers.utils.hub import cached_files

    path = adapter_base(path) or path
    found = cached_files(  # not every one of the files has to exist
        path,
        list(_VOCABULARY),
        local_files_only=is_local(path),
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    texts = [Path(file).read_bytes() for file in found or () if file is not None]
    return all(any(json.dumps(token).encode() in text for text in texts) for token in tokens)


def image_token_of(processor: ProcessorMixin) -> str:
    """Return the token that stands for a piece of an image; a chat template may write another (Gemma 3)."""
    return str(getattr(processor.tokenizer, "image_token", None) or processor.image_token)


def is_local(path: str) -> bool:
    """Whether a resolved checkpoint is a folder on this machine."""
    return Path(path).is_dir()


def first_line(error: Exception) -> str:
    """Return the first line of another library's error, for a message of one sentence."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
