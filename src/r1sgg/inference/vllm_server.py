"""vLLM's OpenAI server for a checkpoint, with r1sgg's guide in it (docs/vllm.md).

    python -m r1sgg.inference.vllm_server MODEL [--dtype D] [--max-pixels N] [options of vLLM's server]
    python -m r1sgg.inference.vllm_server MODEL --rollouts --dtype bfloat16 --max-pixels N --host 0.0.0.0

The second serves `r1sgg grpo --vllm_mode server`: it takes image features and weights from a trainer, and has no guide.
Precision and pixel limit must be those of the training run, which compares them.

A server listens on 127.0.0.1 unless --host says otherwise, and ends with its process (Ctrl-C, SIGTERM). Ask it with
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

_ROLLOUTS = (
    "--enable-scale-out",
    "--weight-transfer-config",
    '{"backend": "nccl"}',
    "--logprobs-mode",
    "processed_logprobs",
    "--max-logprobs",
    "-1",
)
"""What TRL 1.16 asks of a server with vLLM 0.30 and later."""
_QUIET = ("VLLM_LOGGING_LEVEL", "VLLM_LOGGING_STREAM")  # a server may speak


def command(
    model: str,
    *,
    dtype: str | None = None,
    max_pixels: int | None = None,
    options: Sequence[str] = (),
    rollouts: bool = False,
) -> list[str]:
    """The command that starts the server.

    Args:
        model: a checkpoint folder, a name on the Hub (owner/name), or "tiny"; clients call it the same.
        dtype: see `r1sgg.inference.vllm.VLLMEngine.load`.
        max_pixels: see `r1sgg.models.families.load_processor`.
        options: further options of vLLM's server; they come last, so they win.
        rollouts: serve a trainer instead of clients.

    Raises:
        MissingDependencyError: vLLM is not installed.
        ModelError: there is no such checkpoint, or it is an adapter.
    """
    from r1sgg.models.families import load_checkpoint

    if find_spec("vllm") is None:
        require("vllm", "vllm")
    given = engine_arguments(load_checkpoint(model, max_pixels=max_pixels), dtype)
    words = ["--served-model-name", model, "--host", "127.0.0.1"]
    if rollouts:
        del given["logits_processors"]
        words += _ROLLOUTS
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


def environment(*, rollouts: bool = False) -> dict[str, str]:
    """The surroundings in which the server is started: this process's, and `SURROUNDINGS` where nothing is set."""
    more = {"VLLM_SERVER_DEV_MODE": "1"} if rollouts else {}  # for the addresses that take weights
    return {name: value for name, value in SURROUNDINGS.items() if name not in _QUIET} | more | dict(os.environ)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the server."""
    parser = argparse.ArgumentParser(prog="python -m r1sgg.inference.vllm_server", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--dtype")
    parser.add_argument("--max-pixels", type=int)
    parser.add_argument("--rollouts", action="store_true")
    known, options = parser.parse_known_args(arguments)
    try:
        words = command(
            known.model, dtype=known.dtype, max_pixels=known.max_pixels, options=options, rollouts=known.rollouts
        )
    except R1SGGError as error:
        parser.exit(2, f"r1sgg: {error}\n")
    os.execve(words[0], words, environment(rollouts=known.rollouts))


if __name__ == "__main__":
    main()
