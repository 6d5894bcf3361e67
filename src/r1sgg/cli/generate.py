"""`r1sgg generate`: predictions for many images, by `r1sgg.bulk.run`, or on a cluster by `r1sgg.bulk.ray_data`."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1sgg.cli import choosing, loading
from r1sgg.cli.root import PARTLY_FAILED, app

if TYPE_CHECKING:
    from r1sgg.bulk.stored import Inputs


@app.command()
def generate(
    images: Annotated[
        str,
        typer.Option(
            metavar="IMAGES",
            help="The images to read: a folder, FILE.jsonl, FILE.parquet, SHARDS.tar, any data set (vg150:DIR).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Predictions file (JSON Lines); an interrupted run is resumed.")],
    model: choosing.ModelOrDefault = None,
    engine: loading.Engine = "hf",
    family: loading.Family = None,
    ask: choosing.AskOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images per batch; default: 8, vllm 128, openai 64.")
    ] = None,
    temperature: loading.Temperature = 0.0,
    top_p: loading.TopP = 1.0,
    top_k: loading.TopK = 0,
    seed: loading.Seed = 0,
    max_new_tokens: loading.MaxNewTokens = 1024,
    prompt: loading.Prompt = None,
    think: loading.Think = None,
    vocabulary: loading.Vocabulary = None,
    answer_format: loading.Format = None,
    guide: loading.Guide = False,
    cut_loops: loading.CutLoops = False,
    samples: loading.Samples = 1,
    scores: loading.Scores = False,
    threshold: loading.Threshold = None,
    task: Annotated[
        str,
        typer.Option(help="sgdet; sgcls gives the true boxes of a data set, predcls boxes and names."),
    ] = "sgdet",
    max_pixels: loading.MaxPixels = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N images.")] = None,
    logprobs: Annotated[
        bool,
        typer.Option(
            "--logprobs", help="Add sum and mean of the token log-probabilities, and guided answers' weights."
        ),
    ] = False,
    device: loading.Device = None,
    dtype: loading.Dtype = None,
    threads: loading.Threads = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over if the file exists.")] = False,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on a Ray cluster: its address, auto or local.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Models, each in its own process; 0: one per GPU. Default: with --ray one per GPU, else one.",
        ),
    ] = None,
    shard_size: Annotated[
        int | None, typer.Option(min=1, help="Images per shard of work; default: 1024 with --ray, 128 with --workers.")
    ] = None,
) -> None:
    """Generate predictions for many images.

    The lines are in the order of the images. The same command resumes a killed run and gives the same file as an
    uninterrupted run. An image that cannot be opened gets a line with `error`; the exit code is then 1. With --guide,
    --samples, --scores or --threshold the lines also have objects and relationships with scores. Without --model the
    first image must be a drawn scene, because the default model knows nothing else.

    Example: `r1sgg generate --images val/gt.jsonl --model runs/sft --out runs/sft/val.jsonl --batch-size 32`
    """
    from r1sgg.bulk.run import Job, run
    from r1sgg.data.predictions import ledger_of, read_predictions
    from r1sgg.errors import ConfigError
    from r1sgg.graph.dialects.registry import OURS
    from r1sgg.graph.given import TASKS
    from r1sgg.inference.engine import Sampling
    from r1sgg.inference.engines import Opening
    from r1sgg.judging.diagnosis import findings

    if shard_size is not None and ray is None and workers is None:
        raise ConfigError("--shard-size: expected --ray ADDRESS or --workers too, because one model has no shards")
    if workers is not None and ray is None and engine.startswith("openai"):
        raise ConfigError("--workers: expected --engine hf or vllm, found a server; concurrency= is its own option")
    if task not in TASKS:
        raise ConfigError(f"--task: expected one of {', '.join(TASKS)}, found {task!r}")
    if cut_loops and not engine.startswith("hf"):
        raise ConfigError(f"--cut-loops: this option is for --engine hf, not {engine}")
    options = loading.prompt_options(prompt, vocabulary, answer_format, think, guide=guide, columns=True)
    opening = Opening(
        model or choosing.DEFAULT_MODEL,
        engine,
        device=device,
        dtype=dtype,
        max_pixels=max_pixels,
        threads=threads,
        family=family,
        ask=choosing.ask_mode(ask, None),
        **options,
    )
    habits = opening.spec.habits
    job = Job(
        Sampling(temperature, top_p, top_k, max_new_tokens, seed, cut_loops),
        guide=guide,
        samples=samples,
        scores=scores,
        threshold=threshold,
        task=task,
        logprobs=logprobs,
        batch_size=batch_size or habits.batch_size,
        window=habits.window,
    )
    inputs = loading.open_with_prompts(images, opening, annotated=task != "sgdet")
    _print_notes(inputs)
    if model is None:
        choosing.refuse_photos((place.image_id, functools.partial(inputs.image, place)) for place in inputs)
    files: dict[str, Any] = {"limit": limit, "overwrite": overwrite}
    if (ray is not None or workers is not None) and (opening.spec.kind == "openai" or opening.ask == "native"):
        loading.announce(opening.checkpoint(), opening.ask)
    if (ray is not None or workers is not None) and opening.guide_vocabulary is not None:
        loading.say_kept_prompt(opening.checkpoint(), opening)
    if ray is not None:
        from r1sgg.bulk.ray_data import Cluster, run_on_ray

        on_gpu = device is None or device.startswith("cuda")
        cluster = Cluster(ray, workers or None, shard_size or 1024, on_gpu=on_gpu)
        with loading.progress_bar("generate") as progress:
            summary = run_on_ray(inputs, out, opening, job, cluster, **files, progress=progress)
    elif workers is not None:
        from r1sgg.bulk.local import SHARD, run_on_cards
        from r1sgg.bulk.processes import cards_of_workers

        each = int(opening.spec.options.get("tensor_parallel_size", 1))
        places = cards_of_workers(workers, each, device)
        with loading.progress_bar("generate") as progress:
            summary = run_on_cards(inputs, out, opening, job, places, shard_size or SHARD, **files, progress=progress)
    else:
        reader = loading.open_quietly(opening, columns=True)
        loading.remark_calibration(reader, guide=guide, temperature=temperature, samples=samples)
        with contextlib.closing(reader), loading.progress_bar("generate") as progress:
            summary = run(inputs, out, reader, job, **files, progress=progress)
        if (used := loading.describe_usage(reader)) is not None:
            typer.echo(used)
    for finding in findings(ledger_of(read_predictions(out, OURS))):
        typer.echo(f"{out}: {finding}", err=True)
    done = f", {summary.resumed} of them from an earlier run" if summary.resumed else ""
    typer.echo(f"{out}: {summary.images} images{done}; {summary.failed} failed")
    if summary.failed:
        raise typer.Exit(PARTLY_FAILED)


def _print_notes(inputs: Inputs, most: int = 3) -> None:
    """Print what the inputs left out to standard error."""
    count = len(inputs)
    for note in inputs.notes[:most]:
        typer.echo(note, err=True)
    if len(inputs.notes) > most:
        typer.echo(f"{inputs.name}: {len(inputs.notes) - most} more notes, {count} images", err=True)
