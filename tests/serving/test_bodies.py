"""The limit on the bytes of all request bodies: it holds, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from r1sgg.serving.bodies import _SMALL, Body, BodyBudget
from r1sgg.serving.settings import ServerSettings

from .server import png, received, serving
from .test_decoding import held, highest

PART = 1 << 17


async def _receive(budget: BodyBudget, size: int, peaks: list[int], *, stays: float = 0.0) -> None:
    """Receive a body part by part, hold it for a while, release it."""
    body = Body(budget)
    try:
        while body.size < size:
            await body.wait_for_room()
            body.add(PART)
            peaks.append(budget.held)
            await asyncio.sleep(0)
        body.complete()
        await asyncio.sleep(stays)
    finally:
        body.release()


def _run(scene: object) -> None:
    asyncio.run(asyncio.wait_for(scene, 20))  # type: ignore[arg-type]


def test_many_large_bodies_stay_near_the_limit_and_all_arrive() -> None:
    async def scene() -> None:
        budget, peaks = BodyBudget(40 * PART), []
        await asyncio.gather(*(_receive(budget, 30 * PART, peaks, stays=0.001) for _ in range(50)))
        assert budget.held == 0
        # the limit, the body that may exceed it, and the part that every request may hold
        assert 40 * PART < max(peaks) <= 40 * PART + 30 * PART + 50 * _SMALL

    _run(scene())


def test_half_read_bodies_do_not_wait_for_each_other() -> None:
    async def scene() -> None:
        budget, peaks = BodyBudget(10 * PART), []
        await asyncio.gather(*(_receive(budget, 9 * PART, peaks) for _ in range(5)))
        assert budget.held == 0

    _run(scene())


def test_a_small_body_does_not_wait() -> None:
    async def scene() -> None:
        budget = BodyBudget(10 * PART)
        large = Body(budget)
        large.add(20 * PART)
        large.complete()
        await asyncio.wait_for(Body(budget).wait_for_room(), 1)
        waits = Body(budget)
        waits.add(_SMALL)
        task = asyncio.ensure_future(waits.wait_for_room())
        await asyncio.sleep(0.01)
        assert not task.done()
        large.release()
        await asyncio.wait_for(task, 1)

    _run(scene())


def test_a_request_that_ends_makes_room() -> None:
    async def scene() -> None:
        budget, peaks = BodyBudget(4 * PART), []
        slow = Body(budget)
        await slow.wait_for_room()
        slow.add(8 * PART)  # the oldest, and it never completes
        task = asyncio.ensure_future(_receive(budget, 8 * PART, peaks))
        await asyncio.sleep(0.01)
        assert not task.done()
        slow.release()
        await task

    _run(scene())


def test_sixteen_clients_with_large_bodies_do_not_fill_the_memory() -> None:
    body = b"\x89PNG\r\n\x1a\n" + b"x" * 19_000_000  # 300 MB together
    head = f"POST /v1/graph HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n"
    with serving(ServerSettings(most_bytes=20_000_000)) as server, ThreadPoolExecutor(16) as pool:

        def send(_: int) -> bytes:  # the clients are in this process, and must not copy the body
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
                client.sendall(head.encode() + b"Connection: close\r\n\r\n")
                client.sendall(body)
                return received(client)

        before = held(os.getpid())
        with highest(lambda: held(os.getpid()) - before, 0.02) as more:
            answers = list(pool.map(send, range(16)))
        assert all(b" 400 " in answer for answer in answers)
        assert more[0] < 200
        assert server.post(png()).status_code == 200
