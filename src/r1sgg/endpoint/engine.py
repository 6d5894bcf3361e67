"""The endpoint engine: any server with the OpenAI chat-completions API, local or remote.

    engine = EndpointEngine(Endpoint(model="gpt-4o", requests_per_minute=500))
    completions = engine.generate(images, chats, Sampling())

Several images are sent at a time; completions keep the order of the images. An image for which the request fails has
`Completion.error`, and the run continues; an error that every image would meet raises `ModelError`. HTTP is in
`r1sgg.endpoint.http`, the format in `wire`, completions that satisfy a `GuideSpec` in `guided`. Images are never
resized here, because a frame in pixels would become wrong, and nothing is cached. See docs/endpoint.md.
"""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from PIL import Image

from r1sgg.endpoint import guided
from r1sgg.endpoint.guided import KeptObject
from r1sgg.endpoint.http import Clock, Failure, Sleep, Transport
from r1sgg.endpoint.settings import Endpoint, Prices, Usage
from r1sgg.endpoint.wire import (
    SERVERS,
    Reply,
    chat_with_image,
    image_url,
    read_reply,
    read_tokens,
    request_body,
)
from r1sgg.errors import ConfigError, ModelError, R1SGGError
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Completion, LogProbs, Piece, Sampling
from r1sgg.models.prompts import Message

__all__ = ["Endpoint", "EndpointEngine", "Prices", "Usage"]


