"""Forms of English names: the singular of a noun, the finite and passive forms of a verb.

There are rules and a short list of exceptions, which is enough for class names. No dictionary is needed: a form that is
no word is harmless, because no vocabulary has it.
"""

from __future__ import annotations

import functools


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())


# ---------------------------------------------------------------- forms of nouns

_PLURALS = _pairs(
    """
    men:man women:woman children:child people:person feet:foot teeth:tooth geese:goose mice:mouse oxen:ox
    buses:bus gases:gas knives:knife wives:wife leaves:leaf loaves:loaf halves:half calves:calf wolves:wolf
    shelves:shelf scarves:scarf hooves:hoof movies:movie cookies:cookie hoodies:hoodie zombies:zombie ties:tie
    pies:pie potatoes:potato tomatoes:tomato mangoes:mango heroes:hero axes:axe skis:ski taxis:taxi bikinis:bikini
    """
)


@functools.lru_cache(1 << 16)
def singular(label: str) -> str:
    """Return a label with its last word in the singular: "traffic lights" -> "traffic light", "glasses" -> "glass"."""
    before, space, word = label.rpartition(" ")
    return before + space + _singular_word(word)


def _singular_word(word: str) -> str:
    if word in _PLURALS:
        return _PLURALS[word]
    for ending in ("men", "children"):  # "policemen", "grandchildren"
        if word.endswith(ending) and len(word) > len(ending) + 2 and word != "specimen":
            return word[: -len(ending)] + _PLURALS[ending]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    return word[:-1]


@functools.lru_cache(1 << 16)
def object_form(label: str) -> str:
    """Return an object class in the singular, without article and spaces: "the skate boards" -> "skateboard"."""
    first, _, rest = label.partition(" ")
    return singular(rest if rest and first in _ARTICLES else label).replace(" ", "")


# ---------------------------------------------------------------- forms of verbs

_AUXILIARIES = frozenset(("is", "are", "was", "were", "be", "being", "been"))
_ARTICLES = frozenset(("a", "an", "the"))
_PARTICIPLES = _pairs(
    """
    wearing:worn holding:held riding:ridden eating:eaten drinking:drunk biting:bitten catching:caught
    throwing:thrown driving:driven feeding:fed swinging:swung hitting:hit cutting:cut flying:flown
    drawing:drawn building:built leading:led
    """
)


@functools.lru_cache(1 << 16)
def bare_predicate(name: str) -> str:
    """Return a predicate without articles and without auxiliaries at its start: "is on the back of" -> "on back of"."""
    words = name.split()
    while words and words[0] in _AUXILIARIES:
        del words[0]
    return " ".join(word for word in words if word not in _ARTICLES)


def verb_forms(predicate: str) -> list[str]:
    """Return the finite forms of a predicate that begins with a gerund: "riding" -> "ride", "rides".

    The spelling of a gerund does not tell whether it lost an e or doubled a letter, so both forms are returned ("rid",
    "ride"); one that is no word is in no vocabulary.
    """
    if predicate == "has":
        return ["have", "having"]
    word, space, rest = predicate.partition(" ")
    stem = _stem(word)
    if stem is None:
        return []
    bases = [stem, stem + "e"]
    if word == "lying":
        bases = ["lie"]
    elif stem[-1] == stem[-2]:
        bases.append(stem[:-1])
    finite = [form for base in bases for form in (base, base + "s")]
    finite.append(stem[:-1] + "ies" if stem.endswith("y") else stem + "es")
    return [form + space + rest for form in finite]


def passive_forms(predicate: str) -> list[str]:
    """Return the passive of a gerund: "wearing" -> "worn by", "looking at" -> "looked at by"; none for "sitting on"."""
    word, space, rest = predicate.partition(" ")
    stem = _stem(word)
    if stem is None or rest not in ("", "at", "to", "with"):
        return []
    participle = _PARTICIPLES.get(word)
    if participle is None:
        participle = stem[:-1] + "ied" if stem.endswith("y") and stem[-2] not in "aeiou" else stem + "ed"
    return [f"{participle}{space}{rest} by"]


def _stem(gerund: str) -> str | None:
    stem = gerund.removesuffix("ing")
    return stem if stem != gerund and len(stem) > 1 else None
