"""`r1sgg doctor --frame`: asks a model about drawn shapes, and says what the numbers of its boxes mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from r1sgg.cli import loading
from r1sgg.files import STANDARD_OUTPUT, write_json

if TYPE_CHECKING:
    from r1sgg.doctor.frame import Probed
    from r1sgg.inference.engines import Opening

AGREES, CONTRADICTS, CANNOT_TELL = 0, 3, 4
"""Exit codes of the probe."""


def probe_frame(opening: Opening, images: str | None, json: Path | None) -> int:
    """Run the probe, print what it found, and return the exit code.

    Args:
        opening: the model.
        images: annotated images to ask about; None: drawn shapes.
        json: file for the result.

    Raises:
        InputError: the images have no annotations, or cannot be opened.
        ModelError, ConfigError: the model cannot be loaded or asked.
    """
    from r1sgg.bulk.inputs import open_inputs
    from r1sgg.doctor.frame import probe, said
    from r1sgg.doctor.shapes import draw_pictures, pictures_of

    pictures = draw_pictures() if images is None else pictures_of(open_inputs(images, annotated=True))
    reader = loading.open_quietly(opening, columns=True, named=False)
    size = opening.spec.habits.batch_size
    with contextlib.closing(reader), loading.progress_bar("frame") as progress:
        probed = probe(reader.checkpoint, reader.engine, pictures, batch_size=size, progress=progress)
    if json is not None:
        write_json(json, {"frame": probed.to_record()})
    _show(probed)
    code = CANNOT_TELL if probed.verdict.why_not else AGREES if probed.agrees else CONTRADICTS
    if probed.verdict.shifted and not probed.verdict.why_not:
        code = CONTRADICTS
    typer.echo(said(probed), err=code != AGREES)
    if code == CANNOT_TELL and json != STANDARD_OUTPUT:
        first = next((text for text in probed.texts if text.strip()), "")
        typer.echo(f"the first answer: {' '.join(first.split())[:160]!r}" if first else "no answer has any text")
    if probed.error:
        typer.echo(f"the first picture without an answer: {probed.error}", err=True)
    return code


def _show(probed: Probed) -> None:
    """Print the boxes, and the fits that come first."""
    import numpy as np
    from rich.table import Table

    verdict = probed.verdict
    shown = len(probed.found)
    asked = sum(len(picture.names) for picture in probed.pictures)
    same = "" if probed.asked == probed.answered else f" (asked in {probed.asked})"
    typer.echo(
        f"{probed.model}: {shown} of {asked} objects have a box in {len(probed.pictures)} pictures, written in "
        f"{probed.answered}{same}; {probed.others} other boxes; {probed.errors} pictures without an answer"
    )
    if not verdict.fits:
        return
    best = verdict.best
    boxes = Table("picture", "shape", "written", f"true, in {best.candidate.name}", "off by, % of a side")
    for one in probed.found:
        picture = probed.pictures[one.picture]
        frame = best.candidate.frames[one.picture]
        true = picture.boxes[picture.names.index(one.name)]
        off = abs(frame.fractions(np.array([one.written]))[0] - true).max()
        width, height = picture.image.size
        boxes.add_row(
            f"{width}x{height}",
            one.name,
            _numbers(one.written),
            _numbers(frame.written(true[None])[0]),
            f"{off:.1%}"[:-1],
        )
    loading.print_table(boxes)
    fits = Table("frame", "explains", "error, % of a side", "log likelihood", "does as well in")
    for each in verdict.fits[:6]:
        twin = " (the same for every purpose)" if each in verdict.twins else ""
        name = "; ".join((each.candidate.name, *each.candidate.same)) + twin
        fits.add_row(name, f"{each.right:.0%}", f"{each.error:.2%}"[:-1], f"{each.gain:.1f}", f"{each.rival:.0%}")
    loading.print_table(fits)
    typer.echo(f"margin: {verdict.margin:.1f} nats above the next frame that is not the same for every purpose")


def _numbers(values: Iterable[float]) -> str:
    return "[" + ", ".join(f"{round(float(v), 3):g}" for v in values) + "]"
