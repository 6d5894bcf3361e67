"""Read a free answer to a question: which of the four options it chooses, or whether it refuses.

The first rule that applies decides. The rules look at the text between <answer> tags, or after </think>, if there are
any.

1. letter: the answer is a letter, begins with one ("B", "(b)", "B) riding", "B. ...", "B is correct"), names one as its
   choice ("the answer is B", "option C", "**D**", "(A)"), or contains exactly one ("I think it's C"). If it names
   several, the one called the answer counts; otherwise there is no choice. "A" before a word is the article, unless
   that word is the text of option A.
2. refusal: the answer says that it cannot tell, or that none of the options applies.
3. text: the answer contains exactly one option, as whole words. An option inside a longer option does not count ("on"
   in "sitting on"). Small words such as "in" or "and" occur in any sentence, so they count only if they are the whole
   answer, are in quotes, or follow "is", "are", "was", "were".
4. unparsed: anything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from r1sgg.graph.scene import normalize_name
from r1sgg.probing.questions import LETTERS

Kind = Literal["letter", "text", "refusal", "unparsed"]


class Choice(NamedTuple):
    """The chosen option's index, and how it was read."""

    option: int | None
    kind: Kind


_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_OPENING = re.compile(r"(?:the\s+)?(?:correct\s+)?(?:(?:answer|option|choice)\s*(?:is\s*)?:?\s*)?\(?([A-D])(?P<end>.*)")
_CALLED = re.compile(
    r"(?:answer|choice|relationship|option|choose|select|pick|go with)"
    r"(?:\s+(?:is|would be|should be|must be|as|to be|option|letter|choice))*\s*:?\s*[\"'(\[]?\s*([A-D])(?![\w'])",
    re.IGNORECASE,
)
_MARKED = re.compile(r"(?<!\w)(?:[\"'(\[]([A-D])[\"')\]]|([A-D])[):.](?=\s|$))")
_REFUSAL = re.compile(
    r"\b(?:can(?:not|'t| not)|unable to|not able to|impossible to|not possible to|don't know|do not know|not sure"
    r"|sorry|as an ai|none of (?:the|these|them)|no (?:clear |visible )?(?:relationship|information)"
    r"|insufficient|not enough (?:information|context)|not (?:clearly )?(?:visible|provided|specified)"
    r"|(?:difficult|hard) to (?:determine|tell|say|see))"
)
_LONE = re.compile(r"(?<![\w'])([B-D])(?![\w'-])|(?<![\w'])(A)[.!]?$")
_SMALL = frozenset((
    "a", "an", "and", "as", "at", "by", "for", "from", "has", "have", "in", "is", "it", "of", "off", "on", "or", "the",
    "to", "up", "with",
))  # fmt: skip


def read_choice(text: str, options: Sequence[str]) -> Choice:
    """Determine which option an answer chooses.

    Args:
        text: the completion, any text.
        options: the four options in the order of the letters.
    """
    tagged = _TAGGED.findall(text)
    body = tagged[-1] if tagged else text.rpartition("</think>")[2]
    body = re.sub(r"\s+", " ", body.replace("*", "").replace("’", "'")).strip(" \"'`")
    if (letter := _letter(body, options)) is not None:
        return Choice(letter, "letter")
    if _REFUSAL.search(body.lower()):
        return Choice(None, "refusal")
    if (option := _text(body, options)) is not None:
        return Choice(option, "text")
    return Choice(None, "unparsed")


def _letter(body: str, options: Sequence[str]) -> int | None:
    if len(alone := body.strip(" ()[].:,;!\"'")) == 1 and alone.upper() in LETTERS:
        return LETTERS.index(alone.upper())
    called = {letter.upper() for letter in _CALLED.findall(body) if not _is_article(letter)}
    called |= {m[1].upper() for m in _CALLED.finditer(body) if _is_article(m[1]) and _ends_choice(body[m.end() :])}
    if len(called) == 1:
        return LETTERS.index(called.pop())
    marked = {a or b for a, b in _MARKED.findall(body)}
    if called or len(marked) > 1:
        return None
    if marked:
        return LETTERS.index(marked.pop())
    opening = _OPENING.match(body) or re.match(r"([a-d])(?P<end>[).:].*)", body)
    if opening is not None and not opening["end"][:1].isalnum():
        index, end = LETTERS.index(opening[1].upper()), opening["end"]
        if opening[1] != "A" or _ends_choice(end) or normalize_name(end) == options[index]:
            return index
    lone = {b or a for b, a in _LONE.findall(body)}
    return LETTERS.index(lone.pop()) if len(lone) == 1 else None


def _is_article(letter: str) -> bool:
    """Whether the letter may be the article; "b" to "d" are no words."""
    return letter in "aA"


def _ends_choice(rest: str) -> bool:
    """Whether the text after an "A" shows that it was the letter and not the article."""
    return re.match(r"\s*(?:$|[).:,;\]\"'\-]|(?:is|because|since|as)\b)", rest) is not None


def _text(body: str, options: Sequence[str]) -> int | None:
    words = normalize_name(re.sub(r"[.,;:!?()\[\]\"`]", " ", body))
    for k, option in enumerate(options):
        if words == option:
            return k
    spans = {k: _spans(option, words, body) for k, option in enumerate(options)}
    found = [
        k
        for k, own in spans.items()
        if any(not any(_inside(span, s) for j, other in spans.items() if j != k for s in other) for span in own)
    ]
    return found[0] if len(found) == 1 else None


def _spans(option: str, words: str, body: str) -> list[tuple[int, int]]:
    before = ""
    if all(word in _SMALL for word in option.split()):
        if re.search(rf"[\"'`]{re.escape(option)}[\"'`]", body, re.IGNORECASE):
            return [(0, 0)]
        before = r"(?<=\bis )|(?<=\bare )|(?<=\bwas )|(?<=\bwere )"
    pattern = rf"(?:{before})\b{re.escape(option)}\b" if before else rf"\b{re.escape(option)}\b"
    return [match.span() for match in re.finditer(pattern, words)]


def _inside(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return other[0] <= span[0] and span[1] <= other[1] and other != span
