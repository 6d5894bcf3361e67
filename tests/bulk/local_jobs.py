"""What the processes of test_local.py open; here, because each of them imports the module, and torch takes a while."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ..inference.pretend import Opened


@dataclass
class Noting(Opened):
    """Writes down which cards its process sees."""

    folder: str = ""

    def open(self) -> Any:
        """The model."""
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        (Path(self.folder) / f"cards-{seen}").touch()
        return super().open()


@dataclass
class Dying(Opened):
    """Kills its process where it opens the model, the first `deaths` times."""

    folder: str = ""
    deaths: int = 0

    def open(self) -> Any:
        """The model."""
        log = Path(self.folder) / "deaths"
        with log.open("ab") as handle:
            handle.write(b".")
        if log.stat().st_size <= self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open()


def annotate(folder: Path) -> Path:
    """Write men.jsonl: the images of gt.jsonl with a man on each, for tasks that give objects."""
    rows = [orjson.loads(line) for line in (folder / "gt.jsonl").read_bytes().splitlines()]
    man = {"id": "man.1", "bbox": [1, 2, 20, 25]}
    (folder / "men.jsonl").write_bytes(b"".join(orjson.dumps({**row, "objects": [man]}) + b"\n" for row in rows))
    return folder / "men.jsonl"
