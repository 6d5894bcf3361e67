"""The OpenAI chat-completions format: the request about one image, and reading the response.

Servers differ: `SERVERS` lists what each kind supports beyond the common core, and nothing else is sent. An unsupported
option that would change the completion is never dropped silently: it is a `ConfigError`.
"""

from __future__ import annotations

import base64
import codecs
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from PIL import Image

from r1sgg.endpoint.http import Failure
from r1sgg.errors import ConfigError
from r1sgg.inference.engine import Piece, Sampling
from r1sgg.models.prompts import Message

ImageFormat = Literal["jpeg", "png"]


@dataclass(frozen=True, slots=True)
class Server:
    """What a kind of server supports beyond the model, the messages, the temperature and top_p.

    Attributes:
        length: name of the field for the maximum number of tokens.
        seed: supports a seed.
        logprobs: returns the log-probabilities of tokens.
        schema: supports JSON schemas (response_format json_schema, strict).
        own_sampling: supports top_k and repetition_penalty; both are always sent, because such servers default to the
            checkpoint's generation_config.json, whose penalty suppresses the brackets of JSON.
        guide: has r1sgg's guide as a logits processor (vllm_xargs).
    """

    length: str = "max_tokens"
    seed: bool = False
    logprobs: bool = False
    schema: bool = False
    own_sampling: bool = False
    guide: bool = False


SERVERS: dict[str, Server] = {
    "openai": Server(length="max_completion_tokens", seed=True, logprobs=True, schema=True),
    "vllm": Server(seed=True, logprobs=True, schema=True, own_sampling=True),
    "r1sgg": Server(seed=True, logprobs=True, schema=True, own_sampling=True, guide=True),
    "plain": Server(),
}
"""Kinds of servers: OpenAI's own; vLLM, SGLang and others with open weights; vLLM with r1sgg's guide; the rest."""


def image_url(image: Image.Image, image_format: ImageFormat) -> str | Failure:
    """Encode an image as a data URL: JPEG of quality 95 without chroma subsampling, or PNG (lossless)."""
    buffer = io.BytesIO()
    if image_format == "jpeg" and max(image.size) > _JPEG_SIDE:
        width, height = image.size
        return Failure(f"image: expected sides of at most {_JPEG_SIDE} for JPEG, found {width}x{height}", counts=False)
    if image_format == "jpeg":
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        image.save(buffer, "PNG")
    return f"data:image/{image_format};base64,{base64.b64encode(buffer.getbuffer()).decode()}"


_JPEG_SIDE = 65_500  # libjpeg's limit


def chat_with_image(messages: Sequence[Message], url: str) -> list[Message]:
    """Insert the image before the text of the first user message."""
    place = next(k for k, message in enumerate(messages) if message["role"] == "user")
    asked = messages[place]
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": asked["content"]}]
    return [*messages[:place], {**asked, "content": parts}, *messages[place + 1 :]]


def request_body(
    model: str,
    server: Server,
    chat: Sequence[Message],
    sampling: Sampling,
    seed: int,
    *,
    schema: dict[str, Any] | None = None,
    guide: str | None = None,
    pieces: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the body of one request.

    Args:
        model: the server's name for the model.
        server: what the server supports.
        chat: messages, with the image as a part.
        sampling: how tokens are chosen; top_p is sent if it is below 1.
        seed: seed of this image (63 bits), sent if tokens are sampled, as 31 bits, which every server stores exactly.
        schema: JSON schema of the completion.
        guide: a guide for the server's logits processor, see `r1sgg.guiding`.
        pieces: request log-probabilities.
        extra: additional fields, sent unchanged.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": list(chat),
        "temperature": sampling.temperature,
        server.length: sampling.max_new_tokens,
    }
    if server.own_sampling:
        body |= {"top_p": sampling.top_p, "top_k": sampling.top_k or -1, "min_p": 0.0, "repetition_penalty": 1.0}
        if sampling.tags:
            body["skip_special_tokens"] = False
    elif sampling.top_p < 1:
        body["top_p"] = sampling.top_p
    if sampling.temperature > 0 and server.seed:
        body["seed"] = seed >> 32
    if pieces and server.logprobs:
        body["logprobs"] = True
    if schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "scene_graph", "strict": True, "schema": schema},
        }
    if guide is not None:
        body["vllm_xargs"] = {"r1sgg": guide}
    if extra:
        if taken := sorted(body.keys() & extra.keys()):
            raise ConfigError(f"extra: expected only fields that the engine does not set itself, found {taken[0]!r}")
        body |= extra
    return body


