"""The course of an answer: what may follow what, and which names and references are free.

A `Script` knows, for one `GuideSpec` and one vocabulary of tokens, which region a draft is in, and which draft follows
from the region's value. What finishing costs is `r1sgg.guiding.costs`; tokens that were drawn are counted by
`r1sgg.guiding.guide`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from r1sgg.graph.scene import normalize_name
from r1sgg.guiding.costs import Bounds, Costs
from r1sgg.guiding.draft import FOLLOWING, Draft, Stage
from r1sgg.guiding.layout import ANSWER, END_THINK, THINK, Word, layout_of
from r1sgg.guiding.names import OpenName, limit
from r1sgg.guiding.numbers import Integers, OwnNumbers
from r1sgg.guiding.regions import Choice, Pick, Region, Value
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import TokenTable
from r1sgg.guiding.thoughts import Thoughts
from r1sgg.guiding.words import Words, check

NUMBERS = ("0", "12", "345", "421", "58", "607", "713", "890", "964", "26")  # stand for all others where the
# tokenizer is asked for its own way: each digit comes first and last


class Script:
    """The course of the answers that a `GuideSpec` allows.

    Raises:
        ConfigError: see `r1sgg.guiding.words.check`.
    """

    def __init__(self, table: TokenTable, spec: GuideSpec) -> None:
        self.table, self.spec = table, spec
        self.layout = layout = layout_of(spec.answer_format, spec.minify, spec.think > 0)
        key = (spec.answer_format, spec.minify, spec.think > 0)

        def objects() -> Words:
            heads = (layout.start, layout.box_ends[0])
            tails = [layout.number(Word(""), k) + layout.after_id for k in (1, 2)]
            contexts = [(head, tail) for head in heads for tail in tails]
            return Words(table, spec.objects, layout.word, layout.object_style.ends, contexts, layout.no_more)

        def predicates() -> Words:
            contexts = [(layout.before_predicate, layout.before_object)]
            style = layout.predicate_style
            return Words(table, spec.predicates, lambda p: Word(layout.predicate(p)), style.ends, contexts)

        table.kept("checked", (spec.objects, spec.predicates, key), lambda: check(table, spec, layout))
        self._objects: Words = table.kept("objects", (spec.objects, key), objects)
        self._predicates: Words = table.kept("predicates", (spec.predicates, key), predicates)
        self._labels = frozenset(self._predicates.labels)
        no_more = None if layout.no_more is None else layout.no_more.encode()
        self._any_name = OpenName(table, layout.object_style)
        self._name_or_end = OpenName(table, layout.object_style, keyword=no_more)
        self._only_end = Pick(Choice(table, [no_more or b""]))
        self._any_predicate = OpenName(table, layout.predicate_style)
        self._regions = self._regions_by_stage()
        self.costs: Bounds = Costs(table, spec, layout, self._objects, self._predicates)

    @classmethod
    def of(cls, table: TokenTable, spec: GuideSpec) -> Script:
        """The script of a specification, kept for later answers."""
        script: Script = table.kept("scripts", spec, lambda: cls(table, spec), most=256)
        return script

    def begin(self) -> Draft:
        """Nothing written yet."""
        return Draft(Stage.THINK if self.spec.think else Stage.START)

    def region(self, draft: Draft) -> Region | None:
        """The region that a draft is in; None at the end."""
        make = self._regions.get(draft.stage)
        return None if make is None else make(draft)

    def way_out(self, draft: Draft, region: Region | None, node: bytes) -> list[int]:
        """A short way from inside a region to the end of the turn, as tokens; no longer than `costs` says."""
        texts = [b""]
        while region is not None:
            more, value = region.finish(node, self.costs.rest(draft))
            texts[-1] += more
            if draft.stage is Stage.THOUGHTS:  # whose end must come within their own number of tokens
                texts.append(b"")
            draft = self.after(draft, value)
            region, node = self.region(draft), b""
        return [*(token for text in texts for token in self.table.spell(text)), self.table.end]

    @cached_property
    def shortest(self) -> list[int]:
        """The way out from the very beginning."""
        draft = self.begin()
        return self.way_out(draft, self.region(draft), b"")

    # ------------------------------------------------------------ what stands where

    def _regions_by_stage(self) -> dict[Stage, Callable[[Draft], Region]]:
        """How the region of each stage is made."""
        table, layout = self.table, self.layout
        wide, high = int(self.spec.frame[0]), int(self.spec.frame[1])
        contexts = ((layout.after_id, layout.comma), *((layout.comma, end) for end in layout.box_ends))
        own = OwnNumbers.of(table, max(wide, high), layout.comma, contexts)

        def of(low: int, most: int) -> Integers:
            return Integers.of(table, low, most, own)

        regions: dict[Stage, Callable[[Draft], Region]] = {
            Stage.THOUGHTS: lambda draft: Thoughts.of(table),
            Stage.NAME: self._name,
            Stage.AFTER_NAME: self._tail,
            Stage.X1: lambda draft: self._side(draft, of, 0, wide - 1),
            Stage.Y1: lambda draft: self._side(draft, of, 0, high - 1),
            Stage.X2: lambda draft: self._side(draft, of, draft.box[0] + 1, wide),
            Stage.Y2: lambda draft: self._side(draft, of, draft.box[1] + 1, high),
            Stage.SUBJECT: self._subject,
            Stage.PREDICATE: self._predicate,
            Stage.OBJECT: self._object,
        }
        fixed = self._fixed_texts()
        regions |= {stage: always(Pick(choice)) for stage, choice in fixed.items()}
        if layout.no_more is None:
            boxes = [Pick(fixed[Stage.AFTER_BOX], allowed) for allowed in range(8)]
            pairs = [Pick(fixed[Stage.AFTER_PAIR], allowed) for allowed in range(4)]
            regions[Stage.AFTER_BOX] = lambda draft: boxes[self._behind_box(draft)]
            regions[Stage.AFTER_PAIR] = lambda draft: pairs[2 | self._may_relate(draft)]
        return regions

    def _fixed_texts(self) -> dict[Stage, Choice]:
        """The fixed texts, with the tokens that the tokenizer uses for them among typical neighbours."""
        layout, samples = self.layout, self._objects.samples
        names = [word.text for word in samples]
        ids = [word.text + layout.number(word, k) for k, word in enumerate(samples, 1)]
        said = [word.text for word in self._predicates.samples]
        numbers = [f"{layout.comma}{n}" for n in NUMBERS]
        listed = layout.box_ends[1] if layout.no_more is None else layout.box_ends[0]
        behind_box = [names, ids, [""]] if layout.no_more is None else [[*names, layout.no_more]]
        behind_pair = [ids, [""]] if layout.no_pair is None else [[*ids, layout.no_pair]]
        comma = [(layout.comma, NUMBERS)]
        opening, before = (ANSWER, END_THINK) if self.spec.think else ("", "")
        return {
            Stage.THINK: self._fixed([""], [(THINK, ("", "The image", "\n\n", " A", "<"))]),
            Stage.START: self._fixed([before], [(opening + layout.start, names)]),
            Stage.AFTER_X1: self._fixed([layout.after_id + n for n in NUMBERS], comma),
            Stage.AFTER_Y1: self._fixed(numbers, comma),
            Stage.AFTER_X2: self._fixed(numbers, comma),
            Stage.AFTER_BOX: self._fixed(numbers, list(zip(layout.box_ends, behind_box, strict=True))),
            Stage.AFTER_SUBJECT: self._fixed([listed + i for i in ids], [(layout.before_predicate, said)]),
            Stage.AFTER_PREDICATE: self._fixed(
                [layout.before_predicate + p for p in said], [(layout.before_object, ids)]
            ),
            Stage.AFTER_PAIR: self._fixed(
                [layout.before_object + i for i in ids], list(zip(layout.pair_ends, behind_pair, strict=True))
            ),
        }

    def _fixed(self, before: Sequence[str], texts: Sequence[tuple[str, Sequence[str]]]) -> Choice:
        """A choice of texts, each with what may follow it."""

        def make() -> Choice:
            table, usual, own = self.table, [], []
            for text, after in texts:
                contexts = [*((head, after[0]) for head in before), *((before[0], tail) for tail in after[1:])]
                own += table.own(contexts, [text])
                usual.append({} if own[-1] else table.usual(before, text, after))
            return Choice(table, [text.encode() for text, _ in texts], usual, own=own)

        key = (tuple(before), tuple((text, tuple(after)) for text, after in texts))
        choice: Choice = self.table.kept("fixed", key, make)
        return choice

    def _tail(self, draft: Draft) -> Region:
        """An id's number, and what stands between it and the box."""
        word, number = draft.word, draft.counts[draft.label]
        key = (number, word.quoted)
        if (tail := self._tails.get(key)) is None:
            text = self.layout.number(word, number) + self.layout.after_id
            before = [self.layout.start + word.text for word in self._objects.samples]
            tail = self._tails[key] = Pick(self._fixed(before, [(text, NUMBERS)]))
        return tail

    @cached_property
    def _tails(self) -> dict[tuple[int, bool], Pick]:
        return {}

    def _side(self, draft: Draft, of: Callable[[int, int], Integers], low: int, most: int) -> Region:
        """A coordinate between bounds, or the one that is given."""
        if given := self.spec.given:
            low = most = int(given[len(draft.ids) - 1][1 + len(draft.box)])
        return of(low, most)

    def _behind_box(self, draft: Draft) -> int:
        """What may follow a box, as bits: another object (1), relationships (2), the end (4)."""
        add = self._may_add(draft)
        if self.spec.given and add:
            return 1
        return 4 | self._may_relate(draft) << 1 | add

    def _name(self, draft: Draft) -> Region:
        """A class, or behind the first object the keyword that ends objects."""
        closing = self.layout.no_more is not None and len(draft.ids) > 0 and not self.spec.given
        if not self._may_add(draft):
            return Pick(self._objects.choice, 1 << len(self._objects)) if self.spec.objects else self._only_end
        if not self.spec.objects:
            return self._name_or_end if closing else self._any_name
        choice = self._objects.choice
        if self.spec.given and (name := str(self.spec.given[len(draft.ids)][0])):
            return Pick(choice, 1 << self.spec.objects.index(name))
        return Pick(choice, choice.every if closing else (1 << len(self._objects)) - 1)

    def _subject(self, draft: Draft) -> Region:
        """An object that can still be a subject, or the keyword that ends relationships."""
        assert draft.refs is not None
        keyword = 0 if self.layout.no_pair is None else 1 << len(draft.ids)
        return Pick(draft.refs, (draft.free if self._may_relate(draft) else 0) | keyword)

    def _predicate(self, draft: Draft) -> Region:
        """A predicate that this subject has not been written with beside every object."""
        full = draft.full.get(draft.subject, frozenset())
        if not self.spec.predicates:
            return self._another_predicate(full) if full else self._any_predicate
        choice = self._predicates.choice
        if not full:
            return Pick(choice)
        return Pick(choice, sum(1 << k for k, label in enumerate(self._predicates.labels) if label not in full))

    def _another_predicate(self, full: frozenset[str]) -> Region:
        """Any predicate but some, and none that begins as the tokenizer begins one of them."""
        layout = self.layout

        def make() -> OpenName:
            texts = [layout.predicate(label) for label in full]
            before, after = f"a{layout.before_predicate}", f"{layout.before_object}a"  # a space at an end is read apart
            first = [self.table.first(before, text, after) for text in texts]
            return OpenName(
                self.table,
                layout.predicate_style,
                full,
                openers=frozenset(token for token in first if token is not None),
            )

        key = (self.spec.answer_format, self.spec.minify, self.spec.think > 0, full)
        region: OpenName = self.table.kept("another predicate", key, make)
        return region

    def _object(self, draft: Draft) -> Region:
        """Another object than the subject, with which this is not said yet."""
        assert draft.refs is not None
        used = draft.used.get((draft.subject, draft.predicate), 0) | 1 << draft.subject
        return Pick(draft.refs, ((1 << len(draft.ids)) - 1) & ~used)

    def _may_add(self, draft: Draft) -> bool:
        return len(draft.ids) < (len(self.spec.given) or self.spec.max_objects)

    def _may_relate(self, draft: Draft) -> bool:
        return draft.pairs < self.spec.max_relationships and len(draft.ids) > 1 and (draft.free > 0 or not draft.pairs)

    # ------------------------------------------------------------ what follows

    def after(self, draft: Draft, value: Value) -> Draft:
        """The draft behind a region with that value."""
        match draft.stage:
            case Stage.NAME:
                return self._named(draft, value)
            case Stage.AFTER_NAME:
                name = (draft.word.text + self.layout.number(draft.word, draft.counts[draft.label])).encode()
                longest = max(draft.longest, self.table.worst(name))
                return draft._replace(stage=Stage.X1, ids=(*draft.ids, name), longest=longest)
            case Stage.X1 | Stage.Y1 | Stage.X2 as stage:
                return draft._replace(stage=FOLLOWING[stage], box=(*draft.box, value))
            case Stage.Y2:
                return draft._replace(stage=Stage.AFTER_BOX, box=())
            case Stage.AFTER_BOX if value == 0:
                return draft._replace(stage=Stage.NAME)
            case Stage.AFTER_BOX if value == 1:
                return self._related(draft)
            case Stage.SUBJECT if value < len(draft.ids):
                return draft._replace(stage=Stage.AFTER_SUBJECT, subject=value)
            case Stage.PREDICATE:
                label = self._predicates.labels[value] if self.spec.predicates else normalize_name(value.decode())
                return draft._replace(stage=Stage.AFTER_PREDICATE, predicate=label)
            case Stage.OBJECT:
                return self._paired(draft, value)
            case Stage.AFTER_PAIR if value == 0:
                return draft._replace(stage=Stage.SUBJECT)
            case Stage.AFTER_BOX | Stage.SUBJECT | Stage.AFTER_PAIR:
                return draft._replace(stage=Stage.DONE)
            case stage:
                return draft._replace(stage=FOLLOWING[stage])

    def _named(self, draft: Draft, value: Value) -> Draft:
        """Behind a class (by its index, or as written), or behind the keyword."""
        if self.spec.objects and value < len(self._objects):
            word, label = self._objects.written[value], self._objects.labels[value]
        elif isinstance(value, bytes) and not value.endswith(b"\n"):
            word, label = Word(value.decode()), normalize_name(value.decode())
        else:
            return self._related(draft)
        counts = {**draft.counts, label: draft.counts.get(label, 0) + 1}
        return draft._replace(stage=Stage.AFTER_NAME, word=word, label=label, counts=counts)

    def _related(self, draft: Draft) -> Draft:
        """No object comes any more, so the ids can be referred to."""
        layout = self.layout
        keyword = [] if layout.no_pair is None else [layout.no_pair.encode()]
        ends = (layout.before_predicate[:1] + layout.pair_ends[0][:1]).encode()
        behind = [*[ends] * len(draft.ids), *[b""] * len(keyword)]
        own = [self._own_id(name) for name in draft.ids]
        refs = Choice(self.table, [*draft.ids, *keyword], ends=behind, own=[*own, *[()] * len(keyword)])
        return draft._replace(stage=Stage.SUBJECT, refs=refs, free=(1 << len(draft.ids)) - 1)

    def _own_id(self, name: bytes) -> tuple[int, ...]:
        """The tokenizer's own tokens of an id that is referred to."""
        layout = self.layout
        contexts = ((layout.before_object, layout.pair_ends[0]), (layout.pair_ends[0], layout.before_predicate))
        tokens: tuple[int, ...] = self.table.kept(
            "references", (contexts, name), lambda: self.table.own(contexts, [name.decode()])[0]
        )
        return tokens

    def _paired(self, draft: Draft, value: int) -> Draft:
        """Behind a relationship's object: what can't be said again is ruled out."""
        subject, key = draft.subject, (draft.subject, draft.predicate)
        used = {**draft.used, key: draft.used.get(key, 0) | 1 << value}
        full, free = draft.full, draft.free
        if used[key] | 1 << subject == (1 << len(draft.ids)) - 1:
            said = full.get(subject, frozenset()) | {draft.predicate}
            full = {**full, subject: said}
            if said == self._labels if self.spec.predicates else not limit(said):
                free &= ~(1 << subject)
        return draft._replace(stage=Stage.AFTER_PAIR, used=used, full=full, free=free, pairs=draft.pairs + 1)


def always(region: Region) -> Callable[[Draft], Region]:
    """Return what makes the same region of every draft."""
    return lambda draft: region
