"""Triplets of captions by rules, each distinct caption read once; a language model does the same in `asking`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

from r1sgg.data.captions.phrases import Extraction, Parser
from r1sgg.data.captions.plain_parser import PlainParser
from r1sgg.data.captions.records import Captioned

LONGEST = 4000
"""Characters of a caption that are read by rules; of a longer text the rest is not."""
_MOST_KEPT = 1 << 15  # captions whose extraction is remembered: pages of data sets repeat them


class Extractor(Protocol):
    """Reads the captions of images."""

    name: str

    def extract(self, records: Sequence[Captioned]) -> list[list[Extraction]]:
        """Return for each image what was read in its captions; `Extraction.caption` says in which."""
        ...


class RuleExtractor:
    """Reads captions with a parser; see `r1sgg.data.captions.phrases`."""

    def __init__(self, parser: Parser) -> None:
        self.name = parser.name
        self._parser = parser
        self._known: dict[str, Extraction] = {}

    def extract(self, records: Sequence[Captioned]) -> list[list[Extraction]]:
        """See `Extractor`."""
        texts = [[caption.text[:LONGEST] for caption in record.captions] for record in records]
        new = [text for text in dict.fromkeys(text for row in texts for text in row) if text not in self._known]
        if len(self._known) + len(new) > _MOST_KEPT:
            self._known.clear()
            new = list(dict.fromkeys(text for row in texts for text in row))
        self._known |= zip(new, self._parser.parse(new), strict=True)
        return [
            [
                self._known[text]._replace(caption=k, cut=len(record.captions[k].text) > LONGEST)
                for k, text in enumerate(row)
            ]
            for record, row in zip(records, texts, strict=True)
        ]


@functools.cache
def open_parser(name: str = "") -> Parser:
    """Return a parser by what follows "rules:"; it is loaded once.

    Args:
        name: "plain", the name of a spaCy pipeline, or "" for an installed English pipeline, else plain.

    Raises:
        ConfigError: there is no such pipeline.
        MissingDependencyError: spaCy is not installed.
    """
    from r1sgg.data.captions.spacy_parser import SpacyParser, installed_pipelines

    if not name:
        found = installed_pipelines()
        name = next((p for size in ("_sm", "_md", "_lg", "_trf", "") for p in found if size in p), "plain")
    return PlainParser() if name == "plain" else SpacyParser(name)