class Reply(NamedTuple):
    """The reply of a model; token counts are None if the server reports none.

    `pieces` are the tokens of `text`; `logprobs` are those of all tokens, the end-of-turn token included if the server
    lists it.
    """

    text: str
    finish_reason: str
    input_tokens: int | None
    output_tokens: int | None
    pieces: tuple[Piece, ...] | None
    logprobs: tuple[float, ...]


def read_tokens(document: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the numbers of input and output tokens, as counted by the server."""
    usage = document.get("usage")
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")] if isinstance(usage, dict) else [None, None]
    read, written = (count if type(count) is int and count >= 0 else None for count in counts)
    return read, written


def read_reply(document: Mapping[str, Any]) -> Reply | Failure:
    """Read the first choice of a response, or the reason why there is none."""
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        keys = ", ".join(sorted(str(key)[:40] for key in document)[:8]) or "nothing"
        return Failure(f"expected a response with choices[0].message, found the keys {keys}")
    reason = choice.get("finish_reason")
    text = _text(message.get("content"))
    if refusal := message.get("refusal"):
        return Failure(f"the model refused: {str(refusal)[:200]!r}", counts=False)
    if reason == "content_filter":
        return Failure("the content filter of the server stopped the completion", counts=False)
    if text is None:
        if reason not in _CUT:
            why = f"(finish_reason {str(reason)[:40]!r})"
            thoughts = message.get("reasoning_content") or message.get("reasoning")
            if isinstance(thoughts, str) and thoughts.strip():
                why += (
                    f" but {len(thoughts):,} characters of reasoning: the server's reasoning parser took the whole "
                    "reply for thoughts; switch the parser off, or let the model close its thoughts"
                )
            return Failure(f"expected text in choices[0].message.content, found none {why}")
        text = ""  # all tokens were reasoning that the server does not return
    read, written = read_tokens(document)
    pieces, logprobs = _pieces(choice.get("logprobs"), text)
    return Reply(text, "length" if reason in _CUT else "stop", read, written, pieces, logprobs)


_CUT = ("length", "max_tokens")


def _text(content: Any) -> str | None:
    """Return the text of a message: a string, or its text parts joined; None for anything else."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(part for part in parts if isinstance(part, str)) if parts else None
    return content if isinstance(content, str) else None


def _pieces(logprobs: Any, text: str) -> tuple[tuple[Piece, ...] | None, tuple[float, ...]]:
    """Return the tokens of `text` and the log-probabilities of all tokens; None and () if missing or malformed."""
    rows = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(rows, list) or not rows:
        return None, ()
    decode = codecs.getincrementaldecoder("utf-8")(
        "replace"
    ).decode  # the bytes of a character may be split over tokens
    pieces: list[Piece] = []
    values: list[float] = []
    unfinished = 0.0  # sum of log-probabilities of a character's first bytes
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("token"), str):
            return None, ()
        value, coded = row.get("logprob"), row.get("bytes")
        if not isinstance(value, int | float):
            return None, ()
        values.append(float(value))
        word: str = row["token"]
        if isinstance(coded, list) and all(type(b) is int and 0 <= b < 256 for b in coded):
            word = decode(bytes(coded))
        if word:
            pieces.append(Piece(word, unfinished + values[-1]))
        unfinished = 0.0 if word else unfinished + values[-1]
    start = "".join(piece.text for piece in pieces).find(text)
    if start < 0:
        return None, tuple(values)
    return cut(pieces, start, start + len(text)), tuple(values)


def cut(pieces: Sequence[Piece], start: int, end: int) -> tuple[Piece, ...]:
    """Return the pieces of characters start..end; a token that crosses a boundary keeps its log-probability."""
    kept: list[Piece] = []
    position = 0
    for piece in pieces:
        begin, position = position, position + len(piece.text)
        low, high = max(begin, start), min(position, end)
        if low < high:
            kept.append(piece._replace(text=piece.text[low - begin : high - begin]))
    return tuple(kept)
