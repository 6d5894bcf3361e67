"""A limit on the bytes of all request bodies that the server holds at once.

Above the limit, a body is not read further until others are released; the rest stays in the client's socket. Two bodies
that are half read must not wait for each other, so the oldest of them is read on, unless complete bodies alone reach
the limit.
"""

from __future__ import annotations

import asyncio

_SMALL = 1 << 18
"""Bytes that every request may hold, so that a small image does not wait behind large ones."""


class BodyBudget:
    """All bodies that are held.

    Attributes:
        limit: bytes above which bodies are not read further. One body may exceed it, and what each connection has
            received when it is reached.
        held: bytes that are held now.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0
        self._incomplete: dict[Body, None] = {}  # oldest first
        self._released = asyncio.Event()

    def _has_room(self, body: Body) -> bool:
        if self.held < self.limit or body.size < _SMALL:
            return True
        complete = self.held - sum(other.size for other in self._incomplete)
        return complete < self.limit and body is next(iter(self._incomplete))

    def _notify(self) -> None:
        self._released.set()
        self._released = asyncio.Event()


class Body:
    """The body of one request, counted while it is received and until it is released.

    Attributes:
        size: bytes that are held.
    """

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.size = 0

    async def wait_for_room(self) -> None:
        """Wait until the next part may be read."""
        self._budget._incomplete.setdefault(self)
        while not self._budget._has_room(self):
            await self._budget._released.wait()

    def add(self, count: int) -> None:
        """Count bytes that were read."""
        self.size += count
        self._budget.held += count

    def complete(self) -> None:
        """Say that nothing more will be read."""
        if self in self._budget._incomplete:
            del self._budget._incomplete[self]
            self._budget._notify()

    def release(self) -> None:
        """Say that the bytes are not held any more."""
        self.complete()
        self._budget.held -= self.size
        self.size = 0
        self._budget._notify()
