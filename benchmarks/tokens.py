"""How many tokens an answer takes in each format, with any tokenizer.

    python benchmarks/tokens.py --tokenizer ../shared/data/qwen2_tokenizer/tokenizer.json \
        --graphs ../shared/data/vg_sample/vg150_style_images_1-49.json --json tokens.json

Reads graphs (a JSON list or JSON Lines of `objects` and `relationships`, boxes in pixels) and a tokenizer.json, renders
each graph as the models are taught to write it, and counts. "coordinates" is what no format can do without: the
numbers of the boxes with one token between them. Nothing is trained or generated here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import Frame, parse, render


def read_graphs(path: Path) -> list[tuple[SceneGraph, Frame]]:
    """Graphs and their sizes in pixels; where a row has no size, the far corner of its boxes stands for it."""
    text = path.read_text("utf-8")
    rows = json.loads(text) if text.lstrip()[:1] == "[" else [json.loads(line) for line in text.splitlines() if line]
    graphs = []
    for row in rows:
        corners = [o["bbox"][2:] for o in row["objects"]] or [[1, 1]]
        frame = (
            float(row.get("width") or max(x for x, _ in corners)),
            float(row.get("height") or max(y for _, y in corners)),
        )
        graphs.append((parse(json.dumps({k: row[k] for k in ("objects", "relationships")}), frame).graph, frame))
    return graphs


def forms(graph: SceneGraph, frame: Frame) -> dict[str, str]:
    """The graph in every format, and its coordinates alone."""
    compact = render(graph, frame, answer_format="compact")
    if parse(compact, frame).graph != parse(render(graph, frame), frame).graph:
        raise SystemExit(f"the compact answer says something else than the JSON:\n{compact}")
    document = json.loads(render(graph, frame))
    return {
        "JSON of the paper": render(graph, frame),
        "minified JSON": render(graph, frame, minify=True),
        "compact": compact,
        "coordinates": "".join(" ".join(map(str, o["bbox"])) for o in document["objects"]),
    }


def count(graphs: list[tuple[SceneGraph, Frame]], tokenizer: Tokenizer) -> dict[str, int]:
    """Tokens of all graphs by format."""
    totals: dict[str, int] = {}
    for graph, frame in graphs:
        for name, text in forms(graph, frame).items():
            totals[name] = totals.get(name, 0) + len(tokenizer.encode(text, add_special_tokens=False).ids)
    return totals


def main() -> None:
    """Count in pixels and in thousandths, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tokenizer", type=Path, required=True, help="a tokenizer.json")
    parser.add_argument("--graphs", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="write the counts here too")
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.tokenizer))
    graphs = read_graphs(options.graphs)
    result: dict[str, Any] = {
        "graphs": len(graphs),
        "objects": sum(len(g) for g, _ in graphs),
        "relationships": sum(len(g.pairs) for g, _ in graphs),
        "pixels": count(graphs, tokenizer),
        "thousandths": count([(g, (1000.0, 1000.0)) for g, _ in graphs], tokenizer),
    }
    table = Table(title="{graphs} graphs, {objects} objects, {relationships} relationships".format(**result))
    table.add_column("format")
    for frame in ("pixels", "thousandths"):
        table.add_column(f"tokens, boxes in {frame}", justify="right")
        table.add_column("share", justify="right")
    for name in result["pixels"]:
        cells = []
        for frame in ("pixels", "thousandths"):
            totals = result[frame]
            cells += [f"{totals[name]:,}", f"{totals[name] / totals['JSON of the paper']:.3f}"]
        table.add_row(name, *cells)
    Console().print(table)
    if options.json:
        options.json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    main()
