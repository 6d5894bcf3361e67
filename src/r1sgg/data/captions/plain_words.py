"""The words of a caption with their classes, for the parser without a library.

Closed classes and known verbs are looked up in `r1sgg.data.captions.english`; where a form is a noun as often as a verb
("lines", "watch") its neighbours decide. Every other word is a noun.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from r1sgg.data.captions.english import (
    ADJECTIVES,
    AUXILIARIES,
    BREAKS,
    COMPOUND_PREPOSITIONS,
    CONJUNCTIONS,
    DETERMINERS,
    GERUND_NOUNS,
    NOUNS_TOO,
    NUMBERS,
    PREPOSITIONS,
    PRONOUNS,
    SKIPPED,
    verb_form,
)

_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[^\w\s]")


class Word(NamedTuple):
    """A word, lower case, with its place in the caption, and its class: noun, verb, prep, det, conj, break, ..."""

    text: str
    start: int
    end: int
    kind: str


def words_of(caption: str) -> list[Word]:
    """Return the words of a caption with their classes; prepositions of several words are one."""
    raw = [(m[0].lower().replace("’", "'"), m.start(), m.end()) for m in _WORD.finditer(caption)]
    words: list[Word] = []
    k = 0
    while k < len(raw):
        size, text = _compound(raw, k)
        if size:
            words.append(Word(text.replace("ontop", "on top"), raw[k][1], raw[k + size - 1][2], "prep"))
        else:
            size = 1
            words.append(Word(*raw[k], _kind(raw, k)))
        k += size
    return words


def _compound(raw: list[tuple[str, int, int]], k: int) -> tuple[int, str]:
    """Return how many words from `k` on are one preposition, and it; articles inside do not count."""
    if raw[k][0] not in _COMPOUND_STARTS:
        return 0, ""
    said = [(raw[j][0], j - k + 1) for j in range(k, min(k + 5, len(raw))) if raw[j][0] not in ("the", "a", "an")]
    for compound in COMPOUND_PREPOSITIONS:
        if tuple(word for word, _ in said[: len(compound)]) == compound:
            return said[len(compound) - 1][1], " ".join(compound)
    return 0, ""


_COMPOUND_STARTS = frozenset(compound[0] for compound in COMPOUND_PREPOSITIONS)
_VERB_CONTEXT = frozenset(("is", "are", "was", "were", "be", "being", "been"))


def _kind(raw: list[tuple[str, int, int]], k: int) -> str:
    """Return the class of a word."""
    word = raw[k][0]
    before = raw[k - 1][0] if k else ""
    after = raw[k + 1][0] if k + 1 < len(raw) else ""
    if word == "outside" and (after in DETERMINERS or after in ADJECTIVES):
        return "prep"
    if word in SKIPPED or (word.endswith("ly") and word not in ("fly", "family", "belly")):
        return "skip"
    if word in BREAKS and word != "with":
        return "break"
    if word in ("has", "have", "had") and not (verb_form(after) and verb_form(after)[0] == "participle"):  # type: ignore[index]
        return "verb"
    if word in AUXILIARIES:
        return "aux"
    if word in CONJUNCTIONS:
        return "conj"
    if word in ("her", "that") and not _opens_verb(after):
        return "det" if word == "her" or after not in AUXILIARIES else "pron"
    if word in DETERMINERS and word not in ("another",):
        return "det"
    if word in PRONOUNS:
        return "pron" if word != "another" or not after or after in PREPOSITIONS else "det"
    if word.isdigit() or word in NUMBERS:
        return "noun" if word in ("couple", "pair", "dozen") else "number"
    if word in PREPOSITIONS:
        return "prep"
    if not word[0].isalnum():
        return "break"
    found = verb_form(word)
    if found and word not in GERUND_NOUNS | {"wash"}:
        kind = found[0]
        noun_before = before not in DETERMINERS and before not in ADJECTIVES and not before.isdigit()
        if kind == "gerund":
            return "verb" if noun_before or after in DETERMINERS or after in PREPOSITIONS else "adj"
        if kind in ("participle", "past"):
            fits = before in _VERB_CONTEXT or after in PREPOSITIONS or (kind == "past" and noun_before)
            return "verb" if fits and (noun_before or after in PREPOSITIONS) else "adj"
        follows = after in DETERMINERS or after in PREPOSITIONS or after in NUMBERS or after in PRONOUNS
        follows = follows or (bool(after) and after[0].isalpha() and word not in NOUNS_TOO)
        if noun_before and before not in PREPOSITIONS and before and before != "," and (follows or not after):
            return "verb"
    if word in ADJECTIVES:
        return "adj"
    if word.endswith("ing") and word not in GERUND_NOUNS and len(word) > 4 and before not in DETERMINERS and before:
        return (
            "verb" if after in DETERMINERS or after in PREPOSITIONS else "noun" if not after or after == "." else "adj"
        )
    return "noun"


def _opens_verb(word: str) -> bool:
    return word in AUXILIARIES or verb_form(word) is not None
