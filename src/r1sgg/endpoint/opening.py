"""The engine "openai" of `--engine`: turns its options into an `Endpoint`. No connection is opened here.

openai:http://127.0.0.1:8000/v1,server=vllm,prices=0.15/0.6,extra.top_k=20,family=Qwen2.5-VL
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from r1sgg.errors import ConfigError, choices
from r1sgg.inference.engines import EngineKind, Habits, Opening, option_value

if TYPE_CHECKING:
    from r1sgg.endpoint.remote import Remote
    from r1sgg.endpoint.settings import Endpoint
    from r1sgg.inference.engine import Engine

_FIELDS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("model", "server", "key_variable", "image_format"), str),
    **dict.fromkeys(("concurrency", "retries", "stop_after", "stages"), int),
    **dict.fromkeys(("requests_per_minute", "timeout", "back_off", "budget"), float),
}


def remote_checkpoint(opening: Opening) -> Remote:
    """Return the prompt settings and the frame of the model on the server; see `r1sgg.endpoint.remote.remote`."""
    from r1sgg.endpoint.remote import remote

    return remote(opening.model, opening.family or opening.spec.options.get("family"), opening.max_pixels)


def open_endpoint(opening: Opening) -> tuple[Remote, Engine]:
    """Return the prompt settings and the frame of the model, and the engine.

    Raises:
        ConfigError: an unknown option, or a value of the wrong kind.
        MissingDependencyError: httpx is not installed.
    """
    from r1sgg.endpoint.engine import EndpointEngine

    return remote_checkpoint(opening), EndpointEngine(_settings(opening))


OPENAI = EngineKind(open_endpoint, remote_checkpoint, Habits(64, 1), takes=("family",), address=True)


def _settings(opening: Opening) -> Endpoint:
    from r1sgg.endpoint.settings import Endpoint, Prices

    fields: dict[str, Any] = {"model": opening.model, "extra": {}}
    if opening.spec.address:
        fields["base_url"] = opening.spec.address
    for name, value in opening.spec.options.items():
        if name.startswith("extra."):
            fields["extra"][name.removeprefix("extra.")] = option_value(value)
        elif name == "prices":
            read, _, written = value.partition("/")
            fields["prices"] = Prices(_read(float, name, read), _read(float, name, written))
        elif name in _FIELDS:
            fields[name] = _read(_FIELDS[name], name, value)
        elif name != "family":
            known = choices((f"{key}=" for key in (*_FIELDS, "prices", "family", "extra.NAME")), f"{name}=")
            raise ConfigError(f"--engine openai: expected options of {known}, found {name!r}")
    return Endpoint(**fields)


def _read(kind: Callable[[str], Any], name: str, value: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise ConfigError(f"--engine openai: {name}: expected a number, found {value!r}") from error
