"""Training commands in processes that may be killed: a server that imports everything once and forks for each command.

    python -m tests.training.forked                      jobs as lines of JSON on standard input, see `Job`
    torchrun ... -m tests.training.forked sft --...      one command in this process, with the same patches

GRPO uses the reward `vowels`, because a random model never writes a graph. Its rollouts do not depend on the number of
processes: each process samples those of all, with one seed, and takes its own.

accelerate shards a model (FSDP) on accelerators only and on CPUs quietly does not. `shard` lifts that, so that what is
done about sharded weights runs here.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

import orjson
import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, gather_object

from r1sgg.cli import main
from r1sgg.rewards.rubric import DEFAULT_SET, REWARD_SETS
from r1sgg.training import grpo, sft

from .vowels import default

WATCHED = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")


class SharedRollouts(grpo.GraphTrainer):
    """The trainer; its rollouts do not depend on the number of processes."""

    def _generate_single_turn(
        self, prompt_ids: list[Any], images: Any, multimodal_fields: dict[str, Any], *more: Any, **named: Any
    ) -> tuple[list[Any], Any]:
        everything = gather_object([(prompt_ids, multimodal_fields)])
        prompts = [ids for part, _ in everything for ids in part]
        fields = {
            key: torch.cat([part[key] for _, part in everything])
            if isinstance(value, torch.Tensor)
            else [row for _, part in everything for row in part[key]]
            for key, value in multimodal_fields.items()
        }
        with torch.random.fork_rng():
            torch.manual_seed(self._step)
            completions, logprobs = super()._generate_single_turn(prompts, images, fields, *more, **named)
        first = self.accelerator.process_index * len(prompt_ids)
        return completions[first : first + len(prompt_ids)], logprobs


def shard() -> None:
    """Let accelerate do on CPUs what ACCELERATE_USE_FSDP asks for."""
    plain = AcceleratorState.__init__

    def init(self: AcceleratorState, *more: Any, fsdp_plugin: Any = None, **named: Any) -> None:
        plain(self, *more, fsdp_plugin=fsdp_plugin, **named)
        if fsdp_plugin is not None:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init  # type: ignore[method-assign]


def patch() -> None:
    """See the head of this file."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    REWARD_SETS[DEFAULT_SET] = default("vowels")
    grpo.GraphTrainer = SharedRollouts  # type: ignore[misc]
    assert sft.train_sft is not None  # imported here, so that no fork has to


def attempt(job: dict[str, Any], rank: int) -> NoReturn:
    """Run a job's command in this process; the first kills itself at file operation `stop_at` in the folder."""
    folder = str(job["folder"])
    count = 0

    def hook(event: str, values: tuple[Any, ...]) -> None:
        nonlocal count
        if event in WATCHED and str(values[0]).startswith(folder):
            count += 1
            if count == job["stop_at"] and rank == 0:
                Path(f"{folder}.killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ |= job["environment"]
    if "ACCELERATE_USE_FSDP" in os.environ:
        shard()
    if job["processes"] > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"}
        os.environ |= {"WORLD_SIZE": str(job["processes"]), "LOCAL_WORLD_SIZE": str(job["processes"])}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(job["port"])}
    code: Any = 1
    try:
        main(job["arguments"])
        code = 0
    except SystemExit as left:
        code = left.code or 0
    finally:
        if rank == 0:
            Path(f"{folder}.count").write_text(str(count))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job: how its processes ended, how many file operations the first did, and how long it took."""
    begun = time.monotonic()
    killed = Path(f"{job['folder']}.killed")
    killed.unlink(missing_ok=True)
    waiting: dict[int, int] = {}
    for rank in range(job["processes"]):
        if (pid := os.fork()) == 0:
            attempt(job, rank)
        waiting[pid] = rank
    codes = [0] * job["processes"]
    if job["seconds"] is not None:
        time.sleep(job["seconds"])
        for pid in waiting:
            os.kill(pid, signal.SIGKILL)
    while waiting:
        pid, status = os.wait()
        codes[waiting.pop(pid)] = code = os.waitstatus_to_exitcode(status)
        if code:
            for other in waiting:  # it would wait for the one that died
                os.kill(other, signal.SIGKILL)
    if job["seconds"] is not None or killed.exists():  # a process that loses its peer may fail before it is killed
        codes = [-signal.SIGKILL if code else 0 for code in codes]
    count = Path(f"{job['folder']}.count")
    operations = int(count.read_text()) if count.exists() else 0
    return {"codes": codes, "operations": operations, "seconds": time.monotonic() - begun}


if __name__ == "__main__":
    patch()
    if sys.argv[1:]:
        main(sys.argv[1:])
        sys.exit()
    for line in sys.stdin:
        sys.stdout.write(orjson.dumps(run(orjson.loads(line))).decode() + "\n")
        sys.stdout.flush()
