"""What the server is set to, and what a request may ask for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Request

from r1sgg.errors import ConfigError, nearest
from r1sgg.inference.engine import Sampling
from r1sgg.inference.reader import check_samples
from r1sgg.serving.batching import Options


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits and options of the server.

    Attributes:
        most_images: most images in a batch of the model, and in a request.
        queue: most images that wait; further ones are refused with 429.
        most_bytes: longest body of a request; also the limit of all bodies, see `r1sgg.serving.bodies.BodyBudget`.
        most_pixels: largest image.
        image_memory: most bytes that all images together need while they are decoded.
        receive_seconds: time for a client to send the body.
        answer_seconds: time for the whole request; then 504.
        key: the API key, or None if none is needed.
        hosts: hosts from which images may be fetched.
        max_new_tokens: longest completion.
    """

    most_images: int = 16
    queue: int = 64
    most_bytes: int = 20_000_000
    most_pixels: int = 40_000_000
    image_memory: int = 160_000_000
    receive_seconds: float = 15.0
    answer_seconds: float = 60.0
    key: str | None = None
    hosts: tuple[str, ...] = ()
    max_new_tokens: int = 1024

    def __post_init__(self) -> None:
        positive = ("most_images", "queue", "most_bytes", "most_pixels", "image_memory")
        for name in (*positive, "receive_seconds", "answer_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"server, {name}: expected more than 0, found {getattr(self, name)}")
        if self.key is not None and not self.key.strip():
            raise ConfigError("server, key: expected an API key, found an empty one")


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The options of a request."""

    guide: Annotated[bool, Query(description="Constrain the completion to a valid graph.")] = True
    threshold: Annotated[float, Query(ge=0, le=1, description="Leave out lower scores.")] = 0.0
    samples: Annotated[int, Query(ge=1, le=16, description="Completions to merge into one graph.")] = 1
    temperature: Annotated[float, Query(ge=0, le=2, description="0 is greedy; several samples need more.")] = 0.0

    def options(self, most_tokens: int, *, stream: bool = False) -> Options:
        """Return the options of the batch.

        Raises:
            ConfigError: the options contradict each other.
        """
        sampling = Sampling(self.temperature, max_new_tokens=most_tokens, cut_loops=True)
        check_samples(self.samples, sampling)
        if stream and self.samples > 1:
            raise ConfigError(f"samples: expected 1 for a stream, found {self.samples}; /v1/graph merges several")
        return Options(sampling, self.guide, self.samples, scores=self.threshold > 0)


_SHOWN = 40  # characters of an option's name in a message


def request_options(request: Request, options: Annotated[RequestOptions, Depends()]) -> RequestOptions:
    """Return the options of a request; one that is unknown or repeated is refused, because it would be ignored.

    Raises:
        ConfigError: there is one.
    """
    known = [field.name for field in dataclasses.fields(RequestOptions)]
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            near = "".join(f"; did you mean {one}?" for one in nearest(name[:_SHOWN], known, 1))
            raise ConfigError(f"the address: expected the options {', '.join(known)}, found {name[:_SHOWN]!r}{near}")
        if names.count(name) > 1:
            raise ConfigError(f"{name}: expected this option once in the address, found it {names.count(name)} times")
    return options
