"""POST requests to a server that may be slow, overloaded or broken: rate limit, retries, and errors that stop a run.

There are three outcomes. A JSON object is returned as it is. An error of this request alone (the server fails after all
retries, the image is too large) is returned as `Failure`. An error that every request would meet (a refused key, an
unknown model, no server at the address) is raised as `ModelError`. The JSON is interpreted in `r1sgg.endpoint.wire`.

The key is read from the environment only; it is sent in one header and appears in no message.
"""

from __future__ import annotations

import email.utils
import math
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from r1sgg.errors import ConfigError, ModelError, require

Clock = Callable[[], float]
Sleep = Callable[[float], object]

_STOPS = frozenset((401, 402, 404, 405))
_AGAIN = frozenset((408, 409, 425, 429))  # and 5xx
_HINTS = {
    401: "set the environment variable {key} to a valid key",
    402: "the account has no credit left",
    403: "the key in the environment variable {key} lacks the permission",
    404: "check the model's name, and the address (most end in /v1)",
    405: "check the address (most end in /v1)",
    413: "send JPEG, or make the image smaller",
}
_MOST_BYTES = 64 << 20  # per response
_LONGEST_WAIT = 900.0  # seconds; a longer Retry-After stops the run
_LONGEST_BACK_OFF = 60.0


class Failure(NamedTuple):
    """Why one request failed, in one sentence; `counts` is False if the image was the cause, not the server."""

    reason: str
    counts: bool = True


class _Refusal(NamedTuple):
    """One failed try; `wait` is the server's Retry-After in seconds."""

    reason: str
    again: bool
    stops: bool = False
    wait: float | None = None
    counts: bool = True


def read_key(variable: str) -> str | None:
    """Return the key in an environment variable; None if `variable` is "" or OPENAI_API_KEY is not set.

    Raises:
        ConfigError: a variable of another name is not set, or its value cannot be sent in a header.
    """
    if not variable:
        return None
    key = os.environ.get(variable, "").strip()
    if not key and variable != "OPENAI_API_KEY":
        raise ConfigError(f"key: expected it in the environment variable {variable}, found none")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"key: expected printable ASCII in the environment variable {variable}, found other characters"
        )
    return key or None


