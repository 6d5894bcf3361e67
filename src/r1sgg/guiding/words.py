"""A closed vocabulary as a guide needs it: how each name is written, and whether it can be, and can be read again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_lowercase, digits

from r1sgg.errors import ConfigError
from r1sgg.graph.scene import normalize_name
from r1sgg.graph.text import parse
from r1sgg.guiding.layout import ANSWER, END_ANSWER, END_THINK, THINK, Layout, Word
from r1sgg.guiding.regions import Choice
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import IMPOSSIBLE, TokenTable


class Words:
    """The names of one kind, none for an open vocabulary.

    Args:
        table: the vocabulary of tokens.
        names: what may be written.
        write: how a name is written.
        ends: the first bytes of what may follow a name.
        contexts: what typically stands before and behind a name.
        keyword: what may be written in a name's place.

    Attributes:
        written: how each name is written.
        labels: its class, as `normalize_name` has it.
        choice: the written names, and the keyword behind them where there is one.
        cheapest, dearest: fewest tokens for the easiest name, and for the hardest one, wherever it is begun.
    """

    def __init__(
        self,
        table: TokenTable,
        names: Sequence[str],
        write: Callable[[str], Word],
        ends: bytes,
        contexts: Sequence[tuple[str, str]],
        keyword: str | None = None,
    ) -> None:
        given = {write(name): normalize_name(name) for name in names}
        self.written = tuple(given)
        self.labels = tuple(given.values())
        texts = [word.text.encode() for word in self.written]
        keywords = [] if keyword is None else [keyword.encode()]
        behind = [*[ends] * len(texts), *[b""] * len(keywords)]
        own = table.own(contexts, [word.text for word in self.written])
        self.choice = Choice(table, [*texts, *keywords], ends=behind, own=[*own, *[()] * len(keywords)])
        self.cheapest = min(map(table.cost, texts), default=1)
        self.dearest = max(map(table.worst, texts), default=1)

    def __len__(self) -> int:
        return len(self.written)

    @property
    def samples(self) -> list[Word]:
        """A few of them, one at least for each kind of first and last character; or of names that people write."""
        if not self.written:
            return [Word(name) for name in ("man", "t-shirt", "Bus", "hat", "sky", "a", "street", "people")]
        spread = [self.written[k * (len(self) - 1) // 7] for k in range(8)]
        kinds = {tuple((c.isalpha(), c.isdigit()) for c in (w.text[0], w.text[-1])): w for w in reversed(self.written)}
        return list(dict.fromkeys([*spread, *kinds.values()]))


def check(table: TokenTable, spec: GuideSpec, layout: Layout) -> bool:
    """Refuse names that can't be spelled or would be read as something else, and tokenizers that can't write an answer.

    Raises:
        ConfigError: names the first one.
    """
    _check_fixed(table, layout, letters=not (spec.objects and spec.predicates))
    _check_objects(table, spec.objects, layout)
    for name in spec.predicates:
        word = spelled(table, name, layout.predicate, "predicates")
        parsed = parse(_document(layout, [layout.word("a"), layout.word("b")], word), (1, 1))
        if parsed.issues or parsed.graph.predicates != (normalize_name(name),):
            raise ConfigError(f"guide, predicates: expected names that can be read again, found {name!r}")
    return True


def _check_objects(table: TokenTable, names: Sequence[str], layout: Layout) -> None:
    written = {}
    for name in names:
        word = spelled(table, name, lambda name: layout.word(name).text, "objects")
        parsed = parse(_document(layout, [layout.word(name)]), (1, 1))
        if parsed.issues or parsed.graph.labels != (normalize_name(name),):
            raise ConfigError(f"guide, objects: expected names that can be read again, found {name!r}")
        written[word] = name
    for word, name in written.items():
        for n in range(1, len(word)):
            other = written.get(word[:n])
            if other is not None and any(
                (layout.number(layout.word(other), k) + layout.after_id).startswith(word[n]) for k in range(1, 10)
            ):
                raise ConfigError(
                    f"guide, objects: {name!r} can't be told from the beginning of an id of {other!r}; rename one"
                )


def _check_fixed(table: TokenTable, layout: Layout, letters: bool) -> None:
    fixed = [layout.start, layout.comma, *layout.box_ends, layout.before_predicate, layout.before_object]
    fixed += [*layout.pair_ends, layout.no_more or "", layout.no_pair or "", layout.after_id, ".", *digits]
    fixed += [THINK, END_THINK, ANSWER, *(ascii_lowercase if letters else "")]
    for text in fixed:
        cost = table.cost(text.encode())
        if cost >= IMPOSSIBLE or (len(text) == 1 and cost != 1):
            raise ConfigError(f"guide: this tokenizer has no tokens for {text!r}, which an answer may need")


def spelled(table: TokenTable, name: str, write: Callable[[str], str], kind: str) -> str:
    """Return a name as it is written.

    Raises:
        ConfigError: the tokenizer cannot spell it.
    """
    try:
        word = write(name)
        possible = table.cost(word.encode()) < IMPOSSIBLE
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise ConfigError(f"guide, {kind}: this tokenizer can't spell {name!r}; leave it out or rename it")
    return word


def _document(layout: Layout, words: Sequence[Word], predicate: str | None = None) -> str:
    """An answer with these classes, and one relationship between the first two if there is a predicate."""
    ids = [word.text + layout.number(word, 1) for word in words]
    box = layout.after_id + layout.comma.join("0011")
    text = layout.start + (box + layout.box_ends[0]).join(ids) + box
    if predicate is None:
        text += layout.box_ends[-1] + (layout.no_more or "") + (layout.no_pair or "")
    else:
        text += layout.box_ends[0] + (layout.no_more or "") if layout.no_more else layout.box_ends[1]
        text += f"{ids[0]}{layout.before_predicate}{predicate}{layout.before_object}{ids[1]}"
        text += layout.pair_ends[-1] + (layout.no_pair or "")
    return ANSWER + text if text.endswith(END_ANSWER) else text
