"""The budget of the server: hostile images, each with a few kilobytes, that would take gigabytes or minutes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import struct
import sys
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, features

from r1sgg.errors import ImageError
from r1sgg.serving import decoding
from r1sgg.serving.decoding import Budget, Decoder, Upload
from r1sgg.serving.reducing import _clock, reduce
from r1sgg.serving.settings import ServerSettings

from .server import ColourReader, Running, png, serving, wait_until
from .test_connection import _children

SIDE = 6320  # 40 million pixels, the most that the server allows


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flat_png(side: int = SIDE, colour: int = 2, depth: int = 8) -> bytes:
    """A black PNG of a few kilobytes; colour 0 is grey, 2 RGB, 6 RGBA."""
    row = 1 + -(-side * depth * {0: 1, 2: 3, 6: 4}[colour] // 8)
    press = zlib.compressobj(9)
    data = b"".join(press.compress(b"\0" * row) for _ in range(side)) + press.flush()
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def held(pid: int) -> float:
    """Megabytes that a process and its children hold."""
    pages = 0
    for one in (pid, *_children(pid)):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def highest(measure: Callable[[], float], every: float) -> Iterator[list[float]]:
    """The highest value that something had during the block."""
    found, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(every):
            found[0] = max(found[0], measure())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def peak() -> Iterator[list[float]]:
    """How many megabytes more than at the beginning were held, at most."""
    before = held(os.getpid())
    with highest(lambda: held(os.getpid()) - before, 0.02) as found:
        yield found


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(ServerSettings(image_memory=230_000_000)) as running:
        yield running


def test_sixteen_large_images_in_one_small_request(server: Running) -> None:
    data = flat_png(colour=0, depth=1)
    assert 16 * len(data) < 200_000
    files = [("images", (f"{k}.png", data, "image/png")) for k in range(16)]
    with peak() as more:
        answer = server.client.post("/v1/graphs", files=files)
    assert answer.status_code == 200
    graphs = answer.json()["graphs"]
    assert [(graph["width"], graph["height"]) for graph in graphs] == [(SIDE, SIDE)] * 16
    assert graphs[0]["objects"][0]["bbox"] == pytest.approx([0, 0, SIDE / 1000, SIDE / 1000])
    assert more[0] < 300  # 5,000 without a budget


def test_sixteen_clients_with_large_images_at_once_stay_within_the_budget(server: Running) -> None:
    bodies = [flat_png(colour=0, depth=1), flat_png(), flat_png(4000, colour=6)]
    budget = server.app.state.decoder.budget
    with peak() as more, highest(lambda: budget.taken, 0.001) as taken, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(server.post, [bodies[k % 3] for k in range(16)]))
    assert {answer.status_code for answer in answers} == {200}
    assert 150_000_000 < taken[0] <= 230_000_000
    assert more[0] < 330
    assert budget.taken == 0


def test_what_would_take_more_than_the_budget_is_refused() -> None:
    with serving(ServerSettings(image_memory=150_000_000)) as server:
        answer = server.post(flat_png())
        assert answer.status_code == 400
        assert "expected an image that takes at most 150,000,000 bytes to decode, found one that" in answer.text
        assert "shrink it, or send it as JPEG" in answer.text
        assert server.post(flat_png(colour=0)).status_code == 200


def test_a_webp_takes_its_memory_from_the_budget() -> None:
    """Pillow takes it when it opens the file; with the limit of a header alone it would call a large one damaged."""
    with serving() as server:
        for side, status in ((2600, 200), (3000, 400)):
            buffer = io.BytesIO()
            Image.new("RGB", (side, side), (20, 30, 40)).save(buffer, "WEBP", method=0)
            answer = server.post(buffer.getvalue())
            assert answer.status_code == status, answer.text
        assert "expected an image that takes at most 160,000,000 bytes to decode, found one that" in answer.text


def test_an_image_with_more_pixels_than_allowed_is_refused(server: Running) -> None:
    answer = server.post(flat_png(6400, colour=0, depth=1))
    assert answer.status_code == 400
    assert "expected at most 40,000,000 pixels, found 6400x6400" in answer.json()["detail"]


def test_a_long_strip_is_refused_by_its_header() -> None:
    from r1sgg.models.coordinates import check_aspect

    def fit(size: tuple[int, int]) -> tuple[int, int]:
        check_aspect(size)
        return size

    data = io.BytesIO()
    Image.new("1", (30_000, 100)).save(data, "PNG")
    with pytest.raises(ImageError, match="sides that differ by a factor of at most 200"):
        asyncio.run(_decoded(Decoder(fit, max_pixels=10**9, budget=10**9), data.getvalue()))


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_a_header_that_lies_about_the_size_gains_no_memory(server: Running) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8_000, 8_000)).save(buffer, "AVIF", speed=10, quality=1)
    data = buffer.getvalue()
    at = data.index(b"ispe") + 8
    assert struct.unpack(">II", data[at : at + 8]) == (8_000, 8_000)
    lie = data[:at] + struct.pack(">II", 100, 100) + data[at + 8 :]
    with peak() as more:
        answer = server.post(lie)
    assert answer.status_code == 400
    assert more[0] < 70  # 135 without a limit
    assert server.post(png()).status_code == 200


def tags(count: int, size: int = 1_000_000) -> bytes:
    """A TIFF of 8 x 8 pixels with so many tags more, all of which lie in the same bytes."""
    place = 8 + 2 + 12 * (count + 9) + 4
    shorts = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 278: 8}
    rows = [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()]
    rows += [struct.pack("<HHII", 273, 4, 1, place), struct.pack("<HHII", 279, 4, 1, 64)]
    rows += [struct.pack("<HHII", 1000 + k, 1, size, place) for k in range(count)]
    rows.sort(key=lambda row: struct.unpack("<H", row[:2]))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4) + bytes(size)


def behind(kind: str, exif: bytes) -> bytes:
    """A small image with these bytes as its EXIF."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, kind)
    data = buffer.getvalue()
    if kind == "PNG":
        return data[:33] + chunk(b"eXIf", exif) + data[33:]
    if kind == "JPEG":
        parts = [b"Exif\0\0" + exif[at : at + 65_000] for at in range(0, len(exif), 65_000)]
        return data[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(p) + 2) + p for p in parts) + data[2:]
    side = struct.pack("<I", 63)[:3]
    body = b"VP8X" + struct.pack("<I", 10) + b"\x08\0\0\0" + side + side + data[12:]
    body += b"EXIF" + struct.pack("<I", len(exif)) + exif + bytes(len(exif) % 2)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.skipif(sys.platform != "linux", reason="the memory limit is Linux's")
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "WEBP"])
def test_a_header_gains_no_memory_either(server: Running, kind: str) -> None:
    """One megabyte that 400 tags name takes 400, and with 60,000 tags 60,000."""
    few, many = (data if kind == "TIFF" else behind(kind, data) for data in (tags(3), tags(400)))
    assert server.post(few).status_code == 200
    with peak() as more:
        answer = server.post(many)
    assert answer.status_code == 400
    assert "expected room to decode the image, found no memory" in answer.json()["detail"]
    assert more[0] < 100  # 400 without a limit
    assert server.post(png()).status_code == 200


