"""What the processes of test_local.py open; here, because each of them imports the module, and torch takes a while."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
