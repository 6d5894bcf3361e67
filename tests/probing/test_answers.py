"""Reading free answers: letters, texts, refusals, and what is none of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.probing.answers import read_choice
from r1sgg.probing.questions import LETTERS

OPTIONS = ("on", "riding", "sitting on", "in front of")


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("B", 1), ("b", 1), (" (B) ", 1), ("B.", 1), ("B)", 1), ("**B**", 1), ("[C]", 2), ("B) riding", 1),
        ("b. riding", 1), ("B riding", 1), ("B: riding", 1), ("D is correct", 3), ("The answer is B.", 1),
        ("Answer: B", 1), ("answer: (c)", 2), ("The correct answer is B) riding", 1), ("option C because", 2),
        ("I would choose D", 3), ("A", 0), ("A) on", 0), ("A on", 0), ("A is correct", 0), ("The answer is A", 0),
        ("choose a", 0), ("I think it's C.", 2), ("It must be A.", 0), ("The relationship is D) in front of", 3),
        ("<think>Either A or C.</think><answer>C</answer>", 2), ("<think>A) or B)?</think>\n\nD", 3),
        ("<answer>B", 1), ("I cannot be sure, but the answer is D", 3), ("B, since the man is on a horse", 1),
    ],
)  # fmt: skip
def test_letters(text: str, option: int) -> None:
    assert read_choice(text, OPTIONS) == (option, "letter")


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("riding", 1), ("Riding.", 1), ("on", 0), ('"on"', 0), ("The man is on the horse.", 0),
        ("A man is riding a horse.", 1), ("The man is sitting on the horse", 2), ("it is sitting_on", 2),
        ("Certainly! The man is in front of the house.", 3), ("A man is on it", 0), ("Dog is riding", 1),
        ("The relationship between the man and the horse is riding.", 1), ('The word is "on" of course', 0),
    ],
)  # fmt: skip
def test_texts(text: str, option: int) -> None:
    assert read_choice(text, OPTIONS) == (option, "text")


@pytest.mark.parametrize(
    "text",
    [
        "I can't determine the relationship in this image.", "I’m sorry, I cannot see the image.",
        "None of the options fits.", "It is not possible to say. I do not know.", "As an AI, I have no eyes.",
        "There is not enough information on the objects.", "It is hard to tell from the picture.",
    ],
)  # fmt: skip
def test_refusals(text: str) -> None:
    assert read_choice(text, OPTIONS) == (None, "refusal")


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "A) on B) riding C) sitting on D) in front of", "Both B and C", "riding or sitting on",
        "A man", "A horse and a man", "Because", "Cat", "The answer is a horse", "The man depends on the horse.",
        "E", "1", "<answer></answer>", "the answer is B or rather the answer is C", "Something in the picture",
    ],
)  # fmt: skip
def test_what_chooses_nothing(text: str) -> None:
    assert read_choice(text, OPTIONS) == (None, "unparsed")


def test_small_words_do_not_count_inside_a_sentence() -> None:
    options = ("and", "in", "near", "has")
    assert read_choice("The man and the dog stand in a street near a house", options) == (2, "text")
    assert read_choice("The man and the dog", options) == (None, "unparsed")
    assert read_choice("and", options) == (0, "text")


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    option, kind = read_choice(text, OPTIONS)
    assert (option is None) == (kind in ("refusal", "unparsed"))


@given(st.permutations(range(4)), st.sampled_from(["{l}", "{l}) {o}", "Answer: {l}", "({l}) {o}.", "{l} {o}"]))
def test_a_letter_means_its_place_whatever_the_order(order: list[int], form: str) -> None:
    options = [OPTIONS[k] for k in order]
    for k, letter in enumerate(LETTERS):
        assert read_choice(form.format(l=letter, o=options[k]), options).option == k
