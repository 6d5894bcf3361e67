"""`vllm_mode: server`: TRL's client and a real server of ours, without the weight transfer, which needs NCCL."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.parity import Parity
from r1sgg.inference.vllm_server import command, environment
from r1sgg.models.families import load_model
from r1sgg.training.engine import RolloutEngine, replies_read

from ..models.capabilities import shows
from .conftest import OPTIONS, SURROUNDINGS, Asked, Server, wait_for

pytestmark = pytest.mark.skipif(find_spec("trl") is None, reason="needs TRL")

TOKENS = 60


@pytest.fixture(scope="module")
def trainer_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    words = command("tiny", options=[*options, f"--port={port}"], rollouts=True)
    log = tmp_path_factory.mktemp("rollouts") / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            words,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(rollouts=True) | SURROUNDINGS,
            start_new_session=True,
        )
    running = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_for(running, port)
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the group that this fixture made
        process.wait()


@pytest.fixture
def generation(trainer_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """TRL's own client of the server."""
    from accelerate import Accelerator
    from trl.generation import vllm_client, vllm_generation

    monkeypatch.setattr(vllm_client.VLLMClient, "init_communicator", lambda self, device: None)  # CUDA only
    other = load_model("tiny", device="cpu")
    with replies_read():
        yield vllm_generation.VLLMGeneration(
            model=other.model,
            accelerator=Accelerator(cpu=True),
            processing_class=other.processor,
            mode="server",
            server_base_url=trainer_server.url,
            max_completion_length=TOKENS,
            top_p=0.5,
        )


def sampled(generation: Any, asked: Asked, model: TransformersEngine, images: list[Any]) -> Parity:
    engine = RolloutEngine(generation, model.loaded.processor)
    ids = [list(ran.prompt_ids) for ran in model.score(asked.images, asked.chats, [[0]] * len(images))]
    with engine.whole_distribution(TOKENS, []):
        got = engine.sample(ids, ids, [[image] for image in images])
    trained = model.score(asked.images, asked.chats, [drawn for _, drawn in got])
    return Parity(tuple(ran for ran, _ in got), tuple(trained), ("float32", "float32"))


@shows("server")
def test_a_server_samples_from_the_model(
    name: str, generation: Any, asked: Asked, transformers_engine: TransformersEngine, record_property: Any
) -> None:
    assert transformers_engine.loaded.model.config.model_type == name
    few = asked.first(6)
    parity = sampled(generation, few, transformers_engine, few.images)
    assert parity.fault() is None
    assert RolloutEngine(generation, transformers_engine.loaded.processor).precision == "float32"
    assert {ran.image_features for ran in parity.engine} == {16}
    assert generation.top_p == 0.5, "the recipe's sampling is put back"
    record_property("shown", f"server: mean KL {parity.mean_kl:.1e}, largest difference {parity.largest:.1e}")


def test_every_row_of_a_group_is_noted(generation: Any, asked: Asked, transformers_engine: TransformersEngine) -> None:
    few = asked.first(3)
    engine = RolloutEngine(generation, transformers_engine.loaded.processor)
    ids = [list(ran.prompt_ids) for ran in transformers_engine.score(few.images, few.chats, [[0]] * 3)]
    pairs = [one for one in ids for _ in range(2)]
    with engine.noted(pairs, 2) as ran:
        generation.generate(pairs, [[image] for image in few.images for _ in range(2)], 2)
    assert [(list(one.prompt_ids), one.image_features) for one in ran] == [(one, 16) for one in pairs]


def test_a_server_that_sees_another_image_is_noticed(
    generation: Any, asked: Asked, transformers_engine: TransformersEngine
) -> None:
    few = asked.first(6)
    parity = sampled(generation, few, transformers_engine, few.images[::-1])
    assert "mean KL divergence" in str(parity.fault())


def test_the_command_is_what_trl_asks_for(tmp_path: Path) -> None:
    words = command("tiny", rollouts=True, max_pixels=7056)
    assert "--logits-processors" not in words
    assert words[words.index("--logprobs-mode") + 1] == "processed_logprobs"
    assert "--enable-scale-out" in words
    assert '"longest_edge":7056' in words[words.index("--mm-processor-kwargs") + 1]
    assert environment(rollouts=True)["VLLM_SERVER_DEV_MODE"] == "1"
