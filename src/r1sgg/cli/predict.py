"""`r1sgg predict`: read photos, or folders of them, as scene graphs: JSON and pictures. `r1sgg.bulk.photos` reads."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import orjson
import typer

from r1sgg.cli import choosing, loading
from r1sgg.cli.root import PARTLY_FAILED, app
from r1sgg.files import STANDARD_OUTPUT, locked, writing

if TYPE_CHECKING:
    from r1sgg.bulk.photos import Photo
    from r1sgg.bulk.stored import Place
    from r1sgg.inference.reader import Reading

_LISTED = 20  # most images that are listed in a table, and most failures that are named


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders of images with their subfolders.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for NAME.json and NAME.overlay.png; images that have theirs already are skipped."),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(help="File for one line of JSON per image; - is standard output, each line as it is finished."),
    ] = None,
    model: choosing.ModelOrDefault = None,
    engine: loading.Engine = "hf",
    family: loading.Family = None,
    ask: choosing.AskOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images per batch; default: 8, vllm 128, openai 64.")
    ] = None,
    boxes: Annotated[
        str, typer.Option(help="Unit of the boxes: pixels, thousandths or fractions (of the image's sides).")
    ] = "pixels",
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
    cut_loops: loading.CutLoops = True,
    samples: loading.Samples = 1,
    scores: loading.Scores = False,
    threshold: loading.Threshold = None,
    max_pixels: loading.MaxPixels = None,
    device: loading.Device = None,
    dtype: loading.Dtype = None,
    threads: loading.Threads = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make all results in the folder again.")] = False,
) -> None:
    """Read photos as scene graphs.

    Each image gives a record (objects and relationships, boxes in pixels, scores if requested, the raw completion
    and its issues) and a picture of the graph on the image. The same command resumes: it reads only the images without
    a record, or with an older one, and a folder may get new images. Images that cannot be read are named, counted and
    skipped; the exit code is then 1. The score of a relationship is that of the whole triplet, its objects included.

    The model that is used without --model knows drawn scenes only, and refuses anything else.

    Example: `r1sgg predict holiday --model photo --guide --out graphs`

    Example: `r1sgg predict holiday/*.jpg --model runs/grpo --json - | jq .relationships`
    """
    import functools

    from rich.console import Console

    from r1sgg.bulk.photos import Results, find_photos, read_photos
    from r1sgg.bulk.run import Job, settings_of
    from r1sgg.data.images import open_image
    from r1sgg.drawing.draw import draw
    from r1sgg.errors import ConfigError
    from r1sgg.inference.engine import Sampling
    from r1sgg.inference.engines import Opening
    from r1sgg.inference.lines import spoken
    from r1sgg.inference.reader import BoxUnit, check_samples
    from r1sgg.judging.diagnosis import findings
    from r1sgg.miniature.recognising import remark_on

    if out is None and json is None:
        raise ConfigError("predict: expected --out FOLDER, --json FILE, or both, found neither")
    unit = next((known for known in get_args(BoxUnit) if known == boxes), None)
    if unit is None:
        raise ConfigError(f"--boxes: expected one of {', '.join(get_args(BoxUnit))}, found {boxes!r}")
    sampling = Sampling(temperature, top_p, top_k, max_new_tokens, seed, cut_loops)
    check_samples(samples, sampling)
    options = loading.prompt_options(prompt, vocabulary, answer_format, think, guide=guide)
    chosen = model or choosing.DEFAULT_MODEL
    opening = Opening(
        chosen,
        engine,
        device=device,
        dtype=dtype,
        max_pixels=max_pixels,
        threads=threads,
        family=family,
        ask=choosing.ask_mode(ask, model, prompt, think, answer_format),
        **options,
    )
    photos, notes = find_photos(images, out)
    for note in notes:
        typer.echo(note, err=True)
    if model is None:
        choosing.refuse_photos((str(photo.path), functools.partial(open_image, photo.path)) for photo in photos)
    job = Job(
        sampling,
        guide=guide,
        samples=samples,
        scores=scores,
        threshold=threshold,
        batch_size=batch_size or opening.spec.habits.batch_size,
        window=1,  # so that an image's results wait for its own batch only
    )
    with contextlib.ExitStack() as stack:
        if out is not None:
            stack.enter_context(locked(out))
        reader = stack.enter_context(contextlib.closing(loading.open_quietly(opening)))
        loading.remark_calibration(reader, guide=guide, temperature=temperature, samples=samples)
        shared = settings_of(reader.checkpoint, reader.guide_vocabulary, reader.engine.name, job, None, reader.ask)
        results = None if out is None else Results(out, {**shared, "boxes": unit}, overwrite=overwrite)
        lines = None if json is None else stack.enter_context(writing(json))
        admit = functools.partial(remark_on, checkpoint=reader.checkpoint, named=model is not None)

        def record_of(reading: Reading, place: Place) -> dict[str, Any]:
            """Make an image's record, and write what belongs into the folder."""
            path, name = map(str, place.where)
            record = reading.to_record(place.image_id, Path(path), reader.checkpoint.name, boxes=unit)
            record |= {"image": spoken(path), "completion": spoken(reading.completion.text)}
            if (remark := admit(reading.image)) is not None:
                record["notice"] = remark
            if results is not None:
                draw(reading.image, reading.graph).save(results.out / f"{name}.overlay.png")
                results.write(name, record)  # last: whoever finds it finds the picture
            return record

        tally = _Tally(shown=json != STANDARD_OUTPUT)
        waiting: list[Photo] = []
        for photo in photos:
            earlier = None if results is None else results.earlier(photo)
            if earlier is None:
                waiting.append(photo)
                continue
            tally.add(photo, earlier, again=True)
            if lines is not None:
                lines.write(orjson.dumps(earlier) + b"\n")
        progress = stack.enter_context(loading.progress_bar("predict"))
        finished = len(photos) - len(waiting)
        progress(finished, len(photos))
        step = functools.partial(_advance, progress, finished, len(photos))
        for photo, record in read_photos(
            waiting, reader, job, record_of, lambda image, where: admit(image, where=where), step
        ):
            tally.add(photo, record)
            if lines is not None:
                lines.write(orjson.dumps(record) + b"\n")
                lines.flush()
    if tally.shown and len(photos) <= _LISTED:
        Console(markup=False, emoji=False).print(tally.table(chosen))  # names may look like [markup]
    place = "predict" if (out or json) == STANDARD_OUTPUT else out or json
    for finding in findings(tally.ledger):
        typer.echo(f"{place}: {finding}", err=True)
    typer.echo(f"{place}: {tally.summary()}")
    if tally.count["failed"]:
        raise typer.Exit(PARTLY_FAILED)


