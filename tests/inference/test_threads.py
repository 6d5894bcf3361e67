"""How many threads a pass gets, and that what the user said wins."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from PIL import Image
from transformers import Qwen2VLConfig

from r1sgg.bulk.ray_data import _cpus
from r1sgg.bulk.run import Job
from r1sgg.bulk.workers import Work
from r1sgg.errors import ConfigError
from r1sgg.inference import threads
from r1sgg.inference.engine import Sampling
from r1sgg.inference.engines import Opening
from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.threads import Threads, chosen_by_user, useful_threads
from r1sgg.models.families import LoadedModel

from .pretend import Opened

WIDE = Qwen2VLConfig(text_config={"hidden_size": 1536, "intermediate_size": 8960})  # Qwen2-VL-2B's
IMAGE = Image.new("RGB", (112, 112), "red")


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of four cores on which nobody said anything."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_usable_cores", lambda: 4)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_wide_models_and_many_tokens_use_more_threads(tiny: LoadedModel) -> None:
    assert [useful_threads(tiny.model.config, n) for n in (1, 8, 32)] == [1, 1, 1]
    assert useful_threads(tiny.model.config, 32 * 130) > 4, "a batch of prompts, or of training"
    assert useful_threads(WIDE, 1) >= 8
    assert useful_threads(WIDE, 32) > useful_threads(WIDE, 1)


@pytest.mark.usefixtures("four_cores")
def test_what_the_user_said_wins(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_by_user() is None
    assert Threads(tiny.model).number(1) == 1
    assert Threads(tiny.model).number(100_000) == 4, "no more than torch would take"
    assert Threads(tiny.model, 3).number(1) == 3
    torch.set_num_threads(3)
    assert Threads(tiny.model).number(1) == 3
    torch.set_num_threads(4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert Threads(tiny.model).number(1) == 4


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(("given", "expected"), [(None, {4, 1}), (2, {2})])
def test_prompts_get_more_threads_than_tokens_and_the_number_is_put_back(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, given: int | None, expected: set[int]
) -> None:
    monkeypatch.setattr(threads, "GRAIN", 4_000_000)
    seen: list[int] = []
    hook = tiny.model.get_input_embeddings().register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    engine = TransformersEngine(tiny, given)
    engine.generate([IMAGE], [tiny.messages(IMAGE.size)], Sampling(max_new_tokens=4))
    hook.remove()
    assert set(seen) == expected
    assert seen == sorted(seen, reverse=True), "the prompt comes first"
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_cores")
def test_a_number_that_was_chosen_here_is_not_the_user_s(tiny: LoadedModel) -> None:
    """Generation inside of training, which has its own number."""
    outer = Threads(tiny.model)
    with outer.restored():
        outer.use(2000)
        assert torch.get_num_threads() == 4
        torch.set_num_threads(3)
        assert chosen_by_user() is None
        inner = Threads(tiny.model)
        with inner.restored():
            inner.use(1)
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 4


def test_threads_are_an_option_of_transformers_only() -> None:
    with pytest.raises(ConfigError, match="--threads 2: this option is for --engine hf, not vllm"):
        Opening("tiny", "vllm", threads=2)


def test_a_ray_worker_reserves_what_its_model_can_use_and_all_find(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(Sampling())
    tiny, eight, other = Opening("tiny"), Opening("tiny", threads=8), Opened()

    def cpus(opener: Opening | Opened, workers: int, nodes: list[int]) -> int:
        return _cpus(Work("", "", "", opener, job, ""), workers, nodes)

    assert cpus(tiny, 1, [64]) == 1
    assert cpus(eight, 1, [64]) == 8
    assert cpus(eight, 3, [8, 8]) == 4, "two on one machine, one on the other"
    assert cpus(eight, 16, [8, 8]) == 1
    assert cpus(other, 1, [64]) == 1
    monkeypatch.setattr(threads, "GRAIN", 1_000_000)
    assert cpus(tiny, 1, [64]) > 1


def test_commands_let_waiting_threads_sleep() -> None:
    code = (
        "import os; from r1sgg.cli import main\ntry: main(['--version'])\nfinally: print(os.environ['OMP_WAIT_POLICY'])"
    )
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
        assert done.stdout.split()[-1] == expected
