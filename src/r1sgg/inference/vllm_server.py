"""vLLM's OpenAI server for a checkpoint, with r1sgg's guide in it (docs/vllm.md).

    python -m r1sgg.inference.vllm_server MODEL [--dtype D] [--max-pixels N] [options of vLLM's server]

It listens on 127.0.0.1 unless --host says otherwise, and ends with its process (Ctrl-C, SIGTERM). Ask it with
`--engine openai:http://127.0.0.1:8000/v1,server=r1sgg`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

import orjson

from r1sgg.errors import R1SGGError, require
from r1sgg.inference.vllm import SURROUNDINGS, engine_arguments

_QUIET = ("VLLM_LOGGING_LEVEL", "VLLM_LOGGING_STREAM")  # a server may speak


def command(
    model: str, *, dtype: str | None = None, max_pixels: int | None = None, options: Sequence[str] = ()
) -> list[str]:
    """The command that starts the server.

    Args:
        model: a checkpoint folder, a name on the Hub (owner/name), or "tiny"; clients call it the same.
        dtype: see `r1sgg.inference.vllm.VLLMEngine.load`.
        max_pixels: see `r1sgg.models.families.load_processor`.
        options: further options of vLLM's server; they come last, so they win.

    Raises:
        MissingDependencyError: vLLM is not installed.
        ModelError: there is no such checkpoint, or it is an adapter.
    """
    from r1sgg.models.families import load_checkpoint

    if find_spec("vllm") is None:
        require("vllm", "vllm")
    given = engine_arguments(load_checkpoint(model, max_pixels=max_pixels), dtype)
    words = ["--served-model-name", model, "--host", "127.0.0.1"]
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            words += [option, orjson.dumps(value).decode()]
        elif isinstance(value, list):
            words += [option, *map(str, value)]
        elif value is True:
            words.append(option)
        else:
            words += [option, str(value)]
    # as a module, so that it runs in this very environment
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words, *options]


def environment() -> dict[str, str]:
    """The surroundings in which the server is started: this process's, and `SURROUNDINGS` where nothing is set."""
    return {name: value for name, value in SURROUNDINGS.items() if name not in _QUIET} | dict(os.environ)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the server."""
    parser = argparse.ArgumentParser(prog="python -m r1sgg.inference.vllm_server", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--dtype")
    parser.add_argument("--max-pixels", type=int)
    known, options = parser.parse_known_args(arguments)
    try:
        words = command(known.model, dtype=known.dtype, max_pixels=known.max_pixels, options=options)
    except R1SGGError as error:
        parser.exit(2, f"r1sgg: {error}\n")
    os.execve(words[0], words, environment())


if __name__ == "__main__":
    main()
