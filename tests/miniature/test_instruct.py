"""Instructions: right answers, the probe's words, and never the scene-graph prompt or its layout."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from r1sgg.errors import ConfigError
from r1sgg.graph.text import parse
from r1sgg.miniature import instruct
from r1sgg.miniature.instruct import LETTERS, QUESTIONS, TASKS, choose_relation, instruction, name_relation
from r1sgg.miniature.scenes import scene
from r1sgg.models.coordinates import Placement
from r1sgg.models.families import load_checkpoint
from r1sgg.models.prompts import SHORT_PROMPT
from r1sgg.probing.answers import Choice, read_choice
from r1sgg.probing.prompts import Told, question_text
from r1sgg.probing.questions import Question
from r1sgg.training.rows import TrainingRows, open_source

SCENES = [scene(seed).example for seed in range(80)]
FRAME = (1000.0, 1000.0)


def test_no_task_has_the_scene_graph_prompt_or_a_whole_graph_in_its_layout() -> None:
    rng, layouts = random.Random(0), set()
    for example in SCENES:
        for task in TASKS:
            ask, answer = task(example.graph, rng)
            assert ask != SHORT_PROMPT
            keys = ('{"id":' in answer, '"subject":' in answer)
            layouts.add(keys)
            assert keys != (True, True)
            assert not parse(answer, FRAME).graph.pairs, "our reader finds no relation in it"
    assert layouts == {(False, False), (True, False), (False, True)}, "each half of the layout is taught, apart"


@pytest.mark.parametrize(
    ("told", "named", "boxed"), [("names+boxes", True, True), ("no-names", False, True), ("no-boxes", True, False)]
)
def test_four_way_questions_are_those_of_the_probe(told: Told, named: bool, boxed: bool) -> None:
    """Each is the probe's text for a pair of the scene, of which the letter's option is true and no other."""
    seen = 0
    for seed, example in enumerate(SCENES):
        graph = example.graph
        ask, letter = choose_relation(graph, random.Random(seed))
        if ('the object "' in ask, " at [" in ask) != (named, boxed):
            continue
        seen += 1
        options = tuple(re.split(r" ?[A-D]\) ", ask.partition("options:")[2])[1:])
        place = LETTERS.index(letter)
        asked_of = [
            pair
            for pair in graph.pairs
            if question_text(Question("", example, *pair, options, place), told, Placement(FRAME, FRAME)) == ask
        ]
        true = [{p for q, p in zip(graph.pairs, graph.predicates, strict=True) if q == pair} for pair in asked_of]
        assert any(names & set(options) == {options[place]} for names in true)
    assert seen > 5


def test_letters_are_right_equally_often() -> None:
    drawn = [choose_relation(example.graph, random.Random(seed))[1] for seed, example in enumerate(SCENES * 5)]
    assert {letter: abs(drawn.count(letter) / len(drawn) - 0.25) < 0.08 for letter in LETTERS} == dict.fromkeys(
        "ABCD", True
    )


def test_an_option_by_name_is_read_as_the_letter_before_it() -> None:
    for seed, example in enumerate(SCENES):
        ask, letter = choose_relation(example.graph, random.Random(seed))
        same, named = name_relation(example.graph, random.Random(seed))
        options = re.split(r" ?[A-D]\) ", ask.partition("options:")[2])[1:]
        assert (same, read_choice(named, options)) == (ask, Choice(LETTERS.index(letter), "text"))


def test_a_seed_gives_the_same_instruction_and_all_tasks_occur() -> None:
    asked = [instruction(example.graph, seed) for seed, example in enumerate(SCENES)]
    assert asked == [instruction(example.graph, seed) for seed, example in enumerate(SCENES)]
    assert sum(TASKS.values()) == pytest.approx(1)
    assert {instruct.name_relation, instruct.detect_all} < set(QUESTIONS)
    assert instruct.choose_relation not in QUESTIONS
    for seed, example in enumerate(SCENES):
        assert "nodes" not in instruction(example.graph, seed, QUESTIONS)[1]


def test_a_share_of_the_rows_are_questions_about_the_truth(tiny_checkpoint: Path) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint)
    spec = "scenes:60,seed=5,annotation=vg"
    plain = list(TrainingRows(open_source(spec), checkpoint, completion=True))
    mixed = list(TrainingRows(open_source(f"{spec},questions=20"), checkpoint, completion=True))
    asked = [k for k in range(60) if mixed[k]["prompt"] != plain[k]["prompt"]]
    assert 4 <= len(asked) <= 22
    assert all(mixed[k] == plain[k] for k in set(range(60)) - set(asked))
    for k in asked:
        seed = int(plain[k]["image_id"].removeprefix("scene-"))
        ask, answer = instruction(scene(seed).example.graph, seed, QUESTIONS)
        assert (mixed[k]["prompt"][0]["content"], mixed[k]["completion"][0]["content"]) == (ask, answer)
        assert ask != SHORT_PROMPT


@pytest.mark.parametrize("share", ["0", "100", "half"])
def test_a_share_that_is_no_percentage_is_refused(share: str) -> None:
    with pytest.raises(ConfigError, match="questions"):
        open_source(f"scenes:5,questions={share}")
