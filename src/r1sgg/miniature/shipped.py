"""The checkpoints in the package, stored with one byte per weight, and the answers that `r1sgg bench` compares with.

    python -m r1sgg.miniature.shipped CHECKPOINT FOLDER      packs a checkpoint for the package
    cd bench; python -m zipfile -c bench.zip recipe control ...     packs entries of the bench, less their trainings

Each row of a matrix is stored as int8 with a float32 scale (its largest absolute value / 127), each vector unchanged.
The unpacked folder is in the user's cache ($XDG_CACHE_HOME/r1sgg, else ~/.cache/r1sgg) and has the hash of the packed
files in its name. It is an ordinary checkpoint, which everything that reads checkpoints can read.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from r1sgg.errors import InputError, ModelError

PACKED, WEIGHTS = "model.int8.safetensors", "model.safetensors"
_FOLDER = Path(__file__).parent / "checkpoints"
_BENCH = Path(__file__).parent / "bench.zip"
_SCALE = ".row_scale"


def unpack(name: str) -> Path:
    """Return the folder of a shipped checkpoint, which is unpacked at its first use.

    Raises:
        ModelError: this installation does not have it, or there is no place to unpack it.
    """
    source = _FOLDER / name
    if not (source / PACKED).is_file():
        raise ModelError(f"this installation has no {name} checkpoint: make one with `r1sgg tiny --out DIR`")
    return _cached(name, sorted(source.iterdir()), lambda target: _unpack(source, target))


def bench_entries() -> Path:
    """Return the folder of the entries of `r1sgg bench` in the package, which are unpacked at their first use.

    Raises:
        ModelError: there is no place to unpack them.
    """

    def extract(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as work:
            with zipfile.ZipFile(_BENCH) as archive:
                archive.extractall(Path(work) / target.name)
            _settle(Path(work) / target.name, target)

    return _cached("bench", [_BENCH], extract)


def _cached(name: str, files: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """Return the folder in the cache that was made of these files, and make it unless it is there."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "r1sgg"
    target = cache / f"{name}-{digest.hexdigest()[:12]}"
    if not target.is_dir():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            make(target)
        except OSError as error:
            raise ModelError(
                f"{cache}: expected a folder to unpack {name} to, found {error.strerror or error}; "
                "set XDG_CACHE_HOME to one that can be written"
            ) from error
    return target


def _settle(made: Path, target: Path) -> None:
    """Rename a folder, unless another process has put its own there meanwhile."""
    try:
        made.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _unpack(source: Path, target: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    stored = load_file(source / PACKED)
    weights = {
        key: value.float() * stored[key + _SCALE].view(-1, *[1] * (value.ndim - 1))
        if value.dtype == torch.int8
        else value
        for key, value in stored.items()
        if not key.endswith(_SCALE)
    }
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as work:
        folder = Path(work) / target.name
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(PACKED))
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        _settle(folder, target)


def pack(checkpoint: Path, folder: Path) -> None:
    """Write a checkpoint (one safetensors file) as the package has it.

    Raises:
        InputError: the checkpoint has no model.safetensors.
    """
    import torch
    from safetensors.torch import load_file, save_file

    if not (checkpoint / WEIGHTS).is_file():
        raise InputError(str(checkpoint), expected=f"a checkpoint with {WEIGHTS}", found="none")
    stored: dict[str, torch.Tensor] = {}
    for key, value in load_file(checkpoint / WEIGHTS).items():
        if value.ndim < 2:
            stored[key] = value.float()
            continue
        rows = value.float().flatten(1)
        scale = rows.abs().amax(1).clamp(min=1e-12) / 127
        stored[key] = (rows / scale[:, None]).round().to(torch.int8).view(value.shape)
        stored[key + _SCALE] = scale
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if (checkpoint / name).is_file():
            shutil.copy(checkpoint / name, folder / name)
    save_file(stored, folder / PACKED)


_FILES = (
    *("chat_template.jinja", "config.json", "generation_config.json", "processor_config.json", "r1sgg.json"),
    *("tokenizer.json", "tokenizer_config.json", "trained_on.json"),
)

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
