"""Prompts and the settings that name them."""

import dataclasses
import json
from pathlib import Path

import pytest

from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.text import Frame, parse
from r1sgg.models.prompts import SETTINGS_FILE, AnswerSettings, build_messages, recipe_prompt, with_image

PAPER = AnswerSettings()
COMPACT = AnswerSettings(answer_format="compact")


def text_of(settings: AnswerSettings, frame: Frame = (1000.0, 1000.0)) -> str:
    return str(build_messages(settings, frame)[-1]["content"])


@pytest.mark.parametrize("settings", [PAPER, COMPACT], ids=["json", "compact"])
@pytest.mark.parametrize("frame", [(1000.0, 1000.0), (336.0, 224.0), (28.0, 28.0)])
def test_the_worked_example_is_a_right_answer_in_its_frame(frame: Frame, settings: AnswerSettings) -> None:
    example = text_of(settings, frame=frame).split("Example:\n")[1]
    parsed = parse(example.split("\n\n")[0], frame)
    assert not parsed.issues
    assert parsed.graph.labels == ("person", "bike", "helmet", "tree")
    assert parsed.graph.triplets[0] == ("person", "riding", "bike")


def test_the_paper_prompt_says_what_the_paper_s_says() -> None:
    text = text_of(PAPER)
    for part in ('"objects"', '"relationships"', "unique", "integers", "all visible objects", "stand alone"):
        assert part in text
    assert text.endswith("complete scene graph of the image.")


def test_a_closed_prompt_lists_the_names_as_published(tmp_path: Path) -> None:
    def closed(vocabulary: str) -> str:
        return text_of(dataclasses.replace(PAPER, vocabulary=vocabulary))

    assert "airplane, animal" in closed("vg150")
    assert "in front of" in closed("vg150")
    assert "door-stuff" in closed("psg")
    assert "Use only" not in closed("open")
    (tmp_path / "mine.json").write_text(json.dumps({"objects": [], "predicates": ["on"]}))
    assert closed(str(tmp_path / "mine.json")) == f"{closed('open')}\n\nUse only these predicates: on."
    with pytest.raises(InputError, match="vocabulary 'nowhere'"):
        closed("nowhere")


def test_each_setting_changes_the_chat() -> None:
    assert [m["role"] for m in build_messages(PAPER)] == ["user"]
    thinking = build_messages(AnswerSettings(think=True))
    assert [m["role"] for m in thinking] == ["system", "user"]
    assert "<think>" in thinking[0]["content"]
    assert "<answer>" in thinking[0]["content"]
    assert "\n" not in text_of(AnswerSettings(prompt="short"))
    assert "of size 336 x 224" in text_of(AnswerSettings(image_size=True), frame=(336.0, 224.0))
    assert "of size" not in text_of(PAPER)


def test_the_compact_prompt_asks_for_lines_and_says_the_rest_as_the_other_does() -> None:
    text, other = text_of(COMPACT), text_of(PAPER)
    assert "{" not in text
    assert "JSON" not in text
    assert "\nperson riding bike\n" in text
    for line in other.split("\n"):
        if "visible objects" in line or "stand alone" in line or "complete scene graph" in line:
            assert line in text
    short = text_of(AnswerSettings(prompt="short", answer_format="compact"))
    assert "compact" in short
    assert "JSON" not in short
    assert "of size 336 x 224" in text_of(AnswerSettings(image_size=True, answer_format="compact"), frame=(336, 224))


def test_the_image_goes_before_the_last_message_s_text() -> None:
    messages = build_messages(AnswerSettings(think=True))
    *_, last = with_image(messages)
    assert [part["type"] for part in last["content"]] == ["image", "text"]
    assert isinstance(messages[-1]["content"], str), "the chat given in is left as it was"


def test_settings_survive_the_file(tmp_path: Path) -> None:
    settings = AnswerSettings("short", True, True, "vg150", True, "compact")
    settings.write(tmp_path)
    assert AnswerSettings.read(tmp_path) == settings


def test_a_folder_without_settings_gets_the_paper_s_prompt(tmp_path: Path) -> None:
    assert AnswerSettings.read(tmp_path) == AnswerSettings(prompt="paper", think=False, minify=False)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"thinking": True}, "'thinking'"),
        ({"think": 1}, "think: expected a value like False, found 1"),
        ({"prompt": "long"}, "prompt: expected paper or short or own, found 'long'"),
        ({"answer_format": "xml"}, "answer_format: expected json or compact, found 'xml'"),
        ({"prompt": "own"}, "own: expected a text where prompt is own"),
        ({"own": "Go."}, "own: expected a text where prompt is own"),
        ([1], "expected a JSON object, found list"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, record: object, message: str) -> None:
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"r1sgg\.json") as caught:
        AnswerSettings.read(tmp_path)
    assert message in str(caught.value)


def test_broken_settings_are_named(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("{")
    with pytest.raises(InputError, match="broken JSON"):
        AnswerSettings.read(tmp_path)


NOTICE = "prompt: short is now called wording: short"


@pytest.mark.parametrize(
    ("own", "prompt", "wording", "vocabulary", "changes"),
    [
        ({}, None, None, "psg", {}),
        ({}, None, "short", None, {"prompt": "short", "own": "", "system": "", "column": ""}),
        ({}, "short", None, None, {"prompt": "short", "own": "", "system": "", "column": ""}),
        ({}, "open", None, None, {"own": "", "system": "", "column": "", "vocabulary": "open"}),
        ({}, "closed", None, None, {"own": "", "system": "", "column": "", "vocabulary": "vg150"}),
        ({}, "closed", "short", "psg", {"prompt": "short", "own": "", "system": "", "column": "", "vocabulary": "psg"}),
        (
            {"prompt": "own", "own": "Graph?"},
            "open",
            None,
            None,
            {"prompt": "paper", "own": "", "system": "", "column": "", "vocabulary": "open"},
        ),
        ({}, "column:ask", None, None, {"column": "ask"}),
    ],
)
def test_a_recipe_names_prompts_as_every_command_does(
    own: dict[str, str],
    prompt: str | None,
    wording: str | None,
    vocabulary: str | None,
    changes: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert recipe_prompt(AnswerSettings(**own), prompt, wording, vocabulary) == changes  # type: ignore[arg-type]
    assert (NOTICE in caplog.text) == (prompt == "short")


@pytest.mark.parametrize(
    ("prompt", "wording", "vocabulary", "says"),
    [
        ("closed", None, "open", "a closed prompt needs names"),
        ("open", None, "vg150", "the prompt open lists no names; add prompt: closed"),
        (None, "long", None, "wording: expected paper or short, found 'long'"),
        ("column:ask", "short", None, "wording: expected none beside the prompt column:ask"),
        ("nowhere.txt", None, None, "prompt: expected open, closed, a file or column:NAME, found 'nowhere.txt'"),
    ],
)
def test_a_contradicting_prompt_of_a_recipe_is_one_sentence(
    prompt: str | None, wording: str | None, vocabulary: str | None, says: str
) -> None:
    with pytest.raises(ConfigError) as error:
        recipe_prompt(AnswerSettings(), prompt, wording, vocabulary)
    assert says in str(error.value)
