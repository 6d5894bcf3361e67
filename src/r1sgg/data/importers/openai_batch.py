"""The output file of the OpenAI Batch API, also of vLLM's `run-batch` and other servers of that API.

    openai-batch:FILE[,frame=...]

    {"id": "batch_req_1", "custom_id": "2417", "error": null, "response": {"status_code": 200, "body":
     {"model": "gpt-4o", "choices": [{"message": {"role": "assistant", "content": "{...}"}, "finish_reason": "stop"}]}}}

`custom_id` is the image's id. Bodies of /v1/chat/completions, /v1/completions and /v1/responses are read. A request
that failed, and an answer without text, is an image with an error, which counts as a failure. The lines do not say what
boxes are relative to: see `frame_option` of `r1sgg.data.importers.layout`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from r1sgg.data.importers.layout import FRAME_OPTIONS, Layout, Say, frame_option
from r1sgg.data.jsonl import image_id_of, read_jsonl
from r1sgg.data.predictions import Prediction
from r1sgg.data.spec import Spec
from r1sgg.errors import InputError, short


def read(spec: Spec, say: Say) -> Iterator[Prediction]:
    """See the module's docstring."""
    frame = frame_option(spec, say)
    for number, row in read_jsonl(spec.path):
        where = f"{spec.path}:{number}"
        if "custom_id" not in row:
            raise InputError(f"{where}: 'custom_id'", expected="this key", found="nothing")
        image_id = image_id_of({"image_id": row["custom_id"]}, f"{where}: custom_id")
        response = row.get("response")
        body = response.get("body") if isinstance(response, dict) else None
        status = response.get("status_code", 200) if isinstance(response, dict) else None
        if row.get("error") is not None or not isinstance(body, dict) or status != 200:
            reason = row.get("error") or (isinstance(body, dict) and body.get("error")) or response
            yield Prediction(image_id, None, "", error=f"the request failed: {short(reason)}")
            continue
        text, fault = _answer(body, f"{where}: response.body")
        model = body.get("model")
        name = model if isinstance(model, str) else None
        yield Prediction(image_id, None if fault else frame, text, error=fault, model=name)


def _answer(body: dict[str, Any], where: str) -> tuple[str, str | None]:
    """Return the text of an answer, or why there is none."""
    if isinstance(output := body.get("output"), list):  # /v1/responses
        joined = "".join(_text(item.get("content")) or "" for item in output if isinstance(item, dict))
        return joined, None if joined else f"no text in the output (status {body.get('status')!r})"
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise InputError(f"{where}.choices", expected="a list with an answer", found=short(choices))
    message = choices[0].get("message", choices[0])  # /v1/completions has "text" in place of a message
    if not isinstance(message, dict):
        raise InputError(f"{where}.choices[0].message", expected="a JSON object", found=short(message))
    text = _text(message.get("content", message.get("text")))
    if text is not None:
        return text, None
    why = next(
        (f"{key} has text" for key in ("refusal", "reasoning_content", "reasoning", "tool_calls") if message.get(key)),
        "no text",
    )
    return "", f"no content: {why}, finish_reason {choices[0].get('finish_reason')!r}"


def _text(content: Any) -> str | None:
    """Return a content's text: itself, or that of its parts; None if it has none."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


LAYOUT = Layout(
    "openai-batch", "the OpenAI Batch API's output", ("lines",), (("custom_id", "response"),), FRAME_OPTIONS, read
)
