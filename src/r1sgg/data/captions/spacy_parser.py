"""The parser on spaCy's dependency parse: any English pipeline with a tagger and a parser.

    pip install 'r1sgg[spacy]' and a pipeline, such as en_core_web_sm

What is taken: subjects and objects of verbs, agents of passives, prepositions of verbs and nouns, conjuncts of all of
them, relative clauses, possessives. Labels are those of spaCy's English pipelines (ClearNLP style).
"""

from __future__ import annotations

from typing import Any

from r1sgg.data.captions.english import (
    DEPICTIONS,
    MANY,
    NO_OBJECTS,
    NO_PLACES,
    NUMBERS,
    PARTITIVES,
    RELATIONAL,
    gerund_of_lemma,
    predicate_of,
    verb_form,
)
from r1sgg.data.captions.phrases import PLURAL, Extraction, Link, Phrase, distinct
from r1sgg.errors import ConfigError, require
from r1sgg.graph.forms import singular

_BATCH = 256
_SUBJECTS = ("nsubj", "nsubjpass")
_OBJECTS = ("dobj", "obj", "attr", "dative")
_NOUNS = ("NOUN", "PROPN")


def installed_pipelines() -> list[str]:
    """Return the English pipelines that are installed, and no others; none where spaCy is not."""
    try:
        import spacy.util
    except ImportError:
        return []
    return sorted(name for name in spacy.util.get_installed_models() if name.startswith("en_"))


class SpacyParser:
    """Reads captions with a spaCy pipeline."""

    def __init__(self, pipeline: str) -> None:
        """Load a pipeline.

        Args:
            pipeline: its package name, or a folder.

        Raises:
            MissingDependencyError: spaCy is not installed.
            ConfigError: there is no such pipeline, or it has no dependency parser.
        """
        spacy = require("spacy", "spacy")
        try:
            self._pipeline = spacy.load(pipeline, exclude=["ner"])
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--extract rules:{pipeline}: expected an installed spaCy pipeline, found none; install it, or use "
                "rules:plain, which needs none"
            ) from error
        if "parser" not in self._pipeline.pipe_names:
            raise ConfigError(f"--extract rules:{pipeline}: expected a pipeline with a parser, found none in it")
        meta = self._pipeline.meta
        self.name = f"rules ({meta['lang']}_{meta['name']} {meta['version']})"

    def parse(self, captions: list[str]) -> list[Extraction]:
        """Return an extraction for each caption."""
        return [_Reading(document).read(self.name) for document in self._pipeline.pipe(captions, batch_size=_BATCH)]


