"""vLLM in this process and as a server, both with the shipped checkpoint; without vLLM, every test here is skipped."""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from PIL import Image

from r1sgg.inference.hf import TransformersEngine
from r1sgg.miniature.scenes import SMALL, scene
from r1sgg.models.families import load_model
from r1sgg.models.prompts import Message

if TYPE_CHECKING:
    from r1sgg.inference.vllm import VLLMEngine

SURROUNDINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # each further process costs 20 seconds of imports
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
OPTIONS = {"max_model_len": 512, "max_num_seqs": 32, "kv_cache_memory_bytes": 1 << 27}
MAX_PIXELS = 7056  # of the server's images: 84 x 84, 9 tokens for the 16 of the checkpoint's own limit
SHOWN = "shown"
"""Property of a test (`record_property`) that the end of a run prints."""
_HERE = Path(__file__).parent


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.stats.get(kind, [])]
    for name, value in (pair for report in reports for pair in report.user_properties):
        if name == SHOWN:
            terminalreporter.write_line(str(value))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = importlib.util.find_spec("vllm") is None
    for item in items:
        if item.path.parent == _HERE:
            item.add_marker(pytest.mark.timeout(900))  # the first test of an engine waits for it to start
            item.add_marker(pytest.mark.filterwarnings("default"))  # vLLM's own are many
            if missing:
                item.add_marker(
                    pytest.mark.skip(reason="needs vLLM, which has an environment of its own: make test-vllm")
                )


class Asked(NamedTuple):
    """Drawn scenes, the chats about them, and a name for each."""

    images: list[Image.Image]
    chats: list[list[Message]]
    keys: list[str]

    def first(self, count: int) -> "Asked":
        return Asked(self.images[:count], self.chats[:count], self.keys[:count])


@pytest.fixture(scope="module")
def engine() -> Iterator["VLLMEngine"]:
    """One for all tests of a file: a process holds one vLLM, and other files load others."""
    from r1sgg.inference.vllm import VLLMEngine

    os.environ.update(SURROUNDINGS)
    engine = VLLMEngine.load("tiny", options=OPTIONS)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def transformers_engine() -> TransformersEngine:
    return TransformersEngine(load_model("tiny", device="cpu"))


@pytest.fixture(scope="session")
def asked(transformers_engine: TransformersEngine) -> Asked:
    """128 scenes that no training has seen."""
    images = [scene(900_000_000 + k, SMALL).image for k in range(128)]
    chats = [transformers_engine.loaded.messages(image.size) for image in images]
    return Asked(images, chats, [f"scene{k}" for k in range(len(images))])


class Server(NamedTuple):
    """A running server: its process, its address, and what it has said so far."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """vLLM's server on a free port of the loopback address, stopped whatever happens."""
    from r1sgg.inference.vllm_server import command, environment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    words = command("tiny", max_pixels=MAX_PIXELS, options=[*options, f"--port={port}"])
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, stdout=out, stderr=subprocess.STDOUT, env=environment() | SURROUNDINGS, start_new_session=True
        )
    running = Server(process, f"http://127.0.0.1:{port}/v1", log)
    try:
        wait_for(running, port)
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the group that this fixture made, its children among it
        process.wait()


def wait_for(server: Server, port: int) -> None:
    import httpx

    until = time.monotonic() + 800  # on a machine that does much else
    while time.monotonic() < until and server.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                return
        time.sleep(0.5)
    pytest.fail(f"the server did not start:\n{server.log.read_text()[-3000:]}")
