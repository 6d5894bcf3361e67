"""The parser without a library: chunks of a plain caption, joined from left to right.

    [a man] wearing [a hat] is sitting on [a bench] next to [two dogs]

It knows closed classes of words and the verbs of `r1sgg.data.captions.english`; every other word is a noun. A
preposition joins the phrase before it with the one after it; a verb takes the subject of its clause. Long sentences
with several clauses are where it fails: a dependency parser is the remedy (`r1sgg.data.captions.spacy_parser`).
"""

from __future__ import annotations

from r1sgg.data.captions.english import (
    ANIMATE,
    DEPICTIONS,
    MANY,
    MANY_DETERMINERS,
    MATERIALS,
    NO_OBJECTS,
    NO_PLACES,
    NUMBERS,
    PARTITIVES,
    predicate_of,
    verb_form,
)
from r1sgg.data.captions.phrases import PLURAL, Extraction, Link, Phrase, distinct
from r1sgg.data.captions.plain_words import Word, words_of
from r1sgg.graph.forms import singular


class PlainParser:
    """See the module."""

    name = "rules (plain)"

    def parse(self, captions: list[str]) -> list[Extraction]:
        """Return an extraction for each caption."""
        return [_Reading(words_of(caption)).read(self.name) for caption in captions]


class _Reading:
    """Reads the words of one caption from left to right."""

    def __init__(self, words: list[Word]) -> None:
        self.words = words
        self.phrases: list[Phrase] = []
        self.links: list[Link] = []
        self.subject: list[int] = []  # of the clause
        self.opening: list[int] = []  # the group of phrases that opened the clause
        self.last: list[int] = []  # the group of phrases read last
        self.verb = ""  # waiting for its object
        self.preposition = ""
        self.passive = False
        self.of_verb = False  # `last` is the object of a verb
        self.subject_of_preposition: list[int] = []
        self.pending: tuple[int, int] | None = None  # of "a group of": the phrase that comes, and its count
        self.joined: list[tuple[list[int], str, bool]] = []  # how `last` was joined, to join more of its group

    def read(self, step: str) -> Extraction:
        """Return what was found."""
        k = 0
        while k < len(self.words):
            k = self._step(k)
        return Extraction(tuple(self.phrases), distinct(self.links), step)

    def _step(self, k: int) -> int:
        word = self.words[k]
        if word.kind in ("noun", "det", "number", "adj"):
            return self._phrase(k)
        if word.kind == "pron":
            self._pronoun(word)
        elif word.kind == "verb":
            self._verb(k)
        elif word.kind == "aux":
            if word.text in ("is", "are", "was", "were") and self.last:
                self._clause()
                self.verb, self.preposition = "be", ""
        elif word.kind == "prep":
            self._preposition(k)
        elif word.kind == "break":
            self.verb = self.preposition = ""
            if word.text in (".", ";", "!", "?"):
                self.subject, self.last, self.joined, self.opening = [], [], [], []
        elif word.kind == "conj":
            return self._conjunction(k)
        return k + 1

    def _clause(self) -> None:
        """A verb follows: its subject is the clause's, or what was read last."""
        if not self.subject:
            self.subject = list(self.opening or self.last)

    def _verb(self, k: int) -> None:
        word, after = self.words[k], self.words[k + 1] if k + 1 < len(self.words) else None
        found = verb_form(word.text)
        gerund = found[1] if found else word.text
        participle = bool(found and found[0] in ("participle", "past"))
        before = self.words[k - 1] if k else None
        finite = found is None or found[0] in ("s", "base", "past")
        if before is not None and before.kind == "noun" and not self._waits() and self.last:
            # "a man holding a dog wearing a hat": the nearest phrase acts, if it can; else what opened the clause
            if len(self.last) > 1 and self.of_verb:
                self._separate()
            elif not (finite and self.opening) and (
                self._acts(self.last[-1]) or not any(map(self._acts, self.opening))
            ):
                self.subject = list(self.last)
        self._clause()
        self.passive = participle and after is not None and after.text == "by"
        state = participle and after is not None and after.kind == "prep" and not self.passive
        self.verb = word.text if state and found and found[0] == "participle" else gerund
        self.preposition = ""
        self.of_verb = False

    def _acts(self, phrase: int) -> bool:
        return self.phrases[phrase].name.rpartition(" ")[2] in ANIMATE

    def _waits(self) -> bool:
        return bool(self.preposition or (self.verb and self.verb != "be"))

    def _separate(self) -> None:
        """Undo a coordination: in "holding a cup and a woman riding" the woman is not held."""
        *_, last = self.last
        self.links = [link for link in self.links if last not in (link.subject, link.object)]
        self.last = self.subject = [last]

    def _preposition(self, k: int) -> None:
        word = self.words[k]
        if word.text == "of" and not self.verb and self.last and self._partitive(k):
            return
        if self.preposition and not self.passive:
            self.preposition += f" {word.text}"
        else:
            self.preposition = "" if self.passive and word.text == "by" else word.text
        if not self.verb and self.last:
            self.subject_of_preposition = list(self.last)

    def _partitive(self, k: int) -> bool:
        """ "a group of": the next noun is the phrase."""
        phrase = self.phrases[self.last[-1]]
        if phrase.name.split(" ")[-1] not in PARTITIVES | DEPICTIONS:
            return False
        self.phrases[self.last[-1]] = phrase._replace(name="")
        self.pending = (self.last[-1], NUMBERS.get(phrase.name, PLURAL if phrase.name in MANY else phrase.many))
        return True

    def _pronoun(self, word: Word) -> None:
        if word.text in _RELATIVE:
            if self.last:
                self.subject = [self.last[-1]]
            self.verb = self.preposition = ""
        elif self.phrases and not self._waits():
            self.subject = self.subject or [0]
            self.last = list(self.subject)
            self.verb = self.preposition = ""
        else:
            self.verb = self.preposition = ""  # "behind him": who is meant is not decided

    def _conjunction(self, k: int) -> int:
        after = self.words[k + 1] if k + 1 < len(self.words) else None
        if after is not None and after.kind == "conj":
            return k + 1
        if after is not None and after.kind in ("noun", "det", "number", "adj") and self.last:
            before = list(self.last)
            how = list(self.joined)
            self.verb, self.preposition = "", ""
            k = self._phrase(k + 1, alone=True)
            if self.last != before:
                new = self.last[-1]
                for subjects, predicate, passive in how:
                    self._join(subjects, predicate, [new], passive=passive)
                self.last, self.joined = [*before, new], how
                if not how:
                    self.subject, self.opening = [], [*before, new]
            return k
        if after is not None and after.kind in ("verb", "prep", "skip", "aux"):
            self.verb = self.preposition = ""
            if after.kind == "prep" and self.joined:
                self.last = list(self.joined[-1][0])
        return k + 1

    def _phrase(self, k: int, *, alone: bool = False) -> int:
        """Read a noun phrase from word `k` on, and join it with what waits."""
        count, first, nouns = 1, k, list[Word]()
        while k < len(self.words) and self.words[k].kind in ("noun", "det", "number", "adj", "skip"):
            word = self.words[k]
            if nouns and word.kind in ("det", "number"):
                break
            if word.kind == "number":
                count = int(word.text) if word.text.isdigit() and len(word.text) < 4 else NUMBERS.get(word.text, PLURAL)
            elif word.kind == "det" and word.text in MANY_DETERMINERS:
                count = PLURAL
            elif word.kind == "noun":
                nouns.append(word)
            elif word.kind == "adj" and nouns:
                break
            k += 1
        if not nouns and k > first and self.words[k - 1].text in MATERIALS:  # "the glass contains milk"
            nouns.append(self.words[k - 1])
        if not nouns:
            return max(k, first + 1)
        if any(word.text.endswith("'s") for word in nouns[:-1]):  # "a man's hat"
            cut = next(j for j, word in enumerate(nouns) if word.text.endswith("'s"))
            owner = self._add([n._replace(text=n.text.removesuffix("'s")) for n in nouns[: cut + 1]], first, 1)
            owned = self._add(nouns[cut + 1 :], first, count)
            if owner is not None and owned is not None:
                self.links.append(Link(owner, "has", owned))
            new = owned
        else:
            new = self._add(nouns, first, count)
        if new is None:
            self.verb = self.preposition = ""
            return k
        if not alone:
            self._arrive(new)
        else:
            self.last = [new]
        return k

    def _add(self, nouns: list[Word], first: int, count: int) -> int | None:
        """Add a phrase; None if no box can be drawn around it."""
        text = " ".join(word.text for word in nouns)
        name = singular(text)
        if name in NO_OBJECTS or name.rpartition(" ")[2] in NO_PLACES or not any(c.isalpha() for c in name):
            return None
        if count == 1 and name != text and not text.endswith(("ss", "glasses", "pants", "shorts", "jeans", "scissors")):
            count = PLURAL
        phrase = Phrase(name, self.words[first].start, nouns[-1].end, count)
        if self.pending is not None:
            place, many = self.pending
            self.pending = None
            self.phrases[place] = phrase._replace(start=self.phrases[place].start, many=many if many != 1 else count)
            return place
        self.phrases.append(phrase)
        return len(self.phrases) - 1

    def _arrive(self, new: int) -> None:
        """A phrase was read: it is the object of what waits, or opens a clause."""
        if self.preposition or (self.verb and self.verb != "be"):
            subjects = self.subject if self.verb else self.subject_of_preposition
            verb = "" if self.verb == "be" else self.verb
            predicate = predicate_of(verb, "", self.preposition)
            self.joined = [(list(subjects), predicate, self.passive)]
            self._join(subjects, predicate, [new], passive=self.passive)
            self.of_verb = bool(self.verb)
        elif not (self.last and self.last[-1] == new):
            self.subject, self.joined, self.of_verb, self.opening = [], [], False, [new]
        if self.verb and not self.subject:
            self.subject = [new]
        self.last = [new]
        self.verb = self.preposition = ""
        self.passive = False

    def _join(self, subjects: list[int], predicate: str, objects: list[int], *, passive: bool) -> None:
        for one in subjects:
            for other in objects:
                ends = (other, one) if passive else (one, other)
                self.links.append(Link(ends[0], predicate, ends[1]))


_RELATIVE = frozenset(("who", "that", "which"))
