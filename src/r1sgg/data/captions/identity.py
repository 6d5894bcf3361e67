"""What tells two files, or two ids, apart: short hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from r1sgg.errors import os_errors


def file_identity(path: Path) -> str:
    """Return 16 hex digits of a file's content: of a large one size, and 64 blocks of it.

    Raises:
        InputError: it cannot be read.
    """
    with os_errors(path, "a readable file", "check the path"), path.open("rb") as handle:
        size = path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        whole = size <= 1 << 24
        for k in range(1 if whole else 64):
            handle.seek(0 if whole else (size - 65536) * k // 63)
            digest.update(handle.read() if whole else handle.read(65536))
    return digest.hexdigest()[:16]


def number_of_id(image_id: str) -> int:
    """Return a number of 48 bits for an id, the same for the same id."""
    return int.from_bytes(hashlib.blake2b(image_id.encode("utf-8", "surrogatepass"), digest_size=6).digest())
