"""The whole probe with scripted engines: what must come out is known beforehand. And resuming, scoring, numbers."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

from r1sgg.data.base import read_ground_truth
from r1sgg.data.images import open_image
from r1sgg.errors import ConfigError, InputError, ModelError
from r1sgg.models.families import Checkpoint
from r1sgg.models.prompts import Message
from r1sgg.probing.numbers import chance_interval, conclusions
from r1sgg.probing.plan import SEPARATOR, Probe
from r1sgg.probing.prompts import SETTINGS, parse_settings
from r1sgg.probing.questions import LETTERS
from r1sgg.probing.run import Outcome, run

from .conftest import Script, Scripted

QUICK = {"resamples": 50}


def truth(scenes: Path) -> dict[str, str]:
    """The right letter by question."""
    return {q.id: LETTERS[q.answer] for q in Probe().questions(scenes).questions}


def probe(scenes: Path, out: Path, checkpoint: Checkpoint, script: Script, **changes: object) -> Outcome:
    return run(scenes, out, checkpoint, Scripted(script), Probe(**{**QUICK, **changes}), batch_size=16)


def listed(text: str) -> list[str]:
    """The options of a question's text."""
    body = text.partition("options: A) ")[2]
    for letter in LETTERS[1:]:
        body = body.replace(f" {letter}) ", "|")
    return body.split("|")


# ---------------------------------------------------------------- oracles