class _Reading:
    """Reads one parsed caption."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.phrases: list[Phrase] = []
        self.place: dict[int, int | None] = {}  # of a token, its phrase
        self.links: list[Link] = []

    def read(self, step: str) -> Extraction:
        """Return what was found."""
        for token in self.document:
            if token.pos_ in _NOUNS:
                self._phrase(token)
        for token in self.document:
            if token.dep_ == "prep" and token.head.pos_ in _NOUNS:
                self._of_noun(token)
            elif token.dep_ == "poss" and token.pos_ in _NOUNS:
                self._join(self._group(token), "has", self._group(token.head))
            elif token.pos_ in ("VERB", "AUX", "ADJ", "ADV") and token.dep_ not in ("aux", "auxpass"):
                self._of_verb(token)
        return Extraction(tuple(self.phrases), distinct(self.links), step)

    # ------------------------------------------------------------ phrases

    def _phrase(self, token: Any) -> int | None:
        """Return the place of a noun's phrase; None if no box can be drawn around it."""
        if token.i in self.place:
            return self.place[token.i]
        self.place[token.i] = None
        if token.dep_ in ("compound", "nmod") and token.head.pos_ in _NOUNS and token.head.i > token.i:
            return None
        head = self._counted(token)
        if head is not None:
            self.place[token.i] = place = self._phrase(head)
            if place is not None:
                phrase = self.phrases[place]
                count = NUMBERS.get(token.lemma_.lower(), PLURAL if token.lemma_.lower() in MANY else phrase.many)
                self.phrases[place] = phrase._replace(many=count)
            return place
        words = [child for child in token.lefts if child.dep_ in ("compound", "nmod") and child.pos_ in _NOUNS]
        name = " ".join([*(word.lower_ for word in words), singular(token.lower_)])
        bare = token.lower_ in NO_OBJECTS and not any(child.pos_ in ("ADJ", *_NOUNS) for child in token.lefts)
        if bare or token.lemma_.lower() in NO_PLACES or self._relational(token) or not any(c.isalpha() for c in name):
            return None
        first = min((child.idx for child in token.lefts), default=token.idx)
        self.phrases.append(Phrase(name, first, token.idx + len(token), self._count(token)))
        self.place[token.i] = len(self.phrases) - 1
        return self.place[token.i]

    def _counted(self, token: Any) -> Any | None:
        """Return "people" of "a group of people"."""
        if not {token.lemma_.lower(), token.lower_} & (PARTITIVES | DEPICTIONS):
            return None
        return next((o for of in token.rights if of.lower_ == "of" for o in of.rights if o.pos_ in _NOUNS), None)

    def _count(self, token: Any) -> int:
        for child in token.lefts:
            if child.dep_ == "nummod":
                text = child.lower_
                return int(text) if text.isdigit() and len(text) < 4 else NUMBERS.get(text, PLURAL)
        plural = token.tag_ in ("NNS", "NNPS") and singular(token.lower_) != token.lower_
        return PLURAL if plural and token.lower_ not in _PAIRS else 1

    def _relational(self, token: Any) -> bool:
        """Whether a noun is a place of another thing: "front" of "in front of"."""
        return (
            token.lemma_.lower() in RELATIONAL
            and token.dep_ == "pobj"
            and any(child.lower_ == "of" for child in token.rights)
        )

    def _group(self, token: Any) -> list[int]:
        """Return the phrases of a noun and of its conjuncts; of a pronoun that stands for one, those of that."""
        group: list[int] = []
        for one in (token, *token.conjuncts):
            if one.i < token.i and token.dep_ == "conj":
                continue  # a later conjunct has its own relations
            place = self._phrase(one) if one.pos_ in _NOUNS else None
            if place is not None and place not in group:
                group.append(place)
        return group

    # ------------------------------------------------------------ relations

    def _subjects(self, verb: Any) -> tuple[list[int], bool]:
        """Return the subjects of a verb, and whether it is passive."""
        passive = any(child.dep_ in ("auxpass", "nsubjpass") for child in verb.children)
        for child in verb.children:
            if child.dep_ in _SUBJECTS:
                if child.lower_ in ("who", "that", "which"):
                    return self._group_of_one(verb.head), passive
                if child.pos_ in _NOUNS:
                    return self._group(child), passive
                return [], passive
            if child.dep_ == "expl":  # "there is a cup on the table"
                return [p for c in verb.children if c.dep_ in _OBJECTS for p in self._group(c)], passive
        passive = passive or verb.tag_ == "VBN"
        if verb.dep_ in ("acl", "relcl"):
            return self._group_of_one(verb.head), passive
        if verb.dep_ in ("conj", "advcl", "xcomp", "ccomp") and verb.head.pos_ in ("VERB", "AUX", "ADJ"):
            return self._subjects(verb.head)[0], passive
        if verb.dep_ in ("conj", "advcl") and verb.head.pos_ in _NOUNS:
            return self._group_of_one(verb.head), passive
        return [], passive

    def _group_of_one(self, noun: Any) -> list[int]:
        """Return the phrases that a clause after a noun is about: the noun, and what it is joined to before."""
        group = [self._phrase(noun)] if noun.pos_ in _NOUNS else []
        if noun.dep_ == "conj":  # "a man and a woman sitting on a bench"
            before = noun.head
            opens = before.dep_ in ("ROOT", "nsubj", "nsubjpass")
            group = [self._phrase(before), *group] if opens and before.pos_ in _NOUNS else group
        return [place for place in group if place is not None]

    def _of_verb(self, verb: Any) -> None:
        subjects, passive = self._subjects(verb)
        if not subjects and verb.pos_ != "VERB" and verb.head.pos_ in _NOUNS and verb.head.i < verb.i:
            for child in verb.children:  # "a mouse next to a keyboard"
                for preposition, group in self._ends(child) if child.dep_ == "prep" else ():
                    self._join(self._group_of_one(verb.head), f"{verb.lower_} {preposition}", group)
        if not subjects:
            return
        be = verb.lemma_ == "be" or verb.pos_ in ("ADJ", "ADV")
        gerund = "be" if be else _gerund(verb)
        state = verb.lower_ if passive and not be else gerund
        particle = next((c.lower_ for c in verb.children if c.dep_ == "prt"), "")
        objects = [p for c in verb.children if c.dep_ in ("dobj", "obj") for p in self._group(c)]
        if not be:
            self._join(subjects, predicate_of(gerund, particle), objects)
        for child in verb.children:
            if child.dep_ == "agent":
                agents = [p for c in child.children if c.dep_ == "pobj" for p in self._group(c)]
                self._join(agents, predicate_of(gerund, particle), subjects)
            elif child.dep_ == "prep":
                for preposition, group in self._ends(child):
                    if not objects or preposition in _FREE:
                        word = "" if objects else state
                        self._join(subjects, predicate_of(word, particle, preposition), group)
                    else:
                        self._join(objects, preposition, group)
            elif child.dep_ in ("advmod", "acomp") and child.i > verb.i:  # "is next to", "is close to"
                for below in child.children:
                    if below.dep_ == "prep":
                        for preposition, group in self._ends(below):
                            joined = f"{child.lower_} {preposition}"
                            self._join(subjects, predicate_of("" if objects else state, "", joined), group)

    def _of_noun(self, prep: Any) -> None:
        """A preposition of a noun: "a man on a horse"."""
        noun = prep.head
        if prep.lower_ == "of" and (self._counted(noun) is not None or self._relational(noun)):
            return
        before = prep.nbor(-1) if prep.i else None
        beside = before is not None and before.dep_ == "advmod" and before.head == prep
        for preposition, group in self._ends(prep):
            self._join(self._group_of_one(noun), f"{before} {preposition}".lower() if beside else preposition, group)

    def _ends(self, prep: Any) -> list[tuple[str, list[int]]]:
        """Return what a preposition leads to, with its full form: "on", "on top of", "next to"."""
        found: list[tuple[str, list[int]]] = []
        for child in prep.children:
            if child.dep_ == "pobj" and self._relational(child):
                inner = [o for of in child.rights if of.lower_ == "of" for o in of.children if o.dep_ == "pobj"]
                text = f"{prep.lower_} {child.lower_} of"
                found += [(text, self._group(o)) for o in inner]
            elif child.dep_ == "pobj" and child.pos_ in _NOUNS:
                found.append((prep.lower_, self._group(child)))
            elif child.dep_ == "prep":  # "out of", "from behind"
                found += [(f"{prep.lower_} {text}", group) for text, group in self._ends(child)]
        return found

    def _join(self, subjects: list[int], predicate: str, objects: list[int]) -> None:
        self.links += [Link(one, predicate, other) for one in subjects for other in objects]


def _gerund(verb: Any) -> str:
    """Return the gerund of a verb; small pipelines call the lemma of "riding" "rid"."""
    if verb.tag_ == "VBG":
        return str(verb.lower_)
    known = verb_form(verb.lower_)
    return known[1] if known else gerund_of_lemma(verb.lemma_.lower())


_FREE = frozenset(("while", "during"))
_PAIRS = frozenset(
    ("glasses", "pants", "shorts", "jeans", "scissors", "sunglasses", "trousers", "goggles", "headphones")
)
