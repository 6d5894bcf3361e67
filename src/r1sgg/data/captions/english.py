"""The English that the rules know: forms of verbs, prepositions of several words, and words that are no objects.

Written by hand for captions; nothing was copied. The dependency parser needs only the naming part; the plain parser,
which has no dictionary of its own, takes its verbs, adjectives and prepositions from here.
"""

from __future__ import annotations

import functools


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _compounds(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(phrase.split()) for phrase in text.split(","))


# ---------------------------------------------------------------- verbs

_IRREGULAR = """
wear wore worn wearing
hold held held holding
ride rode ridden riding
sit sat sat sitting
stand stood stood standing
lie lay lain lying
lay laid laid laying
eat ate eaten eating
drink drank drunk drinking
drive drove driven driving
fly flew flown flying
throw threw thrown throwing
catch caught caught catching
hit hit hit hitting
swing swung swung swinging
swim swam swum swimming
run ran run running
lead led led leading
feed fed fed feeding
hang hung hung hanging
bite bit bitten biting
cut cut cut cutting
blow blew blown blowing
grow grew grown growing
build built built building
make made made making
take took taken taking
give gave given giving
get got gotten getting
put put put putting
read read read reading
write wrote written writing
draw drew drawn drawing
show showed shown showing
see saw seen seeing
sleep slept slept sleeping
lean leaned leaned leaning
have had had having
say said said saying
set set set setting
go went gone going
come came come coming
fall fell fallen falling
bend bent bent bending
sell sold sold selling
tie tied tied tying
buy bought bought buying
sweep swept swept sweeping
dig dug dug digging
"""
_REGULAR = """
walk watch look carry use play park cross cover touch pull push jump climb reach surround attach mount wait talk kick
pass chase hug pet groom cook prepare serve fill pour point face follow graze rest relax float sail land approach travel
move turn work smile pose perform practice compete skate ski snowboard surf board enter exit open close plug stack
decorate paint print label line connect lift raise drop roll slide race ride stare gaze peek lick sniff chew kiss wash
clean brush dry comb type operate display feature contain include support fasten place pile seat perch crowd gather
share enjoy examine inspect check load unload tow drag haul balance swoop dive splash cast reflect shine light glow
block separate divide fence frame border overlook adorn wrap tuck dress shade lounge kneel crouch squat stretch hover
soar dock moor anchor glide spray drip melt sprinkle garnish toss bat pitch serve return strike dribble shoot
"""


def _gerund(base: str) -> str:
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "ye", "oe")):
        return base[:-1] + "ing"
    return base + (base[-1] if _doubles(base) else "") + "ing"


def _doubles(base: str) -> bool:
    return base in _DOUBLED or (len(base) == 3 and base[-1] not in "wxyaeiou" and base[-2] in "aeiou")


_DOUBLED = frozenset(("plug", "drop", "wrap", "drag", "drip", "chop", "grab", "skip", "shop", "stop", "step", "trot"))


@functools.cache
def _forms() -> dict[str, tuple[str, str]]:
    """Every form of a known verb -> (kind, gerund); kinds: base, s, past, participle, gerund."""
    table: dict[str, tuple[str, str]] = {}
    for base in _REGULAR.split():
        gerund = _gerund(base)
        past = base + "d" if base.endswith("e") else base[:-1] + "ied" if _consonant_y(base) else gerund[:-3] + "ed"
        for kind, form in (("gerund", gerund), ("participle", past), ("s", third_person(base)), ("base", base)):
            table.setdefault(form, (kind, gerund))
    for line in _IRREGULAR.strip().splitlines():
        base, past, participle, gerund = line.split()
        forms = (("gerund", gerund), ("participle", participle), ("past", past), ("s", third_person(base)))
        for kind, form in (*forms, ("base", base)):
            table[form] = (kind, gerund)
    table |= {"has": ("s", "having"), "lays": ("s", "laying"), "rode": ("past", "riding")}
    return table


def third_person(base: str) -> str:
    """Return the form after "he": "carry" -> "carries"."""
    if _consonant_y(base):
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def _consonant_y(base: str) -> bool:
    return base.endswith("y") and base[-2] not in "aeiou"


def verb_form(word: str) -> tuple[str, str] | None:
    """Return (kind, gerund) of a known form of a known verb: "worn" -> ("participle", "wearing")."""
    return _forms().get(word)


@functools.lru_cache(1 << 14)
def gerund_of_lemma(lemma: str) -> str:
    """Return the gerund of a verb: "carry" -> "carrying"; "be" stays as it is."""
    if lemma in ("be", "have"):
        return lemma
    known = _forms().get(lemma)
    return known[1] if known else _gerund(lemma)


def predicate_of(verb: str, particle: str = "", preposition: str = "") -> str:
    """Return a predicate as data sets write it.

    Args:
        verb: a gerund or a participle ("parked"), "be", "have" or "".
        particle: of a phrasal verb: "up".
        preposition: of one or more words.
    """
    if verb in ("having", "have") and not preposition:
        return "has"
    verb = "" if verb in ("be", "being", "have", "having") else verb
    return " ".join(part for part in (verb, particle, preposition) if part)


# ---------------------------------------------------------------- words that join