class EndpointEngine:
    """Generates completions through an endpoint; see `r1sgg.inference.engine.Engine`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Read the key from the environment; send no request yet.

        Args:
            endpoint: the server and its settings.
            clock: see `Transport`, also for `sleep` and `jitter`.
            sleep: waits for that many seconds.
            jitter: returns a number in [0, 1).

        Raises:
            ConfigError: the named variable holds no key.
            MissingDependencyError: httpx is not installed.
        """
        self.endpoint = endpoint
        self._server = SERVERS[endpoint.server]
        base = endpoint.base_url.rstrip("/")
        self.name = f"endpoint {base} {endpoint.model} ({endpoint.server}, {endpoint.image_format}"
        self.name += "".join(f", {key}={value!r}" for key, value in sorted(endpoint.extra.items())) + ")"
        self._transport = Transport(
            f"{base}/chat/completions",
            key_variable=endpoint.key_variable,
            connections=endpoint.concurrency,
            per_minute=endpoint.requests_per_minute,
            timeout=endpoint.timeout,
            most_retries=endpoint.retries,
            back_off=endpoint.back_off,
            clock=clock,
            sleep=sleep,
            jitter=jitter,
        )
        self._lock = threading.Lock()
        self._used = Usage()
        self._failed_in_a_row = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @property
    def usage(self) -> Usage:
        """Return the tokens, requests and cost so far."""
        used, prices = self._used, self.endpoint.prices
        cost = None
        if prices is not None:
            cost = (used.input_tokens * prices.input + used.output_tokens * prices.output) / 1e6
        return dataclasses.replace(used, retries=self._transport.retries, cost=cost)

    def generate(
        self,
        images: Sequence[Image.Image],
        messages: Sequence[list[Message]],
        sampling: Sampling,
        keys: Sequence[str] | None = None,
        *,
        guides: Sequence[GuideSpec] | None = None,
        pieces: bool = False,
    ) -> list[Completion]:
        """Generate a completion for each image and chat, `concurrency` at a time.

        If the requests for an image fail, its completion has `error`; if only relationships can't be had, it has the
        objects, and `fault`. Token counts are the server's, 0 if it reports none; for a guided completion they are
        summed over its requests, and `finish_reason` is "length" if one of them was truncated.

        Raises:
            ConfigError: the server does not support an option (top_k, guided compact completions).
            ModelError: no further request can succeed: the key is refused, the model unknown, no server at the address
                at the first request, the budget spent, or `stop_after` images in a row failed.
        """
        if not images:
            return []
        specs: Sequence[GuideSpec | None] = [None] * len(images) if guides is None else guides
        self._check(sampling, specs)
        names = [str(k) for k in range(len(images))] if keys is None else keys
        started = time.perf_counter()
        stop = threading.Event()
        with ThreadPoolExecutor(min(self.endpoint.concurrency, len(images)), "endpoint") as pool:
            jobs = [
                pool.submit(self._answer, image, chat, sampling, key, spec, pieces, stop)
                for image, chat, key, spec in zip(images, messages, names, specs, strict=True)
            ]
            try:
                completions = [job.result() for job in jobs]
            finally:
                stop.set()  # after an error or an interrupt, no other job may send another request
                for job in jobs:
                    job.cancel()
        seconds = (time.perf_counter() - started) / len(images)
        return [dataclasses.replace(completion, seconds=seconds) for completion in completions]

    def chat(
        self,
        messages: Sequence[list[Message]],
        sampling: Sampling,
        *,
        images: Sequence[Image.Image] | None = None,
        schemas: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Completion]:
        """Generate a completion for each chat, `concurrency` at a time; see `r1sgg.inference.engine.ChatEngine`.

        Raises:
            ConfigError, ModelError: see `generate`.
        """
        if not messages:
            return []
        self._check(sampling, ())
        stop = threading.Event()
        started = time.perf_counter()
        with ThreadPoolExecutor(min(self.endpoint.concurrency, len(messages)), "endpoint") as pool:
            jobs = [
                pool.submit(
                    self._reply,
                    chat,
                    sampling,
                    None if images is None else images[k],
                    None if schemas is None else dict(schemas[k]),
                    stop,
                )
                for k, chat in enumerate(messages)
            ]
            try:
                completions = [job.result() for job in jobs]
            finally:
                stop.set()
                for job in jobs:
                    job.cancel()
        seconds = (time.perf_counter() - started) / len(messages)
        return [dataclasses.replace(completion, seconds=seconds) for completion in completions]

    def _reply(
        self,
        chat: list[Message],
        sampling: Sampling,
        image: Image.Image | None,
        schema: dict[str, Any] | None,
        stop: threading.Event,
    ) -> Completion:
        """Generate the completion of one chat; an error that stops the run also stops the other threads."""
        try:
            url = None if image is None else image_url(image, self.endpoint.image_format)
            if isinstance(url, Failure):
                outcome: Completion | Failure = url
            else:
                body = request_body(
                    self.endpoint.model,
                    self._server,
                    chat if url is None else chat_with_image(chat, url),
                    sampling,
                    sampling.generator_seed("chat"),
                    schema=schema if self._server.schema else None,
                    extra=self.endpoint.extra,
                )
                reply = self.ask(body, stop)
                outcome = reply if isinstance(reply, Failure) else _completion([reply], reply.text, None)
            self._note(outcome)
        except R1SGGError:
            stop.set()
            raise
        return Completion("", 0, "error", error=outcome.reason) if isinstance(outcome, Failure) else outcome

    def _check(self, sampling: Sampling, specs: Sequence[GuideSpec | None]) -> None:
        """Raise for options that the server would silently ignore."""
        kind = self.endpoint.server
        if sampling.top_k and sampling.temperature > 0 and not self._server.own_sampling:
            raise ConfigError(
                f"top_k: expected 0 for a server of kind {kind!r}, which does not support it, found {sampling.top_k}"
            )
        if not self._server.guide and any(spec and spec.answer_format != "json" for spec in specs):
            raise ConfigError(
                f"answer format: expected json for guided completions from a server of kind {kind!r}, found compact; "
                "compact needs a server with r1sgg's own guide (server=r1sgg)"
            )

    def _answer(
        self,
        image: Image.Image,
        chat: list[Message],
        sampling: Sampling,
        key: str,
        spec: GuideSpec | None,
        pieces: bool,
        stop: threading.Event,
    ) -> Completion:
        """Generate the completion of one image; an error that stops the run also stops the other threads."""
        try:
            url = image_url(image, self.endpoint.image_format)
            if isinstance(url, Failure):
                outcome: Completion | Failure | _Part = url
            else:
                question = _Question(self, url, chat, sampling, sampling.generator_seed(key), pieces, stop)
                outcome = question.free(spec) if spec is None or self._server.guide else question.guided(spec)
            if isinstance(outcome, _Part):
                self._note(outcome.failure)
                return outcome.completion
            self._note(outcome)
        except R1SGGError:
            stop.set()
            raise
        return Completion("", 0, "error", error=outcome.reason) if isinstance(outcome, Failure) else outcome

    def _note(self, outcome: Completion | Failure) -> None:
        """Count consecutive failures, except those that the image itself caused."""
        with self._lock:
            if isinstance(outcome, Completion):
                self._failed_in_a_row = 0
            elif outcome.counts:
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= self.endpoint.stop_after:
                    count, last = self._failed_in_a_row, outcome.reason
                    raise ModelError(f"{count} images in a row failed; the last: {last}")

    def ask(self, body: dict[str, Any], stop: threading.Event) -> Reply | Failure:
        """Send one request and add its tokens to the usage."""
        spent, budget = self.usage.cost, self.endpoint.budget
        if spent is not None and budget is not None and spent >= budget:
            raise ModelError(f"the budget of {budget:g} is spent ({spent:g}); continue with a larger one")
        outcome = self._transport.post(body, stop)
        if isinstance(outcome, Failure):
            return outcome
        read, written = read_tokens(outcome)
        with self._lock:
            self._used = dataclasses.replace(
                self._used,
                answers=self._used.answers + 1,
                input_tokens=self._used.input_tokens + (read or 0),
                output_tokens=self._used.output_tokens + (written or 0),
                uncounted=self._used.uncounted + (read is None or written is None),
            )
        reply = read_reply(outcome)
        return reply._replace(reason=f"{self._transport.url}: {reply.reason}") if isinstance(reply, Failure) else reply


