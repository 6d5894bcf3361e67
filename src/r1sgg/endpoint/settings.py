"""Settings and usage of the endpoint engine; see docs/endpoint.md.

The key is not a setting, because settings are written to logs.
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
    """Price of a million tokens, in any currency: input (images included) and output."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The server and how requests are sent.

    Attributes:
        model: the server's name for the model.
        base_url: the address before /chat/completions.
        server: kind of the server, a key of `r1sgg.endpoint.wire.SERVERS`.
        key_variable: environment variable of the key; "" sends no key. OPENAI_API_KEY may be unset.
        concurrency: maximum number of simultaneous requests.
        requests_per_minute: maximum, retries included; None: no limit.
        timeout: seconds per try.
        retries: maximum number of retries of transient errors (429, 5xx, a broken connection, a body that is not JSON).
        back_off: seconds before the first retry, doubled for each further one, shortened by up to a half at random;
            a longer Retry-After of the server takes precedence.
        stop_after: the run stops after this many failed images in a row.
        stages: 2 requests the objects of a guided completion first, then relationships between them; 1 requests both
            at once (half the price) and drops relationships that name no declared object.
        image_format: "jpeg" (small) or "png" (lossless, for a local server).
        prices: for `Usage.cost`.
        budget: the run stops when this much is spent; needs prices.
        extra: additional fields of every request, such as {"reasoning_effort": "low"}.
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
            ("budget", self.budget is None or self.prices is not None, "prices too"),
        ):
            if not fine:
                found = _other(self.base_url) if name == "base_url" else repr(getattr(self, name))
                raise ConfigError(f"endpoint, {name}: expected {expected}, found {found}")


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of an engine so far.

    Attributes:
        answers: responses of the server, usable or not.
        retries: requests that were retried.
        input_tokens: tokens of the prompts and images, as counted by the server.
        output_tokens: generated tokens.
        uncounted: responses without token counts; if any, the sums and the cost are lower bounds.
        cost: by `Endpoint.prices`, without discounts; None without prices.
    """

    answers: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0
    cost: float | None = None


def _other(url: str) -> str:
    """Describe an address that is none, without showing it: it may hold a password."""
    return "one with ?; options follow a comma, as in ,timeout=60" if "?" in url else "another"


def _is_address(url: str) -> bool:
    """Return whether a URL has a host, and no part that could hold a secret."""
    try:
        parts = urllib.parse.urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        return False
    bare = not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and bare and port_fits and url.isprintable()