GIF = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b"!\xfe"
"""The beginning of a GIF with a comment."""


def test_a_header_of_a_million_parts_takes_no_minutes(server: Running) -> None:
    answer = server.post(GIF + b"\1x" * 4_000_000 + b"\0;")
    assert answer.status_code == 400
    assert "expected an image that decodes within " in answer.json()["detail"]  # CPU time; on a busy machine wall time
    assert server.post(png()).status_code == 200


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such clock")
def test_the_clock_of_an_image_is_cpu_time_and_stops_with_it() -> None:
    slow = io.BytesIO(GIF + b"\1x" * 4_000_000 + b"\0;")
    late = pytest.raises(ImageError, match="a: expected an image that decodes within seconds of CPU time")
    with late, _clock("a", 0.1):
        reduce(slow, "a", 10**6, lambda size: size, lambda needs: None)
    with _clock("a", 0.1):
        time.sleep(0.3)  # no CPU time
    began = time.process_time()
    while time.process_time() < began + 0.3:
        pass  # the clock has stopped


async def _parts(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _decoded(decoder: Decoder, *data: bytes) -> list[Image.Image]:
    await decoder.start()
    try:
        return [(await decoder.decode(Upload("a", len(one), _parts(one)))).image for one in data]
    finally:
        await decoder.stop()


def test_an_image_that_takes_too_long_is_refused_and_its_process_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "STEP_SECONDS", 0.05)
    with serving() as server:
        answer = server.post(flat_png(colour=0))
        assert answer.status_code == 400
        assert "expected an image that decodes within 0.05 s, found one that does not" in answer.json()["detail"]
        monkeypatch.setattr(decoding, "STEP_SECONDS", 30)
        assert [server.post(png()).status_code for _ in range(3)] == [200] * 3
        assert server.app.state.decoder.budget.taken == 0


def test_decoding_counts_as_time_of_the_request() -> None:
    files = [("images", (f"{k}.png", flat_png(), "image/png")) for k in range(16)]
    with serving(ServerSettings(answer_seconds=1.0, image_memory=230_000_000)) as server:
        begun = time.monotonic()
        answer = server.client.post("/v1/graphs", files=files)
        assert time.monotonic() - begun < 5
        assert (answer.status_code, answer.json()) == (504, {"detail": "expected an answer within 1 s, found none"})
        wait_until(lambda: server.app.state.decoder.budget.taken == 0)
        wait_until(lambda: server.waiting() == 0)
        wait_until(lambda: server.post(png()).status_code == 200)