class _Part(NamedTuple):
    """The objects of a guided completion, which keeps them, and the failure at its relationships."""

    completion: Completion
    failure: Failure

    @classmethod
    def of(cls, completion: Completion, failure: Failure) -> Self:
        """Say in the completion why it has no relationships."""
        fault = f"the objects are kept, their relationships are missing: {failure.reason}"
        return cls(dataclasses.replace(completion, fault=fault), failure)


@dataclass(frozen=True, slots=True)
class _Question:
    """One image and the requests about it."""

    engine: EndpointEngine
    url: str
    chat: Sequence[Message]
    sampling: Sampling
    seed: int
    pieces: bool
    stop: threading.Event

    def free(self, spec: GuideSpec | None) -> Completion | Failure:
        """Send one request; a guide, if any, is applied by the server."""
        reply = self._ask(self.chat, guide=None if spec is None else spec.to_json())
        return reply if isinstance(reply, Failure) else _completion([reply], reply.text, reply.pieces)

    def guided(self, spec: GuideSpec) -> Completion | Failure | _Part:
        """Send one or two requests, with a JSON schema if the server supports it, and apply the rule of `guided`.

        The objects are kept if the relationships can't be had.
        """
        if spec.listing:  # whoever asks for such a list reads it
            reply = self._ask(self.chat, schema=guided.listing_schema(spec))
            return reply if isinstance(reply, Failure) else _completion([reply], reply.text, reply.pieces)
        if spec.given and all(name for name, *_ in spec.given):
            return self._related(spec)
        two = self.engine.endpoint.stages == 2
        *before, last = self.chat
        chat = [*before, {**last, "content": f"{last['content']}\n\n{guided.OBJECTS_FIRST}"}] if two else self.chat
        first = self._ask(chat, schema=guided.objects_schema(spec) if two else guided.graph_schema(spec))
        if isinstance(first, Failure):
            return first
        if (rows := guided.read_rows(first.text, "objects")) is None:
            return self._unreadable(first, "objects")
        unit = guided.unit_of(rows, spec)
        things = guided.keep_objects(rows, spec, unit)
        left_out = {"objects": len(rows) - len(things)}
        replies = [first]
        lost: Failure | None = None
        if two and len(things) > 1 and spec.max_relationships:
            second = self._relationships(chat, things, spec, first)
            if isinstance(second, Reply):
                replies.append(second)
            else:
                lost = second
        rows = guided.read_rows(replies[-1].text, "relationships") if len(replies) == 2 or not two else []
        if rows is None and spec.max_relationships:
            lost = self._unreadable(replies[-1], "relationships")
        links = guided.keep_relationships(rows or [], spec, guided.ends_of(things, by_id=two))
        left_out["relationships"] = len(rows or []) - len(links)
        answer = guided.write(things, links, spec)
        completion = _completion(replies, guided.joined(answer), guided.pieces_of(answer, replies))
        if unit is not None or lost is not None or any(left_out.values()):
            kept = tuple(reply.text for reply in replies)
            completion = dataclasses.replace(completion, replies=kept, left_out=left_out, unit=unit)
        return completion if lost is None else _Part.of(completion, lost)

    def _relationships(
        self, chat: Sequence[Message], things: Sequence[KeptObject], spec: GuideSpec, first: Reply
    ) -> Reply | Failure:
        """Send the second request, about the objects of the first, with the tokens that the first has left."""
        left = self.sampling.max_new_tokens - (first.output_tokens or 0)
        if left <= 0:
            return Failure(
                f"the objects took all tokens (max_new_tokens, {self.sampling.max_new_tokens:,}): allow more",
                counts=False,
            )
        asked = {"role": "user", "content": guided.THEN_RELATIONSHIPS}
        said = {"role": "assistant", "content": guided.objects_text(things, spec)}
        schema = guided.relationships_schema(spec, [thing.id for thing in things])
        return self._ask([*chat, said, asked], schema=schema, limit=left)

    def _related(self, spec: GuideSpec) -> Completion | Failure | _Part:
        """Send one request for relationships between objects that the prompt gives, with their ids as a schema's enum.

        A reply without a list of relationships gives the objects alone; it is kept in `Completion.replies`.
        """
        things = guided.given_objects(spec)
        *before, last = self.chat
        chat = [*before, {**last, "content": f"{last['content']}\n\n{guided.THEN_RELATIONSHIPS}"}]
        reply = self._ask(chat, schema=guided.relationships_schema(spec, [thing.id for thing in things]))
        if isinstance(reply, Failure):
            return reply
        rows = guided.read_rows(reply.text, "relationships")
        links = guided.keep_relationships(rows or [], spec, guided.ends_of(things, by_id=True))
        answer = guided.write(things, links, spec)
        completion = _completion([reply], guided.joined(answer), guided.pieces_of(answer, [reply]))
        lost = len(rows or []) - len(links)
        if rows is not None and not lost:
            return completion
        completion = dataclasses.replace(completion, replies=(reply.text,), left_out={"relationships": lost})
        if rows is not None:
            return completion
        unreadable = self._unreadable(reply, "relationships")
        return _Part.of(completion, unreadable._replace(counts=False))  # `native` asks models that may refuse: go on

    def _ask(
        self,
        chat: Sequence[Message],
        *,
        schema: dict[str, Any] | None = None,
        guide: str | None = None,
        limit: int | None = None,
    ) -> Reply | Failure:
        endpoint, server = self.engine.endpoint, SERVERS[self.engine.endpoint.server]
        sampling = self.sampling if limit is None else dataclasses.replace(self.sampling, max_new_tokens=limit)
        body = request_body(
            endpoint.model,
            server,
            chat_with_image(chat, self.url),
            sampling,
            self.seed,
            schema=schema if server.schema else None,
            guide=guide,
            pieces=self.pieces,
            extra=endpoint.extra,
        )
        return self.engine.ask(body, self.stop)

    def _unreadable(self, reply: Reply, name: str) -> Failure:
        found = repr(reply.text[:80]) + (" (truncated at the length limit)" if reply.finish_reason == "length" else "")
        return Failure(
            f'{self.engine.name}: expected JSON with a list "{name}", which the guide requires, found {found}'
        )


def _completion(replies: Sequence[Reply], text: str, pieces: tuple[Piece, ...] | None) -> Completion:
    """Combine the replies about one image into one completion."""
    values = [value for reply in replies for value in reply.logprobs]
    given = all(reply.logprobs for reply in replies)
    return Completion(
        text=text,
        tokens=sum(reply.output_tokens or 0 for reply in replies),
        finish_reason="length" if any(reply.finish_reason == "length" for reply in replies) else "stop",
        logprobs=LogProbs(sum(values), sum(values) / len(values)) if given else None,
        pieces=pieces,
    )
