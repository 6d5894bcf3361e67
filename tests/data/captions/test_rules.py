"""The rules on captions written for this test, and on junk; spaCy's parse where it is installed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.data.captions.english import gerund_of_lemma, predicate_of, third_person, verb_form
from r1sgg.data.captions.extracting import LONGEST, RuleExtractor, open_parser
from r1sgg.data.captions.phrases import PLURAL, Extraction, Parser
from r1sgg.data.captions.plain_parser import PlainParser
from r1sgg.data.captions.records import Caption, Captioned
from r1sgg.data.captions.spacy_parser import SpacyParser, installed_pipelines
from r1sgg.errors import ConfigError, MissingDependencyError

PLAIN = PlainParser()

CAPTIONS = {
    # active, present and progressive
    "A man rides a horse.": {"man riding horse"},
    "The man is riding the brown horse.": {"man riding horse"},
    "a woman holds an umbrella": {"woman holding umbrella"},
    "A man has a beard.": {"man has beard"},
    # passive: the one who acts is the subject
    "The horse is ridden by a man.": {"man riding horse"},
    "An umbrella held by a woman": {"woman holding umbrella"},
    "A hat is worn by the boy.": {"boy wearing hat"},
    # prepositions, also of several words
    "a cup on top of the table": {"cup on top of table"},
    "There is a dog next to the tree.": {"dog next to tree"},
    "a car parked on the street": {"car parked on street"},
    "A cat sits in front of the tv.": {"cat sitting in front of tv"},
    "a bird on the back of a horse": {"bird on back of horse"},
    # several of one kind
    "A man and a woman sitting on a bench": {"man sitting on bench", "woman sitting on bench"},
    "a man wearing a hat and a coat": {"man wearing hat", "man wearing coat"},
    "a man holding a cup and a woman riding a bike": {"man holding cup", "woman riding bike"},
    "A lady wearing a hat is holding a cup.": {"lady wearing hat", "lady holding cup"},
    "A man in a red shirt is riding two horses.": {"man in shirt", "man riding horse"},
    # clauses
    "A cat lies on a laptop while a woman watches the tv": {"cat lying on laptop", "woman watching tv"},
    "a dog that is sitting on the couch": {"dog sitting on couch"},
    "A boy who wears a cap kicks a ball.": {"boy wearing cap", "boy kicking ball"},
    # counted, possessive, compound
    "A group of people standing in front of a building": {"person standing in front of building"},
    "a couple of dogs are next to the tree": {"dog next to tree"},
    "a man's hat": {"man has hat"},
    "a parking meter on the sidewalk": {"parking meter on sidewalk"},
    # nothing to say
    "bicycles in the background": set(),
    "the clock is green in colour": set(),
    "A dog.": set(),
}


def read(parser: Parser, caption: str) -> set[str]:
    (found,) = parser.parse([caption])
    return {" ".join(names) for names in found.names}


@pytest.mark.parametrize(("caption", "triplets"), CAPTIONS.items(), ids=list(CAPTIONS))
def test_plain_captions_are_read(caption: str, triplets: set[str]) -> None:
    assert read(PLAIN, caption) == triplets


@pytest.fixture(scope="module")
def spacy_parser() -> SpacyParser:
    if not installed_pipelines():
        pytest.skip("needs spaCy and an English pipeline")
    return SpacyParser(installed_pipelines()[0])


def test_a_dependency_parse_reads_most_of_the_same(spacy_parser: SpacyParser) -> None:
    right = [caption for caption, triplets in CAPTIONS.items() if read(spacy_parser, caption) == triplets]
    assert len(right) >= 0.8 * len(CAPTIONS), set(CAPTIONS) - set(right)


def test_counts_and_places_of_phrases() -> None:
    caption = "Two men and some dogs near 12 trees, a pair of shoes and a cat."
    (found,) = PLAIN.parse([caption])
    counts = {phrase.name: phrase.many for phrase in found.phrases}
    assert counts == {"man": 2, "dog": PLURAL, "tree": 12, "shoe": 2, "cat": 1}
    said = [caption[phrase.start : phrase.end] for phrase in found.phrases]
    assert said == ["Two men", "some dogs", "12 trees", "a pair of shoes", "a cat"]


JUNK = (
    "",
    " ",
    ".",
    "...",
    "and and and",
    "of",
    "the the",
    "🐕 on 🛋",
    "a" * 5000,
    "is is is",
    "riding riding",
    "a\x00b on c",
)


@pytest.mark.parametrize("junk", JUNK)
def test_junk_gives_no_error(junk: str) -> None:
    (found,) = PLAIN.parse([junk])
    check(found)


WORDS = (
    "a",
    "the",
    "man",
    "dogs",
    "on",
    "and",
    "riding",
    "rides",
    "ridden",
    "by",
    "of",
    ",",
    ".",
    "is",
    "who",
    "'s",
    "group",
)


@given(st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join))
def test_any_order_of_words_gives_valid_links(caption: str) -> None:
    (found,) = PLAIN.parse([caption])
    check(found)


def check(found: Extraction) -> None:
    for subject, predicate, target in found.links:
        assert subject != target
        assert {subject, target} <= set(range(len(found.phrases)))
        assert predicate == predicate.strip() != ""
    assert len(set(found.links)) == len(found.links)


def test_a_long_caption_is_read_to_a_limit() -> None:
    text = "a man on a horse and " * 20_000
    record = Captioned("1", 10, 10, (Caption(text), Caption("a man on a horse")))
    ((found, short),) = RuleExtractor(PLAIN).extract([record])
    assert 0 < len(found.phrases) < LONGEST / 8
    assert (found.cut, short.cut) == (True, False)
    assert found.links == PLAIN.parse([text[:LONGEST]])[0].links


@pytest.mark.parametrize(
    ("lemma", "gerund"),
    [("carry", "carrying"), ("ride", "riding"), ("sit", "sitting"), ("lie", "lying"), ("see", "seeing"), ("be", "be")],
)
def test_gerunds(lemma: str, gerund: str) -> None:
    assert gerund_of_lemma(lemma) == gerund


def test_every_form_of_a_known_verb_leads_to_its_gerund() -> None:
    forms = {"worn": "wearing", "carries": "carrying", "held": "holding", "watched": "watching", "sits": "sitting"}
    assert {form: (verb_form(form) or ("", ""))[1] for form in forms} == forms
    assert verb_form("umbrella") is None
    assert third_person("watch") == "watches"
    assert predicate_of("have") == "has"
    assert predicate_of("be", "", "on") == "on"


def test_a_caption_is_read_once_and_knows_its_place() -> None:
    class Counting:
        name = "counting"
        seen = 0

        def parse(self, captions: list[str]) -> list[Extraction]:
            self.seen += len(captions)
            return PLAIN.parse(captions)

    parser = Counting()
    extractor = RuleExtractor(parser)
    captions = (Caption("a man on a horse"), Caption("a dog"), Caption("a man on a horse"))
    for _ in range(2):
        rows = extractor.extract([Captioned("1", 10, 10, captions), Captioned("2", 10, 10, captions[:2])])
    assert parser.seen == 2
    assert [[found.caption for found in row] for row in rows] == [[0, 1, 2], [0, 1]]


def test_the_parser_that_is_asked_for() -> None:
    assert open_parser("plain").name == "rules (plain)"
    expected = ConfigError if importable("spacy") else MissingDependencyError
    with pytest.raises(expected, match=r"spacy|pipeline"):
        open_parser("no_such_pipeline")


def importable(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def test_equal_captions_have_equal_triplets_whatever_stands_before_them() -> None:
    sentences = ("A man rides a horse.", "The hat is worn by a boy.", "Two dogs are next to a tree.")
    alone = [read(PLAIN, sentence) for sentence in sentences]
    for order in itertools.permutations(range(3)):
        assert read(PLAIN, " ".join(sentences[k] for k in order)) == set().union(*alone)