def test_nothing_is_decoded_for_a_request_that_finds_the_queue_full() -> None:
    reader = ColourReader()
    with serving(ServerSettings(queue=2), reader) as server, ThreadPoolExecutor(8) as pool:
        reader.gate.clear()
        first = pool.submit(server.post, png())
        assert reader.begun.wait(10)
        rest = [pool.submit(server.post, png()) for _ in range(2)]
        wait_until(lambda: server.waiting() == 2)
        real, asked = server.app.state.decoder.decode, []
        server.app.state.decoder.decode = lambda upload: asked.append(upload) or real(upload)
        assert server.post(png()).status_code == 429
        files = [("images", (f"{k}.png", png(), "image/png")) for k in range(2)]
        assert server.client.post("/v1/graphs", files=files).status_code == 429
        assert server.post(png(), "/v1/graph/stream").status_code == 429
        assert asked == []
        reader.gate.set()
        assert [f.result().status_code for f in (first, *rest)] == [200, 200, 200]
        assert server.post(png()).status_code == 200
        assert len(asked) == 1


def test_a_process_that_dies_is_replaced(server: Running) -> None:
    for child in _children(os.getpid()):
        if b"reducing" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(child, signal.SIGKILL)
    for _ in range(2):  # whoever finds a process dead is told, and the next one finds another
        assert server.post(png()).status_code in (200, 400)
    assert [server.post(png()).status_code for _ in range(4)] == [200] * 4


def test_a_client_that_goes_away_while_its_image_is_decoded_leaves_nothing(server: Running) -> None:
    import socket

    body = flat_png()
    head = f"POST /v1/graph HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.sendall(head.encode() + body)
            wait_until(lambda: server.app.state.decoder.budget.taken > 0)
    wait_until(lambda: server.app.state.decoder.budget.taken == 0)
    wait_until(lambda: server.waiting() == 0)
    assert server.post(png()).status_code == 200


def test_a_photo_is_reduced_and_its_graph_is_in_its_own_pixels() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4000, 3000), (40, 80, 30)).save(buffer, "JPEG", exif=exif, quality=95)
    seen: list[tuple[int, int]] = []

    class Watching(ColourReader):
        def read_batch(self, images: list[Image.Image], *arguments: object, **options: object) -> list[object]:  # type: ignore[override]
            seen.extend(image.size for image in images)
            return super().read_batch(images, *arguments, **options)  # type: ignore[arg-type,return-value]

    with serving(reader=Watching()) as server:
        graph = server.post(buffer.getvalue()).json()
    ((width, height),) = seen
    assert (graph["width"], graph["height"]) == (3000, 4000)
    assert width < height
    assert 1_400_000 < width * height <= 1200 * 1200
    _, _, x2, y2 = graph["objects"][0]["bbox"]
    assert abs(x2 / 3 - 41) < 4
    assert abs(y2 / 4 - 81) < 4


def test_a_stream_is_reduced_too(server: Running) -> None:
    answer = server.post(flat_png(5000, colour=0), "/v1/graph/stream")
    assert '"width":5000,"height":5000' in answer.text.split("event: graph")[1]


def test_the_model_gets_the_size_that_its_processor_would_make() -> None:
    from r1sgg.models.families import load_checkpoint
    from r1sgg.serving.sizes import size_reducer

    checkpoint = load_checkpoint("tiny")
    fit = size_reducer(checkpoint)
    assert fit((100, 100)) == (100, 100)
    size = fit((4000, 3000))
    images = checkpoint.processor.image_processor
    pixels = images([Image.new("RGB", size)], return_tensors="pt")["pixel_values"]
    whole = images([Image.new("RGB", (4000, 3000))], return_tensors="pt")["pixel_values"]
    assert pixels.shape == whole.shape
    assert size == fit(size)
    patch = images.patch_size
    assert size[0] * size[1] == len(pixels) * patch**2
    with pytest.raises(ImageError):
        fit((30_000, 100))


def test_the_budget_serves_in_order_and_loses_nothing() -> None:
    async def use(budget: Budget, name: int, amount: int, order: list[int], seconds: float = 0.0) -> None:
        async with budget.reserve(amount):
            assert budget.taken <= budget.most
            order.append(name)
            await asyncio.sleep(seconds)

    async def scene() -> None:
        budget, order = Budget(10), []
        first = asyncio.create_task(use(budget, 0, 6, order, 0.05))
        await asyncio.sleep(0)
        large = asyncio.create_task(use(budget, 1, 9, order))
        small = asyncio.create_task(use(budget, 2, 1, order))  # would fit, but comes behind
        gone = asyncio.create_task(use(budget, 3, 9, order))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(first, large, small)
        assert order == [0, 1, 2]
        assert budget.taken == 0
        # cancelled in the very moment in which its turn has come
        holder = asyncio.create_task(use(budget, 4, 10, order))
        await asyncio.sleep(0)
        late = asyncio.create_task(use(budget, 5, 10, order))
        await asyncio.sleep(0)
        await holder
        late.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await late
        assert budget.taken == 0
        await asyncio.wait_for(use(budget, 6, 10, order), 1)

    asyncio.run(scene())
