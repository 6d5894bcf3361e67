"""The images of a request: its body, the files of a form, or what a URL in it leads to."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator

import orjson
from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteError

from r1sgg.serving.bodies import Body
from r1sgg.serving.decoding import Upload
from r1sgg.serving.fetching import fetch
from r1sgg.serving.limits import BODY
from r1sgg.serving.settings import ServerSettings

_PART = 1 << 18  # bytes of an uploaded file that are read at a time
_FIELDS = 16  # most fields of a form besides its files
_SHOWN = 40  # characters of a field's name in a message


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def one_upload(request: Request, held: contextlib.AsyncExitStack, settings: ServerSettings) -> Upload:
    """Receive or fetch the one image of a request; closing `held` releases its bytes."""
    kind = _kind(request)
    if kind == "multipart/form-data":
        (upload,) = await form_uploads(request, held, "image", 1)
        return upload
    body: Body = request.scope[BODY]
    parts: deque[bytes] = deque()
    if kind == "application/json":
        url = _url(await request.body())

        async def keep(part: bytes) -> None:
            await body.wait_for_room()
            body.add(len(part))
            parts.append(part)

        await fetch(url, settings.hosts, most_bytes=settings.most_bytes, seconds=settings.receive_seconds, keep=keep)
        body.complete()
    elif kind.startswith("image/") or kind == "application/octet-stream":
        async for part in request.stream():
            parts.append(part)
    else:
        found = f"found content type {kind or 'none'!r}; for an image send the header Content-Type: image/jpeg"
        raise HTTPException(415, f"expected an image, a form or JSON with a url, {found}")
    held.callback(body.release)
    held.callback(parts.clear)

    async def taken() -> AsyncIterator[bytes]:
        while parts:
            yield parts.popleft()

    return Upload("image", sum(map(len, parts)), taken())


def _url(body: bytes) -> str:
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f'expected {{"url": "https://..."}}, found broken JSON ({error.msg})') from error
    if not isinstance(record, dict) or set(record) != {"url"}:
        sentence = 'expected {"url": "https://..."}, found other JSON; options are part of the address (?threshold=0.3)'
        raise HTTPException(400, sentence)
    if not isinstance(url := record["url"], str):
        raise HTTPException(400, f"url: expected a string, found {type(url).__name__}")
    return url


async def form_uploads(request: Request, held: contextlib.AsyncExitStack, field: str, most: int) -> list[Upload]:
    """Receive the files of a form field; closing `held` releases them."""
    if (kind := _kind(request)) != "multipart/form-data":
        raise HTTPException(415, f"expected a form (multipart/form-data), found content type {kind or 'none'!r}")
    hint = "; /v1/graphs takes several" if most == 1 else ""
    expected = f"expected at most {most} image{'s' * (most > 1)}"
    try:
        form = await held.enter_async_context(request.form(max_files=most, max_fields=_FIELDS))
    except StarletteError as error:
        if "Too many files" in error.detail:  # a broken form stays a 400
            raise HTTPException(413, f"{expected}, found more{hint}") from error
        raise HTTPException(error.status_code, f"expected a whole form, found a broken one: {error.detail}") from error
    held.callback(request.scope[BODY].release)
    if others := [name for name in form if name != field]:
        raise HTTPException(
            400,
            f"expected the form field {field!r} alone, found {others[0][:_SHOWN]!r} too; options are part of the "
            "address (?threshold=0.3)",
        )
    files = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
    if not files:
        raise HTTPException(400, f"expected files in the form field {field!r}, found none")
    return [Upload(_name(file) or f"{field}-{k}", file.size or 0, _parts(file)) for k, file in enumerate(files, 1)]


def _name(file: UploadFile) -> str:
    """Return the name of a file as text that JSON can hold: a form's charset, such as UTF-7, can yield surrogates."""
    return (file.filename or "").encode("utf-8", "backslashreplace").decode()


async def _parts(file: UploadFile) -> AsyncIterator[bytes]:
    while part := await file.read(_PART):
        yield part