PREPOSITIONS = _words(
    """
    on in at with near by under over above behind beside below inside along across against around between through from
    into onto of to for beneath underneath atop upon outside past among amongst within toward towards down up off
    alongside amid beyond without like before after
    """
)
RELATIONAL = _words(
    """
    front top back side left right edge middle end bottom center centre rear corner surface inside outside foot
    """
)
"""Nouns that are places of another thing: "on the back of a truck" is one preposition, "on back of"."""
COMPOUND_PREPOSITIONS = _compounds(
    """
    in front of, on top of, ontop of, next to, close to, in back of, on back of, on side of, along with, to left of,
    to right of, in middle of, in center of, on edge of, at edge of, at end of, on front of, at top of, at bottom of,
    out of, inside of, outside of, away from, together with, on left of, on right of, adjacent to, at back of, at side
    of, on bottom of, by side of, on end of, at foot of, at corner of, on corner of, in corner of, on surface of, on
    rear of
    """
)
"""Prepositions of several words, without articles."""

PARTITIVES = _words(
    """
    group pair bunch couple piece slice number lot lots kind type set row stack pile herd flock variety part series
    line cluster crowd collection bit dozen team assortment bundle portion half
    """
)
"""Nouns that count another: "a group of people" are people."""
MANY = frozenset(
    ("group", "bunch", "lot", "lots", "herd", "flock", "variety", "series", "crowd", "row", "pile", "stack")
)

NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10} | {
    "both": 2,
    "couple": 2,
    "pair": 2,
    "dozen": 12,
}

NO_PLACES = _words(
    """
    background foreground view scene front back side way day time night distance middle left right color colour kind
    type something someone thing air motion shape style daytime nighttime closeup part lot rest other one bckground
    """
)
"""Nouns of captions that no box can be drawn around, whatever stands before them: "the far side", "in the air"."""
NO_OBJECTS = NO_PLACES | frozenset(
    ("black", "white", "red", "blue", "green", "shot", "top", "bottom", "image", "about")
)
"""The same, where they stand alone."""
DEPICTIONS = frozenset(("picture", "image", "photo", "photograph", "view", "shot", "painting", "close-up", "scene"))
"""Nouns that show another: of "a picture of a cat" the cat is taken."""

PRONOUNS = {"he": 1, "she": 1, "it": 1, "him": 1, "her": 1, "they": 0, "them": 0, "who": 1, "that": 1, "which": 1} | {
    "himself": 1,
    "herself": 1,
    "itself": 1,
    "themselves": 0,
    "another": 1,
}
AUXILIARIES = frozenset(
    ("is", "are", "was", "were", "be", "been", "being", "can", "has", "have", "had", "will", "does")
)
DETERMINERS = _words(
    """
    a an the this these those his her its their some several many each every few any all various multiple other
    another no my our your different
    """
)
MANY_DETERMINERS = frozenset(("several", "many", "few", "some", "these", "those", "various", "multiple", "all"))
CONJUNCTIONS = frozenset(("and", ",", "or", "&"))
BREAKS = frozenset(("while", "as", "when", "where", "but", ";", ".", "!", "?", ":", "because", "although", "with"))
SKIPPED = _words(
    """
    very together just also there not still really quite partially slightly while currently outdoors indoors outside
    away here too so brightly side-by-side
    """
)
ADJECTIVES = _words(
    """
    red green blue yellow white black brown grey gray orange pink purple golden silver dark light bright colorful
    colourful big small large little tall short long old young new tiny huge giant wide narrow thick thin round square
    wooden metal plastic glass brick stone leather paper concrete steel rubber wet dry dirty clean open closed empty
    full broken beautiful pretty cute nice happy sad smiling asleep busy hot cold cool warm fresh ripe green-grass
    snowy sandy grassy rocky muddy cloudy clear sunny rainy foggy shiny striped plaid dotted floral bare bald blonde
    blond curly male female adult elderly middle-aged asian black-and-white fluffy furry hairy shaggy fat skinny heavy
    same similar low high front rear left right upper lower top bottom tan beige teal maroon navy turquoise cream
    single double elegant fancy modern antique vintage rusty ornate professional public commercial wild baby stuffed
    sliced cooked baked fried grilled chopped unknown tiled paved parked crowded electric digital
    """
)
NOUNS_TOO = _words(
    """
    line board crowd park face label light fence frame watch set seat plug pile stack show point border roll print
    block catch shade slide drop drip cross cover touch pass pitch post ride play walk work surf ski skate snowboard
    land turn step rest look hang bat cut run box cook serve lines boards crowds parks faces labels lights fences
    frames watches sets seats plugs piles stacks shows points borders rolls prints blocks shades slides drops crosses
    covers passes posts rides plays walks works skis skates lands turns steps rests looks bats cuts runs cooks
    """
)
"""Verbs whose finite forms are more often nouns: they are verbs only where an article or a preposition follows."""
MATERIALS = frozenset(
    ("glass", "paper", "brick", "stone", "metal", "plastic", "leather", "top", "bottom", "orange", "cream", "rubber")
)
"""Adjectives that are nouns where no noun follows."""
GERUND_NOUNS = _words(
    """
    building ceiling clothing railing painting wing ring string king evening morning parking wedding frosting icing
    lighting awning earring thing spring swing something nothing everything anything dressing drawing stuffing bedding
    flooring siding landing molding padding bowling dining swimming living serving wrapping topping sling sibling
    """
)
ANIMATE = _words(
    """
    man woman boy girl child kid person people baby toddler guy lady player skier surfer skateboarder snowboarder
    rider batter catcher pitcher officer policeman policewoman cop worker chef waiter bride groom couple crowd adult
    teenager student teacher tourist passenger driver cyclist biker motorcyclist pedestrian spectator firefighter
    soldier dog cat horse cow sheep bird elephant giraffe zebra bear puppy kitten goat duck pigeon seagull animal lion
    monkey rabbit calf lamb pony bull deer swan goose parrot owl male female friend family mother father umpire
    gentleman individual
    """
)
"""Nouns that act: of two phrases before a participle the one that can is its subject."""
