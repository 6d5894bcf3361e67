"""What `r1sgg bench` runs: trainings and answers, each a command of this package on one core. They end together."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import typer

from r1sgg.errors import R1SGGError, TrainingError
from r1sgg.files import write_json

HOW = {"greedy": "0", "sampled": "1"}
"""How the test scenes are answered, and the temperature."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _NotBegunError(TrainingError):
    """A command that was not started, because another one failed or the bench was stopped."""


class Commands:
    """Commands of this package, one core each; once they are stopped, no other begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._stopped = False

    def run(self, arguments: Sequence[str], log: Path, spent: Path | None = None) -> None:
        """Run a command, its output at the end of a log file.

        Args:
            arguments: the command.
            log: the log file.
            spent: JSON file to whose "cpu_seconds" the command's are added, also if it fails.

        Raises:
            TrainingError: it failed, or was not begun.
        """
        script = f"from r1sgg.cli import main; main({list(arguments)!r})"
        with log.open("ab") as handle:
            with self._lock:
                self.check()
                started = subprocess.Popen(
                    [sys.executable, "-c", script],
                    stdout=handle,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    start_new_session=True,  # Ctrl-C reaches the bench alone, which passes it on once
                )
                self._running.add(started.pid)
            os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
            with self._lock:  # its number may be another process's after this
                _, status, usage = os.wait4(started.pid, 0)
                self._running.discard(started.pid)
            started.returncode = os.waitstatus_to_exitcode(status)
        if spent is not None:
            write_json(spent, {"cpu_seconds": seconds(spent) + usage.ru_utime + usage.ru_stime})
        if started.returncode:
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise TrainingError(f"r1sgg {arguments[0]} ended with {started.returncode}: {last} (all of it: {log})")

    def check(self) -> None:
        """See that another command may begin.

        Raises:
            TrainingError: it may not.
        """
        if self._stopped:
            raise _NotBegunError("not begun: another command failed, or the bench was stopped")

    def stop(self, *, now: bool) -> None:
        """Begin no other command; end those that run, if `now`: trainings save a checkpoint first."""
        with self._lock:
            self._stopped = True
            for process in self._running if now else ():
                os.kill(process, signal.SIGTERM)


def seconds(spent: Path) -> float:
    """Return the CPU-seconds that are noted in a file, 0 without it."""
    from r1sgg.data.jsonl import read_json

    return float(read_json(spent)["cpu_seconds"]) if spent.is_file() else 0.0


def is_complete(answers: Path, scenes: int) -> bool:
    """Return whether a file has a line for each scene."""
    return answers.is_file() and answers.read_bytes().count(b"\n") == scenes


def data_of(stage: str, seed: int) -> str:
    """Return the data of a training, as in runs/tiny.sh; the questions keep the model answering those."""
    return f"scenes:200000,seed={10 + seed if stage == 'grpo' else 20 + seed},annotation=vg" + (
        ",questions=20" if stage == "sft" else ""
    )


def train_and_answer(
    entry: Path, settings: Mapping[str, Any], config: Path, seeds: int, jobs: int, unchanged: Callable[[], None]
) -> float:
    """Run what is missing of each seed; return the CPU-seconds of all trainings.

    After a failure what runs goes on to its end; Ctrl-C, SIGTERM and SIGHUP end it.

    Args:
        entry: the folder.
        settings: of the entry: `stage`, `model`, `scenes`.
        config: the recipe, which nobody edits.
        seeds: how many.
        jobs: commands at the same time.
        unchanged: called before each training; raises where a file that it reads is another now.

    Raises:
        TrainingError: a command failed; its last line says why.
    """
    commands = Commands()
    with _stopped_together(entry, commands), ThreadPoolExecutor(jobs) as pool:
        one = functools.partial(_first_to_fail, commands, entry, settings, config, unchanged)
        futures = [pool.submit(one, seed) for seed in range(seeds)]
        wait(futures)
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, _NotBegunError)):
        raise error
    return sum(future.result() for future in futures)


@contextlib.contextmanager
def _stopped_together(entry: Path, commands: Commands) -> Iterator[None]:
    """Let a signal that ends this process end what it runs, and say that it can be resumed."""

    def end(number: int, _: Any) -> None:
        commands.stop(now=True)
        typer.echo(f"{entry}: stopped; the same command resumes it", err=True)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    ignored = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_IGN]  # as nohup does
    before = {number: signal.signal(number, end) for number in _ENDING if number not in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_to_fail(
    commands: Commands, entry: Path, settings: Mapping[str, Any], config: Path, unchanged: Callable[[], None], seed: int
) -> float:
    """Run a seed; if it fails, no other command begins, not even in the thread that it leaves."""
    try:
        return _one(commands, entry, settings, config, unchanged, seed)
    except R1SGGError:
        commands.stop(now=False)
        raise


def _one(
    commands: Commands, entry: Path, settings: Mapping[str, Any], config: Path, unchanged: Callable[[], None], seed: int
) -> float:
    run, spent, log, scenes = entry / f"s{seed}", entry / f"s{seed}.json", entry / f"s{seed}.log", settings["scenes"]
    missing = [how for how in HOW if not is_complete(entry / f"s{seed}.{how}.jsonl", scenes)]
    if missing and not (run / "trainer_state.json").is_file():
        commands.check()
        unchanged()
        if not any(run.glob("checkpoint-*")):
            spent.unlink(missing_ok=True)  # of a training that left nothing
        given = {"--model": settings["model"], "--seed": seed, "--data": data_of(settings["stage"], seed)}
        given |= {"--output_dir": run, "--requeue": "true"}
        typer.echo(f"seed {seed}: trains; its output goes to {log}", err=True)
        words = [str(word) for pair in given.items() for word in pair]
        commands.run([settings["stage"], "--config", str(config), *words], log, spent)
        for answers in entry.glob(f"s{seed}.*.jsonl*"):
            answers.unlink()  # of a model that somebody has removed since
        missing = list(HOW)
    for how in missing:
        commands.check()
        typer.echo(f"seed {seed}: answers {scenes:,} test scenes, {how}", err=True)
        words = ["--images", f"scenes:{scenes},seed=1,split=test", "--model", str(run), "--temperature", HOW[how]]
        target = str(entry / f"s{seed}.{how}.jsonl")
        commands.run(["generate", *words, "--batch-size", "100", "--max-new-tokens", "200", "--out", target], log)
    return seconds(spent)
