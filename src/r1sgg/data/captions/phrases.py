"""What both parsers make of a sentence: noun phrases and the links between them, before any naming.

    "A man in a red shirt is riding two horses."
     phrases: man (1), shirt (1), horse (2)      links: (man, "in", shirt), (man, "riding", horse)

`r1sgg.data.captions.spacy_parser` makes it of a dependency parse, `r1sgg.data.captions.plain_parser` of chunks. What is
common to them is here and in `r1sgg.data.captions.english`: how a predicate is written, how a passive is turned.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

PLURAL = 0
"""The count of a plural without a number."""


class Phrase(NamedTuple):
    """A noun phrase.

    Attributes:
        name: its noun, in the singular, with the nouns before it: "parking meter".
        start: where the phrase begins, as an offset in characters of the caption.
        end: where it ends.
        many: how many: 1, a number that the caption gives, or `PLURAL`.
        given: the place of the given box that it is, where an engine said so, else -1.
    """

    name: str
    start: int
    end: int
    many: int = 1
    given: int = -1


class Link(NamedTuple):
    """A relation between two phrases of one caption, by their places in `Extraction.phrases`."""

    subject: int
    predicate: str
    object: int


class Extraction(NamedTuple):
    """What was read in one caption.

    Attributes:
        phrases: noun phrases, in the order of the caption.
        links: relations, without repeated ones.
        step: what made it: "rules (plain)", "rules (en_core_web_sm 3.8.0)", "engine", "engine, paraphrase".
        error: why nothing was read, where that is so.
        invalid: relations of an answer that could not be used.
        caption: the place of the caption among those of its image.
        cut: whether only the beginning of a long caption was read.
    """

    phrases: tuple[Phrase, ...] = ()
    links: tuple[Link, ...] = ()
    step: str = ""
    error: str = ""
    invalid: int = 0
    caption: int = 0
    cut: bool = False

    @property
    def names(self) -> tuple[tuple[str, str, str], ...]:
        """The relations as triplets of names."""
        return tuple((self.phrases[s].name, predicate, self.phrases[o].name) for s, predicate, o in self.links)


class Parser(Protocol):
    """Reads captions without a language model."""

    name: str

    def parse(self, captions: list[str]) -> list[Extraction]:
        """Return an extraction for each caption."""
        ...


def distinct(links: list[Link]) -> tuple[Link, ...]:
    """Return links without repeated ones and without those of a phrase with itself, in their order."""
    return tuple(dict.fromkeys(link for link in links if link.subject != link.object and link.predicate))
