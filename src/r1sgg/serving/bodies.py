"""A bound on the bytes of all requests: above it, a request is not read further until others have let go of theirs.

The rest of its body then stays in the client's socket and costs the server nothing. Requests that are all half read
must not wait for each other, so the oldest of them may be read on, as long as the whole ones are below the bound.
"""

from __future__ import annotations

import asyncio

_SMALL = 1 << 18
"""Bytes that each request may hold whatever others do, so that small images do not wait behind large ones."""


class Bodies:
    """All bodies that are held.

    Attributes:
        most: bytes above which no further part is read. They may be exceeded by one body, and by what each connection
            has received when the limit is reached.
        held: bytes now.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._arriving: dict[Body, None] = {}  # in the order of their requests
        self._freed = asyncio.Event()

    def _room_for(self, body: Body) -> bool:
        if self.held < self.most or body.size < _SMALL:
            return True
        whole = self.held - sum(other.size for other in self._arriving)
        return whole < self.most and body is next(iter(self._arriving), None)

    def _changed(self) -> None:
        self._freed.set()
        self._freed = asyncio.Event()


class Body:
    """The body of one request, counted while it arrives and until it is let go.

    Attributes:
        size: bytes held.
    """

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0
        self.arriving()

    def arriving(self) -> None:
        """More will be read, after `whole` (of an image that the server fetches)."""
        self._bodies._arriving.setdefault(self)

    async def room(self) -> None:
        """Wait until a further part may be read."""
        while not self._bodies._room_for(self):
            await self._bodies._freed.wait()

    def add(self, count: int) -> None:
        """Count bytes that were read."""
        self.size += count
        self._bodies.held += count

    def whole(self) -> None:
        """Nothing more arrives."""
        if self._bodies._arriving.pop(self, self) is None:
            self._bodies._changed()

    def let_go(self) -> None:
        """The bytes are not held any more."""
        self.whole()
        self._bodies.held -= self.size
        self.size = 0
        self._bodies._changed()
