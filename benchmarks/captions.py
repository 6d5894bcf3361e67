"""Triplets of phrases by rules, beside the parsers of the package index, against Visual Genome's region graphs.

    python benchmarks/captions.py --regions region_graphs.json.gz --spacy en_core_web_sm --json captions.json

The phrases are those whose region graph has a relation: there people said what is in the phrase. Precision and recall
are over distinct triplets of each phrase (`r1sgg.data.captions.comparing`), by name, and by the names of VG150 that
both sides are aligned with. What is missed is sorted by kind, with an example of each. SceneGraphParser
(sng_parser) takes the same spaCy pipeline; if it is not installed it is left out, which is said. Costs are CPU-seconds
of one thread, the loading of a pipeline left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import orjson

from r1sgg.data.captions.aligning import Aligner
from r1sgg.data.captions.comparing import Agreement, Names, normal, read_region_graphs
from r1sgg.data.captions.extracting import open_parser
from r1sgg.data.captions.phrases import Parser
from r1sgg.graph.forms import object_form
from r1sgg.graph.vocabulary import VG150

Extract = Callable[[list[str]], list[list[Names]]]


def ours(parser: Parser) -> Extract:
    """One of our parsers."""

    def extract(phrases: list[str]) -> list[list[Names]]:
        found = parser.parse(phrases)
        return [[(e.phrases[s].name, p, e.phrases[o].name) for s, p, o in e.links] for e in found]

    return extract


def scene_graph_parser(pipeline: str) -> Extract:
    """SceneGraphParser, with the lemmas of heads and relations, as weakly supervised work uses it."""
    import sng_parser

    parser = sng_parser.Parser("spacy", model=pipeline)

    def extract(phrases: list[str]) -> list[list[Names]]:
        rows = []
        for phrase in phrases:
            graph = parser.parse(phrase)
            heads = [entity["lemma_head"] for entity in graph["entities"]]
            relations = graph["relations"]
            rows.append([(heads[r["subject"]], r["lemma_relation"], heads[r["object"]]) for r in relations])
        return rows

    return extract


def aligned(aligner: Aligner, triplets: Iterable[Names]) -> list[Names]:
    """Triplets whose names are all in VG150, in these names."""
    triplets = list(triplets)
    aligner.prepare({n for s, _, o in triplets for n in (s, o)}, {p for _, p, _ in triplets})
    found = []
    for s, p, o in triplets:
        subject, predicate, target = aligner.object(s).name, aligner.predicate(p), aligner.object(o).name
        if subject and predicate.name and target:
            ends = (target, subject) if predicate.swap else (subject, target)
            found.append((ends[0], predicate.name, ends[1]))
    return found


def kind_of_miss(phrase: str, made: list[Names], true: Names) -> str:
    """Why a true triplet was not found."""
    words = {object_form(word) for word in phrase.lower().replace(".", " ").replace(",", " ").split()}
    subject, _, target = normal(true)
    ends = {(s, o): p for s, p, o in map(normal, made)}
    if (subject, target) in ends:
        said = set(true[1].lower().split()) <= set(phrase.lower().replace(".", " ").split())
        return (
            "pair found, predicate says more or else"
            if said
            else "pair found, annotator's predicate is not in the phrase"
        )
    if (target, subject) in ends:
        return "reversed by the annotator"
    ends_said = [{object_form(word) for word in name.lower().split()} for name in (true[0], true[2])]
    if not all(said <= words for said in ends_said):
        return "annotator's object is not in the phrase"
    heads = {end for s, _, o in map(normal, made) for end in (s, o)}
    if any(name not in heads and name.endswith(tuple(heads)) for name in (subject, target) if heads):
        return "annotator's name has more words"
    if any(head not in (subject, target) and head.endswith((subject, target)) for head in heads):
        return "annotator's name has fewer words"
    return "relation not read" if made else "nothing read"


def main() -> None:
    """Measure, print, write."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--regions", type=Path, required=True, help="region_graphs.json, plain or .gz")
    arguments.add_argument("--spacy", help="a spaCy pipeline, for our rules on it and for SceneGraphParser")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    rows = [row for row in read_region_graphs(options.regions) if row[2]]
    phrases = [phrase for _, phrase, _ in rows]
    systems: dict[str, Extract] = {"r1sgg rules, plain": ours(open_parser("plain"))}
    if options.spacy:
        systems[f"r1sgg rules, {options.spacy}"] = ours(open_parser(options.spacy))
        try:
            version = importlib.metadata.version("SceneGraphParser")
            systems[f"SceneGraphParser {version}, {options.spacy}"] = scene_graph_parser(options.spacy)
        except ImportError:
            print("SceneGraphParser is not installed: left out")
    aligner = Aligner(VG150)
    record: dict[str, object] = {"phrases": len(rows)}
    print(f"{len(rows)} phrases with {sum(len(set(map(normal, t))) for *_, t in rows)} triplets")
    print("| parser | triplets P | R | F1 | pairs P | R | VG150 names P | R | F1 | phrases per CPU-second |")
    print("|---" * 10 + "|")
    for name, extract in systems.items():
        extract(phrases[:3])
        started = time.process_time()
        found = extract(phrases)
        seconds = time.process_time() - started
        by_name, by_class = Agreement(), Agreement()
        kinds: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for phrase, made, (_, _, true) in zip(phrases, found, rows, strict=True):
            by_name.add(made, true)
            by_class.add(aligned(aligner, made), aligned(aligner, true))
            forms = set(map(normal, made))
            for triplet in {normal(names): names for names in true}.values():
                if normal(triplet) not in forms:
                    kind = kind_of_miss(phrase, made, triplet)
                    kinds[kind] += 1
                    examples.setdefault(kind, f"{phrase.strip()!r}: {sorted(forms)} for {triplet}")
        a, b = by_name.record(), by_class.record()
        figures = [
            a["triplets precision"],
            a["triplets recall"],
            a["triplets F1"],
            a["pairs precision"],
            a["pairs recall"],
        ]
        figures += [b["triplets precision"], b["triplets recall"], b["triplets F1"]]
        cells = " | ".join(f"{100 * f:.1f}" if isinstance(f, float) else "-" for f in figures)
        print(f"| {name} | {cells} | {len(phrases) / max(seconds, 1e-9):,.0f} |")
        record[name] = {"by name": a, "by class": b, "missed": dict(kinds), "examples": examples, "seconds": seconds}
    for name in systems:
        print(f"\n{name}: what was missed")
        details = record[name]
        assert isinstance(details, dict)
        for kind, count in sorted(details["missed"].items(), key=lambda item: -item[1]):
            print(f"  {count:4}  {kind}: {details['examples'][kind]}")
    if options.json:
        options.json.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