def _advance(progress: Any, before: int, total: int, done: int) -> None:
    progress(before + done, total)


class _Tally:
    """What is said at the end."""

    def __init__(self, *, shown: bool) -> None:
        from r1sgg.graph.ledger import Ledger

        self.shown, self.count, self.ledger = shown, Counter[str](), Ledger()
        self._rows: list[tuple[Photo, dict[str, Any]]] = []

    def add(self, photo: Photo, record: dict[str, Any], *, again: bool = False) -> None:
        """Count a record, and what the reading of its completion dropped; say at once if it failed."""
        from r1sgg.bulk.photos import answer_of
        from r1sgg.bulk.resume import is_failed
        from r1sgg.data.predictions import add_to

        self.count["images"] += 1
        self.count["earlier"] += again
        self.count["remarked"] += "notice" in record
        if len(self._rows) < _LISTED:
            self._rows.append((photo, record))
        if is_failed(record):
            self.count["failed"] += 1
            if self.count["failed"] <= _LISTED:
                said = record["error"] if "error" in record else f"{record['image']}: {record['fault']}"
                typer.echo(f"r1sgg: {said}", err=True)
        if "error" in record:
            return
        self.count["without"] += record["failure"] is not None
        add_to(self.ledger, answer_of(record, record["image"]))

    def table(self, model: str) -> Any:
        """Return a table with a row per image."""
        from rich.table import Table

        from r1sgg.inference.lines import spoken

        table = Table("image", "objects", "relationships", title=f"Scene graphs by {model}")
        table.columns[0].overflow = "fold"
        for photo, record in self._rows:
            failed = "error" in record
            number = "" if failed else str(len(record["objects"]))
            table.add_row(spoken(photo.path.name), number, "failed" if failed else _describe(record))
        return table

    def summary(self) -> str:
        """Return the counts as a line."""
        count = self.count
        parts = [f"{count['images']:,} image{'' if count['images'] == 1 else 's'}"]
        parts += [f"{count['earlier']:,} of them from an earlier run"] if count["earlier"] else []
        parts += [f"{count['failed']:,} failed"]
        parts += [f"{count['without']:,} without a graph in the completion"] if count["without"] else []
        parts += [f"{count['remarked']:,} not drawn scenes, whose graphs mean nothing"] * bool(count["remarked"])
        return ", ".join(parts)


def _describe(record: dict[str, Any], most: int = 5) -> str:
    """Describe the relationships for the table, or why there are none."""
    if failure := record["failure"]:
        return f"no graph in the completion ({failure})"
    if not record["objects"]:
        return "no score as high as the threshold"
    labels = {row["id"]: str(row["id"]).rpartition(".")[0] or str(row["id"]) for row in record["objects"]}
    triplets = [(labels[row["subject"]], row["predicate"], labels[row["object"]]) for row in record["relationships"]]
    return _cut([" ".join(triplet) for triplet in triplets], most)


def _cut(lines: Sequence[str], most: int) -> str:
    more = [f"{len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])
