"""How a run is started so that it fits: the command, another way to start it, and the sentence that refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r1sgg.doctor.plan import Plan, launcher_of, make_plan
from r1sgg.errors import ConfigError
from r1sgg.training.memory import GIB, LAUNCHES, RESERVED, Launch

_OVERLAYS = ("configs/lora-{stage}.yaml", "configs/lora-{stage}.yaml configs/qlora.yaml")


def launch_of(text: str) -> Launch:
    """Return a launch by its name; of "auto" the first that is tried.

    Raises:
        ConfigError: there is none.
    """
    for launch in LAUNCHES:
        if text in (launch, "auto"):
            return launch
    raise ConfigError(f"--launch: expected auto or one of {', '.join(LAUNCHES)}, found {text!r}")


def command_of(plan: Plan, config: Path, arguments: Sequence[str], overlay: str = "") -> str:
    """Return the command that starts a run, with further recipes to include."""
    words = ["r1sgg", plan.stage, "--config", str(config), *(["--include", overlay] if overlay else [])]
    return " ".join([*launcher_of(plan.setup.launch, plan.setup.gpus).split(), *words, *arguments, *plan.changed])


def fitting(plan: Plan) -> Plan | None:
    """Return the same run in a way that fits, None if there is none.

    Tried are, on several cards, the whole model on each and then FSDP2, each with smaller passes; the global batch and
    so the result stay the same.
    """
    for launch in ("ddp", "fsdp2") if plan.setup.gpus > 1 else ("ddp",):
        sequences = plan.setup.sequences
        while sequences:
            other = plan.started(launch, sequences)
            if other.fits:
                return other
            sequences = 0 if sequences % 2 else sequences // 2
    return None


def refusal(plan: Plan, config: Path, arguments: Sequence[str]) -> str:
    """Say that a run does not fit, and what does: the same run started in another way, or an adapter."""
    per = "the whole model on each of" if plan.setup.launch == "ddp" else f"{plan.setup.launch} over"
    cards = f"{per} {plan.setup.gpus} cards" if plan.setup.gpus > 1 else "one card"
    room = plan.card * (1 - RESERVED) / GIB
    head = (
        f"{config}: {plan.model}: expected at most {room:.0f} GiB a card ({plan.card / GIB:.0f} less {RESERVED:.0%} "
        f"reserve), found {plan.bytes / GIB:.0f} GiB with {cards}"
    )
    if (other := fitting(plan)) is not None:
        way = "FSDP2" if other.setup.launch == "fsdp2" else "smaller passes"
        return f"{head}; start it with {way} ({other.bytes / GIB:.0f} GiB): {command_of(other, config, arguments)}"
    for overlay in _OVERLAYS:
        places = overlay.format(stage=plan.stage)
        try:
            more = [*arguments, "--include", *places.split()]
            gpus, card = plan.setup.gpus, plan.card
            adapted = make_plan(config, more, gpus=gpus, launch="ddp", card=card, card_source=plan.card_source)
        except ConfigError:  # no such file from here, or the batch does not come out
            continue
        if (other := fitting(adapted)) is not None:
            command = command_of(other, config, arguments, places)
            return f"{head}; an adapter fits ({other.bytes / GIB:.0f} GiB): {command}"
    return f"{head}; take more cards, a smaller --max_pixels, or a smaller model"
