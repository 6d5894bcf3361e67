"""Captions of drawn scenes: what they may say, and that the route from them finds most of it."""

import re
from pathlib import Path

from r1sgg.data.base import read_ground_truth
from r1sgg.data.captions.provenance import KEY
from r1sgg.data.captions.records import Captioned
from r1sgg.data.captions.sources import read_captions
from r1sgg.data.sources import open_data
from r1sgg.graph.synonyms import of_object
from r1sgg.judging.triplets import match_triplets
from r1sgg.miniature.describing import _WORDS, VOCABULARY, captioned, describe, from_captions
from r1sgg.miniature.procedural.annotation import Captions
from r1sgg.miniature.scenes import HARD, SMALL, scene, split_seeds, write_scenes

SEEDS = range(300)


def test_captions_repeat_and_vary_as_promised() -> None:
    truths = [scene(seed, HARD).example.graph for seed in SEEDS]
    texts = [describe(truth, seed)[0] for truth, seed in zip(truths, SEEDS, strict=True)]
    assert texts == [describe(truth, seed)[0] for truth, seed in zip(truths, SEEDS, strict=True)]
    together = " ".join(texts)
    for pattern in (
        r"\b(ridden|held|worn) by\b",
        r"\b[Tt]wo \w+s\b|\b[Tt]wo \w*men\b",
        r"\bbicycle\b",
        r"\bwho \w+s\b",
        r"\bwhile\b",
    ):
        assert re.search(pattern, together), pattern
    assert all(text.endswith(".") and text[0].isupper() for text in texts)


def test_every_word_of_a_caption_is_a_name_of_the_scenes_or_another_for_one() -> None:
    for label, words in _WORDS.items():
        for word in words:
            head = word.rpartition(" ")[2]
            assert label in (word, head, *of_object(word), *of_object(head)), (label, word)


def test_the_route_finds_most_of_what_captions_say_and_little_else() -> None:
    hits = made = true = 0
    for seed in SEEDS:
        truth = scene(seed, SMALL).example
        example = from_captions(truth, seed)
        assert VOCABULARY.covers(example.graph)
        assert len(example.graph) == len(truth.graph)  # every given box is kept
        assert len(example.meta[KEY]["triplets"]) == len(example.graph.pairs)
        match = match_triplets(truth.graph, example.graph)
        hits, made, true = hits + match.true_positives, made + match.counted, true + match.distinct_true
    assert 0.9 < hits / made <= 1
    assert 0.45 < hits / true < 0.85  # two or three relations are mentioned, not all


def test_a_hard_scene_works_too() -> None:
    for seed in range(20):
        truth = scene(seed, HARD).example
        assert VOCABULARY.covers(from_captions(truth, seed).graph)


def test_written_captions_are_what_data_captions_reads(tmp_path: Path) -> None:
    write_scenes(tmp_path, 5, 3, SMALL, annotation=Captions())
    records = list(read_captions(tmp_path / "captions.jsonl", "jsonl"))
    full = list(read_ground_truth(tmp_path / "full.jsonl"))
    for record, example, seed in zip(records, full, split_seeds("train", 3, 5), strict=True):
        assert isinstance(record, Captioned)
        assert (record.image_id, record.coco_id) == (example.image_id, "")
        assert record.captions == captioned(example, seed).captions
    drawn = open_data("scenes:5,seed=3,preset=small,annotation=captions")
    made = [example.graph for example in read_ground_truth(tmp_path / "gt.jsonl")]
    assert [drawn[k].graph for k in range(5)] == made
