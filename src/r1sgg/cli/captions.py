"""`r1sgg captions check`: the statements of captions against scene graphs. The work is `r1sgg.metrics.captions`."""

from __future__ import annotations

import heapq
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1sgg.cli import loading
from r1sgg.cli.root import PARTLY_FAILED, captions_app
from r1sgg.files import write_json, write_lines, writing

if TYPE_CHECKING:
    from r1sgg.judging.labels import LabelSimilarity

_SHOWN = 5


@captions_app.command("check")
def check(
    predictions: Annotated[Path, typer.Argument(help="Predicted or true graphs (JSON Lines), or a file of predict.")],
    captions: Annotated[Path, typer.Option(help="Captions (JSON Lines): image_id, caption or captions.")],
    ground_truth: Annotated[Path | None, typer.Option(help="Ground truth of predictions, for their images.")] = None,
    extract: Annotated[
        str, typer.Option(metavar="HOW", help="Statements by rules, rules:PIPELINE, rules:plain, or by an ENGINE.")
    ] = "rules",
    similarity: Annotated[
        str, typer.Option(help="glove or spacy:MODEL: synonyms and the nearest name count; exact: normal forms only.")
    ] = "glove",
    model: loading.Model = "tiny",
    max_new_tokens: loading.MaxNewTokens = 1024,
    out: Annotated[Path | None, typer.Option(help="File for a page with the errors (HTML).")] = None,
    log: Annotated[Path | None, typer.Option(help="File for a line per statement and invented noun.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for the figures as JSON.")] = None,
) -> None:
    """Judge captions by scene graphs: which statements they support, what captions leave out, and what they invent.

    Example: `r1sgg captions check graphs.jsonl --captions captions.jsonl --out errors.html`
    """
    import contextlib
    import dataclasses

    from rich.console import Console
    from rich.table import Table

    from r1sgg.bulk.captions import Job
    from r1sgg.data.captions.plan import Plan
    from r1sgg.data.captions.provenance import CUT
    from r1sgg.data.captions.records import Captioned
    from r1sgg.data.captions.sources import read_unsized
    from r1sgg.errors import InputError
    from r1sgg.exports.reading import read_graphs
    from r1sgg.judging.labels import load_similarity
    from r1sgg.metrics.captions import CaptionFigures, check_captions
    from r1sgg.pages.captions import MOST_IMAGES, ImageOfPage, write_caption_page

    kept = None if log is None else log.with_name(log.name + ".answers.jsonl")
    plan = Plan(captions, "jsonl", extract=extract, ground="whole")
    measure: LabelSimilarity | None = None if similarity == "exact" else load_similarity(similarity)
    texts: dict[str, Captioned] = {}
    notes: list[str] = []
    for record in read_unsized(captions):
        if isinstance(record, Captioned):
            earlier = texts.get(record.image_id)
            more = earlier.captions if earlier else ()
            texts[record.image_id] = dataclasses.replace(record, captions=(*more, *record.captions))
        else:
            notes.append(record.reason)
    figures = CaptionFigures()
    worst: list[tuple[int, int, ImageOfPage]] = []
    with_errors = without = empty = cut = 0
    with contextlib.ExitStack() as files:
        extractor = files.enter_context(contextlib.closing(Job(plan, model, max_new_tokens, kept).open())).extractor
        lines = files.enter_context(writing(log)) if log is not None else None
        for number, found in enumerate(read_graphs(predictions, ground_truth)):
            captioned = texts.pop(found.record.image_id, None)
            if captioned is None:
                without += 1
                continue
            (extractions,) = extractor.extract([captioned])
            notes += [f"image {captioned.image_id}: {e.error}" for e in extractions if e.error]
            graph = found.record.graph
            empty += not len(graph)
            cut += sum(extraction.cut for extraction in extractions)
            said = [caption.text for caption in captioned.captions]
            checked = check_captions(captioned.image_id, said, extractions, graph, measure, exact=similarity == "exact")
            figures.add(checked, graph)
            if lines is not None:
                write_lines(lines, (row for caption in checked for row in caption.rows(graph)))
            image = Path(found.record.image) if found.record.image else captioned.image
            page = ImageOfPage(captioned.image_id, checked, graph, image)
            with_errors += page.errors > 0
            if page.errors and out is not None:
                heapq.heappush(worst, (page.errors, -number, page))
                if len(worst) > MOST_IMAGES:
                    heapq.heappop(worst)
    if not figures.images:
        hint = notes[0] if notes else "image_id is compared"
        raise InputError(str(captions), expected=f"captions of the images of {predictions}", found="none", hint=hint)
    record_ = {**figures.record(), "graphs": str(predictions), "extract": extractor.name, "similarity": similarity}
    if json is not None:
        write_json(json, record_)
    table = Table("figure", "", title=f"{captions}: {figures.captions:,} captions of {figures.images:,} images")
    table.columns[1].justify = "right"
    for name, value in _rows(record_):
        table.add_row(name, value)
    Console().print(table)
    if out is not None:
        shown = [page for *_, page in sorted(worst, key=lambda item: item[:2], reverse=True)]
        write_caption_page(out, f"Captions: {captions.name}", record_, shown, with_errors - len(shown))
        typer.echo(f"{out}: {len(shown):,} of {with_errors:,} images with errors")
    if without:
        typer.echo(f"{without:,} graphs have no caption", err=True)
    if empty:
        typer.echo(f"{empty:,} graphs have no object: all that is said of these images counts as invented", err=True)
    if cut:
        typer.echo(f"{cut:,} {CUT}", err=True)
    if texts:
        typer.echo(f"{len(texts):,} captioned images have no graph, the first: {next(iter(texts))}", err=True)
    for note in notes[:_SHOWN]:
        typer.echo(f"note: {note}", err=True)
    if len(notes) > _SHOWN:
        typer.echo(f"note: {len(notes) - _SHOWN:,} more", err=True)
    if notes:
        raise typer.Exit(PARTLY_FAILED)


def _rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    shares = ("precision", "coverage", "CHAIR_i", "CHAIR_s")
    rows = [(name, "-" if record[name] is None else f"{100 * record[name]:.1f} %") for name in shares]
    rows.append(("statements", f"{record['statements']:,}"))
    rows += [(f"  {kind}", f"{n:,}") for kind, n in record["outcomes"].items()]
    rows.append(("captions without a statement", f"{record['captions without a statement']:,}"))
    rows.append(("most often invented", ", ".join(list(record["invented"])[:5]) or "-"))
    return rows
