"""What a guide should allow, said again in another way: by trying to read a text from its beginning.

Slow and simple on purpose: every way to read a text is followed, and a text is possible if one of them reaches its end
without having gone wrong. Texts are bytes, read as Latin-1, so half a character is no special case.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from r1sgg.graph.compact import name_of_id, word_of
from r1sgg.graph.scene import normalize_name
from r1sgg.guiding.spec import GuideSpec

_OPEN = {
    "json": re.compile(r"[A-Za-z](?:[ _'-]?[A-Za-z0-9])*"),
    "compact": re.compile(r"[A-Za-z](?:[_'-]?[A-Za-z])*"),
}


class Ways(NamedTuple):
    """Whether a text can begin an answer, and whether it is one."""

    possible: bool
    whole: bool


def read(text: bytes, spec: GuideSpec) -> Ways:
    """All ways to read a text."""
    reader = _Reader(text.decode("latin-1"), spec)
    ends = list(reader.answer())
    return Ways(reader.possible, len(text) in ends)


def _raw(text: str) -> str:
    return text.encode().decode("latin-1")


class _Reader:
    def __init__(self, text: str, spec: GuideSpec) -> None:
        self.text, self.spec = text, spec
        self.compact = spec.answer_format == "compact"
        self.possible = False
        comma, colon = (",", ":") if spec.minify else (", ", ": ")
        self.comma, self.colon = (" ", "") if self.compact else (comma, colon)

    def literal(self, at: int, wanted: str) -> Iterator[int]:
        """Behind a fixed text."""
        self.possible |= wanted.startswith(self.text[at:])
        if self.text.startswith(wanted, at):
            yield at + len(wanted)

    def integer(self, at: int, low: int, high: int) -> Iterator[tuple[int, int]]:
        digits = re.compile(r"\d*").match(self.text, at)[0]  # type: ignore[index]
        if at + len(digits) == len(self.text):
            self.possible |= any(str(number).startswith(digits) for number in range(low, high + 1))
        for n in range(1, len(digits) + 1):
            if str(int(digits[:n])) == digits[:n] and low <= int(digits[:n]) <= high:
                yield at + n, int(digits[:n])

    def name(self, at: int, words: tuple[str, ...], write: Any, most: int = 40) -> Iterator[tuple[int, str, str]]:
        """Behind a name: its end, the name, and how it is written."""
        for word in dict.fromkeys(words):
            for end in self.literal(at, _raw(write(word))):
                yield end, word, _raw(write(word))
        if words:
            return
        pattern = _OPEN[self.spec.answer_format]
        rest = self.text[at : at + most + 1]
        for n in range(1, min(most, len(rest)) + 1):
            if pattern.fullmatch(rest[:n]):
                yield at + n, rest[:n].replace("_", " ") if self.compact else rest[:n], rest[:n]
        started = (
            not rest
            or (len(rest) < most and pattern.fullmatch(rest + "a"))
            or (len(rest) == most and pattern.fullmatch(rest))
        )
        self.possible |= bool(started) and at + len(rest) == len(self.text)

    def answer(self) -> Iterator[int]:
        if not self.spec.think:
            yield from self.graph(0)
            return
        for begin in self.literal(0, "<think>"):
            close = self.text.lower().find("</think>", begin)
            if close < 0:
                self.possible = True
            elif self.text.startswith("</think>", close):
                for at in self.literal(close + len("</think>"), "<answer>"):
                    for end in self.graph(at):
                        yield from self.literal(end, "</answer>")

    def graph(self, at: int) -> Iterator[int]:
        start = "objects\n" if self.compact else '{"objects"' + self.colon + '[{"id"' + self.colon + '"'
        for here in self.literal(at, start):
            yield from self.objects(here, (), Counter())

    def objects(self, at: int, ids: tuple[str, ...], counts: Counter[str]) -> Iterator[int]:
        """From an object's name on."""
        spec, comma, colon = self.spec, self.comma, self.colon
        if self.compact and ids:
            for end in self.literal(at, "relationships\n"):
                yield from self.pairs(end, ids, ())
        if len(ids) >= spec.max_objects:
            return

        def word(name: str) -> str:
            if not self.compact:
                return json.dumps(name, ensure_ascii=False)[1:-1]
            plain = name_of_id(f"{name}.1")
            return plain[:-2] if plain.endswith('1"') else plain

        for end, name, written in self.name(at, spec.objects, word):
            label = normalize_name(name.encode("latin-1").decode() if not spec.objects else name)
            number = counts[label] + 1
            if not self.compact:
                identity, behind = f"{written}.{number}", f'"{comma}"bbox"{colon}['
            elif written.startswith('"'):
                identity, behind = f'{written}{number}"', " "
            else:
                identity, behind = written + ("" if number == 1 else str(number)), " "
            for here in self.literal(end, identity[len(written) :] + behind):
                for close in self.box(here):
                    yield from self.behind_box(close, (*ids, identity), counts + Counter([label]))

    def box(self, at: int) -> Iterator[int]:
        width, height = (int(side) for side in self.spec.frame)
        for a, x1 in self.integer(at, 0, width - 1):
            for b in self.literal(a, self.comma):
                for c, y1 in self.integer(b, 0, height - 1):
                    for d in self.literal(c, self.comma):
                        for e, _ in self.integer(d, x1 + 1, width):
                            for f in self.literal(e, self.comma):
                                yield from (end for end, _ in self.integer(f, y1 + 1, height))

    def behind_box(self, at: int, ids: tuple[str, ...], counts: Counter[str]) -> Iterator[int]:
        comma, colon = self.comma, self.colon
        if self.compact:
            for end in self.literal(at, "\n"):
                yield from self.objects(end, ids, counts)
            return
        if len(ids) < self.spec.max_objects:
            for end in self.literal(at, f']}}{comma}{{"id"{colon}"'):
                yield from self.objects(end, ids, counts)
        for end in self.literal(at, f']}}]{comma}"relationships"{colon}['):
            yield from self.literal(end, "]}")
            if self.may_relate(ids, ()):
                for here in self.literal(end, f'{{"subject"{colon}"'):
                    yield from self.pairs(here, ids, ())

    def may_relate(self, ids: tuple[str, ...], said: tuple[tuple[int, str, int], ...]) -> bool:
        return len(said) < self.spec.max_relationships and any(self.subjects(ids, said))

    def subjects(self, ids: tuple[str, ...], said: tuple[tuple[int, str, int], ...]) -> Iterator[int]:
        predicates = {normalize_name(p) for p in self.spec.predicates}
        for k in range(len(ids)):
            if len(ids) > 1 and (not predicates or sum(s == k for s, _, _ in said) < len(predicates) * (len(ids) - 1)):
                yield k

    def targets(self, ids: tuple[str, ...], said: tuple[tuple[int, str, int], ...], s: int, name: str) -> list[int]:
        """The objects that this has not been said of."""
        return [o for o in range(len(ids)) if o != s and (s, normalize_name(name), o) not in said]

    def pairs(self, at: int, ids: tuple[str, ...], said: tuple[tuple[int, str, int], ...]) -> Iterator[int]:
        """From a relationship's subject on."""
        comma, colon, compact = self.comma, self.colon, self.compact
        if compact:
            yield from self.literal(at, "end")
        if not self.may_relate(ids, said):
            return
        to_predicate = " " if compact else f'"{comma}"predicate"{colon}"'
        to_object = " " if compact else f'"{comma}"object"{colon}"'

        def word(name: str) -> str:
            return word_of(name) if compact else json.dumps(name, ensure_ascii=False)[1:-1]

        for s in self.subjects(ids, said):
            for a in self.literal(at, ids[s]):
                for b in self.literal(a, to_predicate):
                    free = tuple(name for name in self.spec.predicates if self.targets(ids, said, s, name))
                    full = {len(p) for r, p, _ in said if r == s and not self.targets(ids, said, s, p)}
                    # no name as long as that may be forbidden, lest a name could neither end nor go on
                    most = next(n for n in range(40, 0, -1) if n not in full)
                    for c, name, _ in self.name(b, free, word, most):
                        p = normalize_name(name)
                        left = self.targets(ids, said, s, name)
                        if not left:
                            continue
                        for d in self.literal(c, to_object):
                            for o in left:
                                for e in self.literal(d, ids[o]):
                                    yield from self.behind_pair(e, ids, (*said, (s, p, o)))

    def behind_pair(self, at: int, ids: tuple[str, ...], said: tuple[tuple[int, str, int], ...]) -> Iterator[int]:
        if self.compact:
            for end in self.literal(at, "\n"):
                yield from self.pairs(end, ids, said)
            return
        yield from self.literal(at, '"}]}')
        if self.may_relate(ids, said):
            for end in self.literal(at, f'"}}{self.comma}{{"subject"{self.colon}"'):
                yield from self.pairs(end, ids, said)