class Gate:
    """Limits the requests per minute, and lets none through while the server asks to wait."""

    def __init__(self, per_minute: float | None, clock: Clock) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._next = self._closed_until = -math.inf

    def hold(self, seconds: float) -> None:
        """Let no request through for that many seconds."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)

    def enter(self, sleep: Sleep, stop: threading.Event) -> float:
        """Wait until a request may be sent; return the time it was scheduled for."""
        with self._lock:
            place = max(self._clock(), self._next, self._closed_until)
            self._next = place + self._gap
        while not stop.is_set() and (wait := max(place, self._closed_until) - self._clock()) > 0:
            sleep(wait)
        return place


class Transport:
    """Posts JSON to one address from many threads.

    Attributes:
        retries: number of requests that were retried.
    """

    def __init__(
        self,
        url: str,
        *,
        key_variable: str,
        connections: int,
        per_minute: float | None,
        timeout: float,
        most_retries: int,
        back_off: float,
        clock: Clock = time.monotonic,
        sleep: Sleep | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare the client; open no connection yet.

        Args:
            url: where to post.
            key_variable: environment variable of the key; "" sends no key.
            connections: maximum number of open connections.
            per_minute: maximum number of requests per minute, retries included; None: no limit.
            timeout: seconds per try, from the first byte sent to the last received; at most 10 to connect.
            most_retries: maximum number of retries.
            back_off: seconds before the first retry, doubled for each further one, up to a minute.
            clock: a monotonic clock, in seconds.
            sleep: waits; None waits for the time or until the run is stopped.
            jitter: returns a number in [0, 1) that shortens each wait by up to a half.

        Raises:
            ConfigError: the named variable holds no key.
            MissingDependencyError: httpx is not installed.
        """
        self._httpx = require("httpx", "api")
        self.url, self._variable = url, key_variable
        self._key = read_key(key_variable)
        self._timeout, self._most_retries, self._back_off = timeout, most_retries, back_off
        self._clock, self._sleep, self._jitter = clock, sleep, jitter
        self._gate = Gate(per_minute, clock)
        self._lock = threading.Lock()
        self.retries = 0
        self._reached = self._served = False
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._client = self._httpx.Client(
            headers=headers,
            timeout=self._httpx.Timeout(timeout, connect=min(timeout, 10.0), pool=None),
            limits=self._httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def post(self, body: dict[str, Any], stop: threading.Event) -> dict[str, Any] | Failure:
        """Post a request, with retries, and return the JSON object of the response.

        Args:
            body: the request.
            stop: when it is set, waiting and retrying end.

        Raises:
            ModelError: no request to this server can succeed.
        """
        content = orjson.dumps(body)
        sleep = self._sleep or stop.wait
        tries = 0
        while True:
            self._gate.enter(sleep, stop)
            if stop.is_set():
                return Failure("the run was stopped before this image", counts=False)
            outcome = self._once(content)
            tries += 1
            if isinstance(outcome, dict):
                self._served = True
                return outcome
            if outcome.stops:
                raise ModelError(outcome.reason)
            if not outcome.again or tries > self._most_retries:
                after = f" (after {tries} tries)" if tries > 1 else ""
                return Failure(outcome.reason + after, outcome.counts)
            with self._lock:
                self.retries += 1
            back_off = min(_LONGEST_BACK_OFF, self._back_off * 2.0 ** (tries - 1)) * (1 - self._jitter() / 2)
            if outcome.wait is not None:
                self._gate.hold(outcome.wait)  # holds back all threads: the server is overloaded
            sleep(back_off if outcome.wait is None else max(back_off, outcome.wait))

    def _once(self, content: bytes) -> dict[str, Any] | _Refusal:
        """Try once."""
        deadline = self._clock() + self._timeout
        data = bytearray()
        try:
            with self._client.stream("POST", self.url, content=content) as response:
                self._reached = True
                for chunk in response.iter_bytes():
                    data += chunk
                    if self._clock() > deadline:
                        return self._refuse(f"the response was not complete within {self._timeout:g} s", again=True)
                    if len(data) > _MOST_BYTES:
                        return self._refuse(f"the response is longer than {_MOST_BYTES >> 20} MiB", again=False)
        except self._httpx.ConnectError as error:
            if self._reached:
                return self._refuse(f"no connection ({_clean(str(error))})", again=True)
            return self._refuse(f"no connection ({_clean(str(error))}); is the server running?", stops=True)
        except self._httpx.ConnectTimeout:
            return self._refuse("no connection within 10 s; check the address", again=True, stops=not self._reached)
        except self._httpx.TimeoutException:
            return self._refuse(f"no response within {self._timeout:g} s", again=True)
        except self._httpx.HTTPError as error:  # closed, reset, or not HTTP
            return self._refuse(f"the connection broke ({_clean(str(error))})", again=True)
        return self._judge(response, bytes(data))

    def _judge(self, response: Any, data: bytes) -> dict[str, Any] | _Refusal:
        """Classify a response: its JSON object, or the reason for a failure."""
        status: int = response.status_code
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            document = None
        error = document.get("error") if isinstance(document, dict) else None
        if status == 200 and isinstance(document, dict) and not error:
            return document
        if status == 200 and isinstance(error, dict) and type(error.get("code")) is int:
            status = error["code"]  # some brokers respond with 200 and put the upstream status here
        message = self._message(document, data)
        if status == 200:
            return self._refuse(
                f"expected a response in JSON, found {'an error: ' if error else ''}{message}", again=True
            )
        if response.is_redirect:
            place = _clean(response.headers.get("location", "nowhere"))
            return self._refuse(f"found a redirect to {place}; use that address", stops=True)
        hint = _HINTS.get(status, "").format(key=self._variable or "OPENAI_API_KEY")
        reason = f"status {status} ({message})" + (f"; {hint}" if hint else "")
        if status in _STOPS or (status == 403 and not self._served):
            return self._refuse(reason, stops=True)
        if status == 429 and isinstance(error, dict) and "insufficient_quota" in (error.get("code"), error.get("type")):
            return self._refuse(f"{reason}; {_HINTS[402]}", stops=True)
        if status not in _AGAIN and status < 500:
            return self._refuse(reason, counts=status != 413)
        wait = _retry_after(response.headers)
        if wait is not None and wait > _LONGEST_WAIT:
            return self._refuse(
                f"{reason}; the server asks to wait {wait:.0f} s; run the command again after that", stops=True
            )
        return self._refuse(reason, again=True, wait=wait)

    def _message(self, document: Any, data: bytes) -> str:
        """Return the error message of the server, with the key removed."""
        error = document.get("error", document) if isinstance(document, dict) else None
        text = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        if not isinstance(text, str):
            start = data[:400].decode("utf-8", "replace")
            text = f"HTML: {start}" if start.lstrip()[:1] == "<" else start or "nothing"
        text = text.replace(self._key, "***") if self._key else text
        return _clean(text)

    def _refuse(
        self, reason: str, *, again: bool = False, stops: bool = False, wait: float | None = None, counts: bool = True
    ) -> _Refusal:
        return _Refusal(f"{self.url}: {reason}", again, stops, wait, counts)


def _clean(text: str) -> str:
    """Reduce text to one printable line of at most 200 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= 200 else line[:199] + "…"


def _retry_after(headers: Any) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3), or None."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(value).timestamp()
            now = email.utils.parsedate_to_datetime(headers.get("date", "")).timestamp()  # the server's own clock
        except ValueError:
            return None
        seconds = until - now
    return max(0.0, seconds) if math.isfinite(seconds) else None
