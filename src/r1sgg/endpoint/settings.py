"""Where the endpoint engine asks and how, and what it has used; see docs/endpoint.md.

Deliberately no key here: a setting is written into logs, a key never is.
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from r1sgg.endpoint.wire import SERVERS, ImageFormat
from r1sgg.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost, in any currency: those read (image included) and those written."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, and how.

    Attributes:
        model: the server's name for the model.
        base_url: the address before /chat/completions.
        server: what the server understands, a key of `endpoint_wire.SERVERS`.
        key_variable: environment variable that holds the key; "" sends none. The usual one may be unset.
        concurrency: most requests at a time.
        requests_per_minute: most of them, retries included; None does not limit them.
        timeout: seconds for one try.
        retries: tries after the first, for what may pass (429, 5xx, a broken connection, a body that is not JSON).
        back_off: seconds before the first retry, doubled for each further one, shortened by up to a half at random;
            a Retry-After of the server lengthens it.
        stop_after: so many images in a row without an answer stop the run.
        stages: 2 asks for the objects of a guided answer and then for relationships between them; 1 asks for all at
            once (half the price) and leaves out the relationships that name no object.
        image_format: "jpeg" (small) or "png" (exact, for a server nearby).
        prices: for `Usage.cost`.
        budget: stop before the next request when so much is spent; needs prices.
        extra: further fields for every request, such as {"reasoning_effort": "low"}.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    server: str = "openai"
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 8
    requests_per_minute: float | None = None
    timeout: float = 180.0
    retries: int = 5
    back_off: float = 1.0
    stop_after: int = 20
    stages: Literal[1, 2] = 2
    image_format: ImageFormat = "jpeg"
    prices: Prices | None = None
    budget: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limit = self.requests_per_minute
        for name, fine, expected in (
            ("model", bool(self.model), "a name"),
            ("base_url", _is_address(self.base_url), "http(s)://host[:port]/path without key or query"),
            ("server", self.server in SERVERS, " or ".join(SERVERS)),
            ("concurrency", self.concurrency >= 1, "1 or more"),
            ("requests_per_minute", limit is None or 0 < limit < float("inf"), "more than 0"),
            ("timeout", 0 < self.timeout < float("inf"), "seconds, more than 0"),
            ("retries", self.retries >= 0, "0 or more"),
            ("back_off", 0 <= self.back_off < float("inf"), "seconds, 0 or more"),
            ("stop_after", self.stop_after >= 1, "1 or more"),
            ("stages", self.stages in (1, 2), "1 or 2"),
            ("image_format", self.image_format in get_args(ImageFormat), "jpeg or png"),
            ("prices", self.prices is None or min(dataclasses.astuple(self.prices)) >= 0, "0 or more"),
            ("budget", self.budget is None or self.prices is not None, "prices beside it"),
        ):
            if not fine:
                found = "another" if name == "base_url" else repr(getattr(self, name))  # it may hold a password
                raise ConfigError(f"endpoint, {name}: expected {expected}, found {found}")


@dataclass(frozen=True, slots=True)
class Usage:
    """What an engine has used so far.

    Attributes:
        answers: answers of the server, good or bad.
        retries: requests that were sent again.
        input_tokens: tokens read, as the server counts them; image tokens are among them.
        output_tokens: tokens written.
        uncounted: answers whose tokens the server did not say; then the sums and the cost are lower bounds.
        cost: by `Endpoint.prices`, without discounts; None where there are none.
    """

    answers: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0
    cost: float | None = None


def _is_address(url: str) -> bool:
    """Whether a URL has a host and nothing that could hold a secret."""
    try:
        parts = urllib.parse.urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        return False
    bare = not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and bare and port_fits and url.isprintable()
