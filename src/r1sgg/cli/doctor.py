"""`r1sgg doctor`: what this machine, a recipe and a model will do, before the first GPU hour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1sgg.cli import loading
from r1sgg.cli.root import PARTLY_FAILED, app
from r1sgg.cli.training import OPEN
from r1sgg.files import protect, refuse_inputs, write_json

if TYPE_CHECKING:
    from r1sgg.doctor.machine import Machine
    from r1sgg.doctor.plan import Plan
    from r1sgg.doctor.view import Seen
    from r1sgg.models.families import Checkpoint

_FAMILIES_WIDTH = 100
_ASSUMED = 80  # GiB of a card, where there is none to look at


@app.command(context_settings=OPEN)
def doctor(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="Recipe: print its arithmetic, and refuse what cannot fit.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="With --config: the model to train. Alone: print the prompt as it sees it.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="Cards of the run; default: those of this machine.")] = None,
    launch: Annotated[
        str | None,
        typer.Option(
            help="ddp (the whole model on each card; default), fsdp2, zero2, zero3; auto: the first that fits."
        ),
    ] = None,
    gpu_memory: Annotated[
        float | None, typer.Option(min=1, help="Memory of a card in GiB; default: as found, else 80.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="ENGINE",
            help="With --model: compare vllm[:OPTION=VALUE,...] with transformers; with --frame any engine.",
        ),
    ] = None,
    families: Annotated[
        bool, typer.Option("--families", help="Print the model families: their boxes, and what each can do.")
    ] = False,
    frame: Annotated[
        bool,
        typer.Option("--frame", help="With --model: ask where drawn shapes are, to find its frame of boxes."),
    ] = False,
    images: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="With --frame: annotated images to ask about in place of drawn shapes."),
    ] = None,
    family: loading.Family = None,
    image: Annotated[
        Path | None, typer.Option(help="With --model: the image to ask about; default: a drawn one.")
    ] = None,
    prompt: loading.Prompt = None,
    vocabulary: loading.Vocabulary = None,
    think: loading.Think = None,
    dtype: loading.Dtype = None,
    max_pixels: loading.MaxPixels = None,
    json: Annotated[Path | None, typer.Option(help="File for all of it as JSON; - is standard output.")] = None,
) -> None:
    """Say what this machine can run, what a recipe needs, and what a model is asked.

    Without options: Python, packages against the tested versions, cards, which commands and recipes run, and the line
    that installs what is missing. With --config: batch, steps, tokens and bytes on a card, estimates named as such;
    further options are those of the recipe. A run that cannot fit is refused with the command that does (exit code 2);
    packages that it needs and that are not here are named (exit code 1). With --model alone: the prompt with the chat
    template, image tokens, the frame of boxes; with --engine vllm also the parity table. With --families: the table of
    known families, what each can do, and why it cannot do the rest. With --frame: what the numbers of a model's boxes
    mean, measured on drawn shapes; exit code 3 where that contradicts its family's row, 4 where it cannot be told.

    Example: `r1sgg doctor --config configs/vg150-grpo.yaml --model runs/vg150/sft --gpus 16`

    Example: `r1sgg doctor --model runs/vg150/sft --engine vllm`

    Example: `r1sgg doctor --frame --model qwen2.5vl:7b --engine openai:http://127.0.0.1:11434/v1,server=plain`
    """
    from r1sgg.errors import ConfigError

    if config is None and context.args:
        raise ConfigError(f"{context.args[0]}: expected --config RECIPE beside options of a recipe, found none")
    run = {"--gpus": gpus, "--launch": launch, "--gpu-memory": gpu_memory}
    asked = {"--engine": engine, "--image": image}
    shared = {"--prompt": prompt, "--vocabulary": vocabulary, "--think": think, "--max-pixels": max_pixels}
    if config is None and (given := _given(run)):
        raise ConfigError(f"{given}: expected --config RECIPE too")
    if (model is None or config is not None) and (given := _given(asked)):
        raise ConfigError(f"{given}: expected --model, and no --config")
    if dtype is not None and engine is None:
        raise ConfigError("--dtype: expected --engine too, because a prompt depends on no weights")
    if model is None and config is None and (given := _given(shared)):
        raise ConfigError(f"{given}: expected --model or --config RECIPE too")
    if families and (config is not None or model is not None):
        raise ConfigError("--families: expected no --config and no --model")
    if frame and (model is None or config is not None):
        raise ConfigError("--frame: expected --model, and no --config")
    if family is not None and not frame:
        raise ConfigError(f"--family {family}: expected --frame too")
    if images is not None and not frame:
        raise ConfigError(f"--images {images}: expected --frame too; one image of yours is --image FILE")
    if frame:
        from r1sgg.cli.doctor_frame import probe_frame
        from r1sgg.inference.engines import Opening

        assert model is not None
        options = loading.prompt_options(prompt, vocabulary, None, think, guide=False)
        opening = Opening(model, engine or "hf", dtype=dtype, max_pixels=max_pixels, family=family, **options)
        if code := probe_frame(opening, images, json):
            raise typer.Exit(code)
        return
    if families:
        failed = _families(json)
    elif config is not None:
        if json is not None:
            protect([config])  # of other commands a recipe may be the record of the run that they continue
            refuse_inputs([json])
        arguments = [*(["--model", model] if model else []), *context.args]
        for option, value in shared.items():  # keys of a recipe, too
            arguments += (
                []
                if value is None
                else [option.replace("max-pixels", "max_pixels"), str(value).lower() if value is think else str(value)]
            )
        failed = _run(config, arguments, gpus, launch or "ddp", gpu_memory, json)
    elif model is not None:
        failed = _model(
            model,
            engine,
            image,
            loading.prompt_options(prompt, vocabulary, None, think, guide=False),
            json,
            dtype=dtype,
            max_pixels=max_pixels,
        )
    else:
        failed = _machine(json)
    if failed:
        raise typer.Exit(PARTLY_FAILED)


def _given(options: dict[str, Any]) -> str:
    """Return the first option that has a value, "" if none has."""
    return next((name for name, value in options.items() if value is not None), "")


def _machine(json: Path | None) -> bool:
    from r1sgg.doctor.machine import look

    found = look()
    if json is not None:
        write_json(json, {"machine": found.to_record()})
    _show_machine(found)
    return False


def _families(json: Path | None) -> bool:
    from rich.table import Table

    from r1sgg.doctor.families import TABLES, reasons, record
    from r1sgg.models.family import CAPABILITIES
    from r1sgg.models.registry import FAMILIES

    if json is not None:
        write_json(json, {"capabilities": dict(CAPABILITIES), "families": [record(family) for family in FAMILIES]})
    for heads, cells in TABLES:
        shown = Table(box=None, padding=(0, 1, 0, 0))
        for head in heads:
            shown.add_column(head, overflow="fold", no_wrap=head == "family")
        for family in FAMILIES:
            shown.add_row(*cells(family))
        loading.print_table(shown, width=_FAMILIES_WIDTH)
        typer.echo("")
    for name, meaning in CAPABILITIES.items():
        typer.echo(f"{name}: {meaning}")
    typer.echo("not run: no test has run it; it is not refused\n")
    for line in reasons():
        typer.echo(line)
    return False


def _show_machine(found: Machine) -> None:
    from rich.table import Table

    gib = 1 << 30
    tested = "tested" if found.python_tested else "not tested"
    memory = "" if found.memory is None else f", {found.memory / gib:.0f} GiB of memory"
    typer.echo(f"Python {found.python} ({tested}), {found.system}, {found.cores} cores{memory}")
    for k, card in enumerate(found.cards):
        typer.echo(f"GPU {k}: {card.name}, {card.memory / gib:.0f} GiB ({card.free / gib:.0f} free)")
    if not found.cards:
        typer.echo("GPU: none")
    table = Table("needs", "runs", "state")
    for part in found.parts:
        missing = [f"{p.name} {p.found or 'missing'} (wants {p.wanted or 'any'})" for p in part.missing]
        state = "; ".join([*missing, part.install]) if missing else "ready"
        table.add_row(f"r1sgg[{part.extra}]" if part.extra else "r1sgg", part.runs, state)
    loading.print_table(table)


def _run(
    config: Path, arguments: list[str], gpus: int | None, launch: str, gpu_memory: float | None, json: Path | None
) -> bool:
    from r1sgg.doctor.machine import cards, missing_for
    from r1sgg.doctor.plan import make_plan
    from r1sgg.doctor.recipe import needs_of
    from r1sgg.doctor.starting import command_of, fitting, launch_of, refusal
    from r1sgg.errors import ConfigError, require

    require("trl", "train")
    way = launch_of(launch)
    here = cards()
    count = len(here) if gpus is None else gpus
    memory, source = (int(gpu_memory * (1 << 30)), "--gpu-memory") if gpu_memory else (0, "")
    if not memory and here:
        memory, source = min(card.memory for card in here), here[0].name
    if not memory:
        memory, source = _ASSUMED << 30, f"no card here: {_ASSUMED} GiB assumed, see --gpu-memory"
    plan = make_plan(config, arguments, gpus=count, launch=way, card=memory, card_source=source)
    if launch == "auto":
        plan = fitting(plan) or plan
    missing = missing_for(needs_of(config, arguments), plan.setup.launch)
    command = command_of(plan, config, arguments)
    if json is not None:
        write_json(json, {"run": {**plan.to_record(), "command": command, "missing": missing}})
    _show_plan(plan)
    for sentence in missing:
        typer.echo(f"missing here: {sentence}", err=True)
    if not plan.fits:
        raise ConfigError(refusal(plan, config, arguments))
    typer.echo(f"start: {command}")
    return bool(missing)


def _show_plan(plan: Plan) -> None:
    from rich.table import Table

    gib, steps, setup = 1 << 30, plan.steps, plan.setup
    weights = f"{plan.shape.weights:,} weights, {setup.trained:,} trained"
    typer.echo(f"{plan.stage}: {plan.model} ({plan.family}, {weights})")
    typer.echo(f"data: {steps.images:,} images ({steps.source})")
    per = f"{setup.sequences} sequences x {max(setup.gpus, 1)} cards x {steps.accumulation} passes"
    drawn = f" = {steps.prompts} prompts x {steps.batch // steps.prompts} completions" if plan.stage == "grpo" else ""
    typer.echo(f"global batch: {steps.batch} = {per}{drawn}")
    rest = f"; the last of an epoch has {steps.last} sequences" if steps.last else ""
    rest += f"; {steps.left_out} images of an epoch are left out" if steps.left_out else ""
    typer.echo(f"steps: {steps.total:,} ({steps.epoch:,} an epoch{rest})")
    longest = "at most" if plan.stage == "grpo" else "a graph of 12 objects and 8 relationships:"
    typer.echo(
        f"tokens: {setup.tokens:,} a sequence = {plan.prompt_tokens} prompt + {plan.image_tokens} image (at most) + "
        f"{longest} {plan.completion_tokens} completion; {plan.step_tokens:,} a step, "
        f"{plan.step_tokens * steps.total / 1e9:.2f} billion in all"
    )
    table = Table("on a card", "GiB", "how", title=f"{plan.card / gib:.0f} GiB a card ({plan.card_source})")
    for item in plan.items:
        table.add_row(item.name, f"{item.bytes / gib:.1f}", item.how)
    table.add_row("together", f"{plan.bytes / gib:.1f}", "fits" if plan.fits else "does not fit", style="bold")
    loading.print_table(table)
    if plan.share is not None:
        typer.echo(f"vllm_gpu_memory_utilization: {plan.share:.2f}")


def _model(model: str, engine: str | None, image: Path | None, options: Any, json: Path | None, **more: Any) -> bool:
    from r1sgg.doctor.view import comparable, opened, parity_of, prompt_of
    from r1sgg.errors import ModelError, require
    from r1sgg.inference.engines import Opening

    require("transformers", "train")
    opening = Opening(model, engine or "hf", **options, **more)
    if engine is not None:
        comparable(opening)
    checkpoint, picture = opening.checkpoint(), opened(image)
    seen = prompt_of(checkpoint, picture)
    record: dict[str, Any] = {"prompt": _prompt_record(checkpoint, seen)}
    _show_prompt(checkpoint, seen)
    fault = None
    if engine is not None:
        parity = parity_of(opening, [picture])
        fault = parity.fault()
        record["parity"] = {**parity.metrics(), "fault": fault}
        typer.echo(parity.table())
    if json is not None:
        write_json(json, record)
    if fault is not None:
        raise ModelError(
            f"{model}: {fault}; vLLM would sample from another model than the one that is trained or asked"
        )
    return False


def _prompt_record(checkpoint: Checkpoint, seen: Seen) -> dict[str, Any]:
    return {
        "model": checkpoint.name,
        "family": checkpoint.family.name,
        "settings": checkpoint.settings.to_record(),
        "text": seen.text,
        "tokens": len(seen.ids),
        "image_tokens": seen.image_tokens,
        "frame": list(seen.frame),
        "image_size": list(seen.image_size),
        "image_pixels": checkpoint.image_pixels,
    }


def _show_prompt(checkpoint: Checkpoint, seen: Seen) -> None:
    from r1sgg.models.known import known_checkpoint

    typer.echo(seen.text.rstrip("\n"))
    typer.echo("---")
    width, height = seen.frame
    typer.echo(
        f"{checkpoint.name}: {checkpoint.family.name}; {len(seen.ids)} tokens, {seen.image_tokens} of them of the "
        f"image ({seen.image_size[0]}x{seen.image_size[1]}); boxes in a frame of {width:g} x {height:g}"
    )
    if (known := known_checkpoint(checkpoint.path)) is not None:
        asked = f"; with a data set by its column {known.settings.column}" if known.settings.column else ""
        typer.echo(f"a known checkpoint{asked} ({known.source})")