def test_who_is_always_right_gets_everything(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    right = truth(scenes)
    outcome = probe(scenes, tmp_path, checkpoint, lambda image, text, key: right[key.partition(SEPARATOR)[0]])
    written = orjson.loads((tmp_path / "results.json").read_bytes())
    assert list(written) == [str(setting) for setting in SETTINGS]
    for row in written.values():
        assert (row["acc"], row["macc"], row["unparsed"], row["refused"], row["n"]) == (1, 1, 0, 0, len(right))
        assert row["intervals"]["acc"] == [1, 1]
        assert all(entry["acc"] == 1 for entry in row["per_predicate"].values())
    assert written == json.loads(json.dumps(outcome.results))


def test_who_always_says_a_gets_a_quarter(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    outcome = probe(scenes, tmp_path, checkpoint, lambda image, text, key: "A", settings=SETTINGS[:1])
    (row,) = outcome.results.values()
    low, high = row["chance"]["interval"]
    assert low <= row["acc"] <= high
    assert abs(row["acc"] - 0.25) <= 1 / row["n"], "positions are balanced, so it is a quarter but for the rest"
    assert row["letters"] == {"A": 1, "B": 0, "C": 0, "D": 0}


def test_who_answers_from_names_alone_loses_nothing_by_masking(
    scenes: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    def from_names(image: Image.Image, text: str, key: str) -> str:
        options = listed(text)
        names = text.partition(" in an image")[0] if '"' in text else ""
        return min(options, key=lambda option: hashlib.sha256((names + option).encode()).hexdigest())

    outcome = probe(scenes, tmp_path, checkpoint, from_names)
    for name, row in outcome.results.items():
        if not name.startswith("original"):
            assert row["against_original"]["difference"] == {"value": 0, "interval": [0, 0]}
            assert row["against_original"]["text_bias"]["value"] == 1
    assert outcome.results["original/no-names"]["unparsed"] == 0


def test_who_refuses_gets_nothing_and_that_is_seen(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    sorry = "I'm sorry, I cannot determine this."
    outcome = probe(scenes, tmp_path, checkpoint, lambda image, text, key: sorry, settings=SETTINGS[:1])
    (row,) = outcome.results.values()
    assert (row["acc"], row["macc"], row["unparsed"], row["refused"], row["acc_parsed"]) == (0, 0, 1, 1, None)
    assert any("100.0 % refuse" in sentence for sentence in outcome.summary["conclusions"])


def test_gibberish_is_unparsed_but_no_refusal(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    outcome = probe(scenes, tmp_path, checkpoint, lambda image, text, key: "zzz", settings=SETTINGS[:1])
    (row,) = outcome.results.values()
    assert (row["acc"], row["unparsed"], row["refused"]) == (0, 1, 0)


def test_who_needs_the_objects_shows_the_expected_order(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    right = truth(scenes)
    whole = {open_image(e.image).tobytes() for e in read_ground_truth(scenes) if e.image is not None}

    def seeing(image: Image.Image, text: str, key: str) -> str:
        noisy = np.abs(np.diff(np.asarray(image)[:8].astype(int), axis=1)).mean() > 60
        half = hashlib.sha256(key.encode()).digest()[0] % 2
        knows = image.tobytes() in whole or (half and not noisy)
        return right[key.partition(SEPARATOR)[0]] if knows else "A"

    outcome = probe(scenes, tmp_path, checkpoint, seeing, settings=parse_settings("*/names+boxes"))
    acc = {name.partition("/")[0]: row["acc"] for name, row in outcome.results.items()}
    assert acc["original"] == 1 > acc["masked-objects"] > acc["masked-image"]
    assert outcome.results["masked-image/names+boxes"]["against_original"]["difference"]["interval"][1] < 0
    text = " ".join(outcome.summary["conclusions"])
    assert "the original image 100.0 %, both objects black" in text
    assert "the model uses what was hidden" in text


# ---------------------------------------------------------------- files, resuming, failures


def test_a_killed_run_goes_on_and_gives_the_same_file(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    right = truth(scenes)
    plan = Probe(settings=SETTINGS[:2], limit=20, **QUICK)

    class Killed(Scripted):
        def generate(self, *arguments: object) -> list:
            if self.calls == 5:
                raise KeyboardInterrupt
            return super().generate(*arguments)

    def script(image: Image.Image, text: str, key: str) -> str:
        return right[key.partition(SEPARATOR)[0]] if "7" in key else "A"

    whole = run(scenes, tmp_path / "whole", checkpoint, Scripted(script), plan, batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        run(scenes, tmp_path / "killed", checkpoint, Killed(script), plan, batch_size=3)
    done = (tmp_path / "killed" / "answers.jsonl").read_bytes().count(b"\n")
    assert 0 < done < whole.asked
    again = run(scenes, tmp_path / "killed", checkpoint, Scripted(script), plan, batch_size=3)
    assert again.asked == whole.asked - done
    for name in ("answers.jsonl", "results.json", "questions.jsonl", "figure.svg", "summary.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert run(scenes, tmp_path / "killed", checkpoint, Scripted(script), plan, batch_size=3).asked == 0


def test_other_questions_or_settings_do_not_continue_a_run(
    scenes: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    def ask(**changes: object) -> Outcome:
        settings = {"settings": SETTINGS[:1], "limit": 3, **changes}
        return probe(scenes, tmp_path, checkpoint, lambda image, text, key: "A", **settings)

    ask()
    for changes, field in (
        ({"seed": 1}, "questions"),
        ({"settings": SETTINGS[:2]}, "settings"),
        ({"boxes": "pixels"}, "boxes"),
        ({"max_new_tokens": 3}, "sampling"),
    ):
        with pytest.raises(InputError, match=f"answers.jsonl: {field}"):
            ask(**changes)


def test_batches_and_single_questions_are_answered_alike(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    def by_picture_and_words(image: Image.Image, text: str, key: str) -> str:
        return LETTERS[hashlib.sha256(image.tobytes() + text.encode() + key.encode()).digest()[0] % 4]

    plan = Probe(limit=6, **QUICK)
    for size in (1, 7):
        run(scenes, tmp_path / str(size), checkpoint, Scripted(by_picture_and_words), plan, batch_size=size)
    assert (tmp_path / "1/answers.jsonl").read_bytes() == (tmp_path / "7/answers.jsonl").read_bytes()


def test_an_image_that_cannot_be_opened_is_not_counted(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    examples = list(read_ground_truth(scenes))
    asked = Probe().questions(scenes).questions
    gone = asked[0].example.image_id
    rows = [e.to_record() | ({"image": "gone.png"} if e.image_id == gone else {}) for e in examples]
    path = tmp_path / "gt.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    outcome = probe(path, tmp_path / "out", checkpoint, lambda image, text, key: "A", settings=SETTINGS[:2])
    missing = sum(q.example.image_id == gone for q in asked)
    for row in outcome.results.values():
        assert (row["errors"], row["n"]) == (missing, len(asked) - missing)
        assert row["images"] == len({q.example.image_id for q in asked}) - 1
    assert outcome.failed == 2 * missing


def test_the_question_is_in_the_family_s_coordinates_or_in_pixels(
    scenes: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    texts: list[str] = []

    def listen(image: Image.Image, text: str, key: str) -> str:
        texts.append(text)
        return "A"

    for boxes, size in (("family", "(1000x1000)"), ("pixels", "(112x112)")):
        texts.clear()
        probe(scenes, tmp_path / boxes, checkpoint, listen, settings=SETTINGS[:1], limit=2, boxes=boxes)
        assert texts
        assert all(size in text for text in texts)
    with pytest.raises(ConfigError, match="boxes: expected one of family, pixels"):
        Probe(boxes="inches")
    with pytest.raises(ConfigError, match="answering: expected one of"):
        Probe(answering="shout")


# ---------------------------------------------------------------- scoring


class Preferring(Scripted):
    """Gives letters log-probabilities: a liking for each letter, and for each option's words."""

    def __init__(self, letters: Sequence[float], words: dict[str, float]) -> None:
        super().__init__(lambda image, text, key: "")
        self.letters, self.words = letters, words

    def next_token_logprobs(
        self, images: Sequence[Image.Image], messages: Sequence[list[Message]], words: Sequence[str]
    ) -> list[list[float]]:
        self.calls += 1
        rows = [listed(chat[-1]["content"]) for chat in messages]
        return [[a + self.words.get(o, 0.0) - 3 for a, o in zip(self.letters, row, strict=True)] for row in rows]


def score(scenes: Path, out: Path, checkpoint: Checkpoint, engine: Preferring, answering: str) -> dict[str, dict]:
    plan = Probe(settings=SETTINGS[:1], answering=answering, **QUICK)
    return run(scenes, out, checkpoint, engine, plan, batch_size=16).results


def test_permutations_take_away_a_liking_for_a_letter(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    liking = {"near": 1.0}
    asked = Probe().questions(scenes).questions
    plain = score(scenes, tmp_path / "a", checkpoint, Preferring((0, 5, 0, 0), liking), "letters")
    fair = score(scenes, tmp_path / "b", checkpoint, Preferring((0, 5, 0, 0), liking), "logprobs")
    assert plain["original/names+boxes"]["letters"]["B"] == 1
    rows = [orjson.loads(line) for line in (tmp_path / "b/answers.jsonl").read_bytes().splitlines()]
    with_near = [(q, row) for q, row in zip(asked, rows, strict=True) if "near" in q.options]
    assert with_near
    assert all(q.options[LETTERS.index(row["choice"])] == "near" for q, row in with_near)
    assert fair["original/names+boxes"]["unparsed"] == 0
    only_letters = score(scenes, tmp_path / "c", checkpoint, Preferring((0, 5, 0, 0), {}), "logprobs")
    assert abs(only_letters["original/names+boxes"]["acc"] - 0.25) <= 1 / len(asked), "all equal: the first option"


def test_scores_are_log_probabilities_among_the_four(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    score(scenes, tmp_path, checkpoint, Preferring((0.0, 1.0, 2.0, 3.0), {}), "letters")
    row = orjson.loads((tmp_path / "answers.jsonl").read_bytes().split(b"\n")[0])
    assert row["choice"] == "D"
    assert row["kind"] == "scored"
    assert math.isclose(sum(map(math.exp, row["scores"])), 1, abs_tol=1e-6)


def test_an_engine_without_probabilities_says_so(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(ModelError, match="expected an engine that returns probabilities of letters, found scripted"):
        probe(scenes, tmp_path, checkpoint, lambda image, text, key: "A", answering="letters")


# ---------------------------------------------------------------- numbers


def test_macc_is_the_mean_over_images(scenes: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    right = truth(scenes)
    asked = Probe().questions(scenes).questions
    first = asked[0].example.image_id

    def script(image: Image.Image, text: str, key: str) -> str:
        question = key.partition(SEPARATOR)[0]
        return right[question] if question.startswith(f"{first}#") else "none of these"

    outcome = probe(scenes, tmp_path, checkpoint, script, settings=SETTINGS[:1])
    (row,) = outcome.results.values()
    mine = sum(q.example.image_id == first for q in asked)
    assert row["acc"] == mine / len(asked)
    assert row["macc"] == 1 / len({q.example.image_id for q in asked})
    assert row["acc_parsed"] == 1
    assert row["unparsed"] == row["refused"] == pytest.approx(1 - mine / len(asked))


def test_the_interval_of_chance_holds_guessers() -> None:
    low, high = chance_interval(400)
    draws = np.random.default_rng(0).binomial(400, 0.25, 20000) / 400
    assert 0.945 <= ((draws >= low) & (draws <= high)).mean() <= 0.97
    assert chance_interval(0) is None
    assert chance_interval(4) == [0, 0.75]


def test_no_conclusion_about_the_image_from_a_model_at_chance(
    scenes: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    outcome = probe(
        scenes, tmp_path, checkpoint, lambda i, t, k: "A", settings=parse_settings("*/no-boxes"), resamples=0
    )
    text = " ".join(conclusions(outcome.results))
    assert "not above chance" in text
    assert "uses what was hidden" not in text
    assert outcome.results["masked-image/no-boxes"]["intervals"]["acc"] is None
