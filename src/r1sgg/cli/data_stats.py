"""`r1sgg data stats`: statistics of a data set (`r1sgg.data.stats`) and a page of them (`r1sgg.pages.statistics`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1sgg.cli.root import PARTLY_FAILED, data_app
from r1sgg.files import write_json

if TYPE_CHECKING:
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    from r1sgg.data.base import Example
    from r1sgg.data.captions.comparing import Truth
    from r1sgg.data.captions.provenance import CaptionLedger
    from r1sgg.data.stats import Statistics


@data_app.command("stats")
def stats(
    data: Annotated[str, typer.Option(help="A ground-truth file, or vg150:, psg:, coco:PATH, hub:NAME, scenes:COUNT.")],
    vocabulary: Annotated[
        str, typer.Option(help="Vocabulary to compare with: vg150, psg, open, or a JSON file.")
    ] = "open",
    against: Annotated[
        Path | None,
        typer.Option(
            help="Ground truth (JSON Lines) or region_graphs.json: precision and recall of caption-made graphs."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows per table.")] = 20,
    json: Annotated[Path | None, typer.Option(help="File for all statistics as JSON; - is standard output.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for a page with charts (HTML).")] = None,
) -> None:
    """Count classes, predicates, triplets, and the sizes of graphs, boxes and images.

    Head, body and tail are thirds of the predicates, ordered by frequency: those of --vocabulary, or without it those
    that occur. Of graphs that `data captions` made, the shares dropped at each step and grounded are printed, too.

    Example: `r1sgg data stats --data vg150:VG,split=train --vocabulary vg150 --out vg150.html`
    """
    from r1sgg.cli.loading import progress_bar, say_left_out
    from r1sgg.data.captions.comparing import Truth
    from r1sgg.data.captions.provenance import CaptionLedger
    from r1sgg.data.sources import open_data
    from r1sgg.data.stats import collect, outside, readable, record
    from r1sgg.graph.vocabulary import Vocabulary, load_vocabulary
    from r1sgg.metrics.frequency import TrainingStatistics
    from r1sgg.metrics.groups import predicate_groups
    from r1sgg.pages.statistics import write_statistics

    names = load_vocabulary(vocabulary)
    opened = open_data(data, strict=False)
    skipped = [note.text for note in opened.notes if note.kind in ("record", "id")]
    ledger, truth = CaptionLedger(), None if against is None else Truth(against)
    with progress_bar("images") as advance:
        found = collect(_noted(readable(opened, skipped, advance), ledger, truth))
    counted = names if names.predicates else Vocabulary("seen", (), tuple(sorted(found.predicates)))
    groups = predicate_groups(counted, TrainingStatistics(predicates=found.predicates))
    hashes = opened.hashes()
    agreement = None if truth is None else truth.result().record()
    if json is not None:
        result = {"data": data, "hashes": hashes, **record(found, names), "groups": groups}
        result |= {"captions": ledger.record()} if ledger.images else {}
        result |= {"against": {"file": str(against), **agreement}} if agreement is not None else {}
        write_json(json, result)
    notes = [(f"hash of the {key}", value) for key, value in hashes.items()]
    notes += [("splits", ", ".join(f"{name} {n:,}" for name, n in found.splits.items()))] if found.splits else []
    if found.predicates:
        notes += [(name, f"{n:,}") for name, n in found.oddities.items()]
    else:
        notes += [("relationships", "none, so no predicates and triplets are listed")]
    notes += [
        (side, f"{len(missing)}: {', '.join(missing[:top])}{', ...' if len(missing) > top else ''}")
        for side, missing in outside(found, names).items()
        if missing
    ]
    notes += ledger.lines() if ledger.images else []
    notes += _agreed(agreement, str(against)) if agreement is not None else []
    say_left_out([note for note in opened.notes if note.kind not in ("record", "id")])
    _show(data, found, groups, notes, top)
    if out is not None:
        write_statistics(out, found, data, groups, notes)
        typer.echo(f"{out}: {out.stat().st_size / 1e3:.0f} kB")
    if skipped:
        count = "1 record" if len(skipped) == 1 else f"{len(skipped):,} records"
        typer.echo(
            f"{count} cannot be read (list them with `r1sgg data check`); the first: {skipped[0]}",
            err=True,
        )
        raise typer.Exit(PARTLY_FAILED)


def _noted(examples: Iterable[Example], ledger: CaptionLedger, truth: Truth | None) -> Iterator[Example]:
    """Yield examples, and count their provenance and agreement on the way."""
    for example in examples:
        ledger.add(example.meta)
        if truth is not None:
            truth.add(example)
        yield example


def _agreed(record: Mapping[str, float | int | None], name: str) -> list[tuple[str, str]]:
    """Return precision and recall as lines to print."""
    rows = []
    for what in ("triplets", "pairs", "triplets with boxes"):
        precision, recall = record[f"{what} precision"], record[f"{what} recall"]
        if precision is not None and recall is not None:
            rows.append(
                (f"{what} against {Path(name).name}", f"precision {100 * precision:.1f} %, recall {100 * recall:.1f} %")
            )
    return rows


def _show(
    data: str, found: Statistics, groups: Mapping[str, Sequence[str]], notes: Sequence[tuple[str, str]], top: int
) -> None:
    from rich.console import Console
    from rich.text import Text

    from r1sgg.data.stats import summary

    console = Console()
    sizes = _table(f"{data}: {found.images:,} images", ("", "all", "min", "mean", "median", "p95", "max"))
    for name, counts in (("objects per image", found.objects), ("relationships per image", found.relationships)):
        s = summary(counts)
        values = (f"{s[key]:,.1f}" if key == "mean" else f"{s[key]:,g}" for key in s)
        sizes.add_row(name, f"{sum(v * n for v, n in counts.items()):,}", *values)
    console.print(sizes)
    total = found.classes.total() or 1
    line = ", ".join(f"{name} {100 * found.box_sizes[name] / total:.1f} %" for name in ("small", "medium", "large"))
    console.print(Text(f"boxes: {line} (under 32², 96² pixels)"))
    for name, value in notes:
        console.print(Text(f"{name}: {value}"))
    if related := found.predicates.total():
        group_of = {name: group for group, members in groups.items() for name in members}
        _ranking(console, "predicates", found.predicates, top, group_of)
        for group, members in groups.items():
            held = sum(found.predicates[name] for name in members)
            several = "" if len(members) == 1 else "s"
            console.print(f"{group}: {len(members)} predicate{several}, {100 * held / related:.1f} % of relationships")
    if found.classes:
        _ranking(console, "classes", found.classes, top)
    if related:
        _ranking(console, "triplets", found.triplets, top)


def _ranking(
    console: Console, title: str, counts: Counter[Any], top: int, group_of: Mapping[str, str] | None = None
) -> None:
    from rich.text import Text

    from r1sgg.data.stats import ranked

    rows, total = ranked(counts), counts.total()
    shown = f"{len(rows):,} {title}" + (f", the {top} most frequent" if len(rows) > top else "")
    table = _table(shown, ("", "times", "share %", *(("group",) if group_of else ()), ""))
    for name, n in rows[:top]:
        extra = (group_of.get(name, ""),) if group_of else ()
        words = name if isinstance(name, str) else " ".join(name)
        table.add_row(Text(words), f"{n:,}", f"{100 * n / total:.1f}", *extra, "█" * max(1, round(24 * n / rows[0][1])))
    table.columns[-1].justify = "left"
    console.print(table)


def _table(title: str, headers: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title))
    for k, header in enumerate(headers):
        table.add_column(header, justify="right" if k else "left")
    return table
