"""Captions to graphs with engines, in this process or on a Ray cluster; the steps are `r1sgg.data.captions`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from r1sgg.data.captions.plan import Plan
from r1sgg.data.captions.run import Result, Workshop, run


@dataclass(frozen=True)
class Job:
    """A plan and its engines.

    Attributes:
        plan: the steps.
        model: the model of the engines.
        max_new_tokens: longest answer of an engine.
        answers: file that keeps the answers of engines.
    """

    plan: Plan
    model: str = "tiny"
    max_new_tokens: int = 1024
    answers: Path | None = None

    @property
    def extractor_name(self) -> str:
        """What reads the triplets, with its version."""
        return self.plan.extractor().name

    def open(self) -> Workshop:
        """Open parsers and engines."""
        return self.plan.workshop(self.plan.extractor())


def make(
    job: Job,
    out: Path,
    *,
    ray: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    advance: Callable[[int], object] = lambda done: None,
) -> Result:
    """Make the graphs; see `r1sgg.data.captions.run.run`."""
    settings = job.plan.settings(job.extractor_name)
    return run(job.plan.records(), out, job.open, settings, overwrite=overwrite, advance=advance)
