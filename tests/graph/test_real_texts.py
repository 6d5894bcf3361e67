"""The table of real texts in docs/dialects.md, and that of the dialects, say what is so."""

import json
import re
from pathlib import Path

from r1sgg.graph.dialects.registry import DIALECTS, OURS, dialect_of
from r1sgg.graph.text import parse

from .test_text import check

FRAME = (1000.0, 1000.0)
PAGE = (Path(__file__).parents[2] / "docs/dialects.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    part = PAGE.partition(heading)[2].partition("\n\n")[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in part.splitlines()[2:]]


def test_the_real_texts_are_read_as_the_page_says(shared: Path) -> None:
    lines = (shared / "data/mllm_outputs/real_outputs.jsonl").read_text("utf-8").splitlines()
    said = {
        cells[0].strip("`"): cells[1:]
        for cells in rows("| text | a person finds (objects, relationships) | dialect | read, or the failure |")
    }
    assert list(said) == [json.loads(line)["id"] for line in lines]
    for row in map(json.loads, lines):
        dialect = dialect_of(row["text"]) or OURS
        parsed = parse(row["text"], FRAME, dialect=dialect)
        check(parsed)
        found = f"`{parsed.failure}`" if parsed.failure else f"{len(parsed.graph)}, {len(parsed.graph.pairs)}"
        _, written, result = said[row["id"]]
        assert (f"`{dialect}`", found) == (written, result.partition(":")[0]), row["id"]
        if not parsed.failure:  # what is read is all that a person finds
            assert said[row["id"]][0].startswith(found)


def test_every_dialect_has_its_row() -> None:
    table = rows("| dialect | whose | boxes | relationships |")
    assert sorted(cells[0].strip("`") for cells in table) == sorted(DIALECTS)
    for name, about, boxes, relations in table:
        dialect = DIALECTS[name.strip("`")]
        assert about == dialect.about.replace("<", "&lt;").replace("|", r"\|")
        parsed = parse(dialect.example, FRAME, dialect=dialect.name)
        assert len(parsed.graph) == 3
        assert (relations == "read") == bool(parsed.graph.pairs) == dialect.relations
        frame = dialect.frame(FRAME, (640.0, 480.0))
        assert ("frame of the file" in boxes) == (frame == FRAME)
