"""The endpoint engine against every way a server can be bad; what stops a run, what is one image's own."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from r1sgg.cli import main
from r1sgg.endpoint.engine import Endpoint, EndpointEngine, Prices
from r1sgg.endpoint.http import Failure
from r1sgg.errors import ConfigError, ModelError
from r1sgg.inference.engine import Sampling

from .fake_server import KEY, FakeServer, Said, Site, Time, ask, fails, says

GOOD = says("good").body


def test_500s_and_then_fine(site: Site) -> None:
    site.in_turn(fails(500), fails(502), says("fine"))
    assert ask(site.engine())[0].text == "fine"
    assert len(site.server.asked) == 3


@pytest.mark.parametrize(
    ("bad", "sentence", "tries"),
    [
        (fails(500, "out of\norder"), r"status 500 \(out of order\) \(after 3 tries\)", 3),
        (Said(b"<html><h1>Bad gateway</h1>", 502), r"status 502 \(HTML: <html><h1>Bad gateway</h1>\)", 3),
        (Said(b"<html>Welcome to the hotel</html>"), "expected a response in JSON, found HTML: <html>Welcome", 3),
        (Said(GOOD[:30]), "expected a response in JSON, found {\"choices\"", 3),
        (Said(GOOD[:30], length=500), "the connection broke", 3),
        (Said(b"[1, 2]"), r"expected a response in JSON, found \[1, 2\]", 3),
        (Said(b""), "expected a response in JSON, found nothing", 3),
        (Said(b'{"error": "busy"}'), "found an error: busy", 3),
        (Said(b'{"error": {"code": 502, "message": "partner"}}'), r"status 502 \(partner\)", 3),
        (Said(b'{"generations": [], "id": 1}'), "expected .*choices.*, found the keys generations, id", 1),
        (Said(b'{"choices": []}'), "found the keys choices", 1),
        (Said(b'{"choices": [{"message": "hi"}]}'), "expected a response with choices", 1),
        (says(None), "expected text in choices.0..message.content, found none .finish_reason 'stop'.", 1),
        (says(None, message={"reasoning_content": "A man."}), "but 6 characters of reasoning", 1),
        (says(None, message={"reasoning": "A man."}), "reasoning parser took the whole reply for thoughts", 1),
        (says(None, message={"refusal": "I can't"}), "the model refused: \"I can't\"", 1),
        (says("part", finish="content_filter"), "content filter of the server stopped", 1),
        (fails(413, "too big"), r"status 413 \(too big\); send JPEG, or make the image smaller", 1),
        (fails(400, "bad picture"), r"status 400 \(bad picture\)", 1),
        (fails(422, "what?"), r"status 422 \(what\?\)", 1),
        (Said(b"\x1f\x8b broken", headers={"Content-Encoding": "gzip"}), "the connection broke", 3),
    ],
)  # fmt: skip
def test_one_images_failure_is_its_own(site: Site, bad: Said, sentence: str, tries: int) -> None:
    """Between two images that are answered, one is not: it says why in one sentence, and the run goes on."""
    site.answer = lambda asked: bad if asked.image.width == 9 else says("good")
    before, failed, after = ask(site.engine(retries=2, concurrency=1), 3)
    assert before.text == after.text == "good"
    assert (failed.text, failed.tokens, failed.finish_reason) == ("", 0, "error")
    assert failed.error is not None
    assert re.search(sentence, failed.error), failed.error
    assert failed.error.startswith(site.server.url)
    assert "\n" not in failed.error
    assert len(failed.error) < 400
    assert len(site.server.asked) == 2 + tries


@pytest.mark.parametrize("said", [Said(hangs=True), Said(GOOD, drips=0.05)], ids=["silent", "dripping"])
def test_a_server_that_hangs_is_given_up(site: Site, said: Said) -> None:
    site.answer = lambda asked: said if asked.image.width == 9 else says("good")
    settings = Endpoint("m", site.server.url, retries=1, timeout=0.3, back_off=0.0)
    with EndpointEngine(settings) as engine:  # with the real clock
        before, failed, after = ask(engine, 3)
    assert before.text == after.text == "good"
    assert re.search(r"no.* within 0.3 s \(after 2 tries\)", failed.error or ""), failed.error


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (fails(401, f"wrong key {KEY}"), r"status 401 \(wrong key \*\*\*\); set the environment variable"),
        (fails(402, "pay"), r"status 402 \(pay\); the account has no credit left"),
        (fails(403, "country"), r"status 403 \(country\)"),
        (fails(404, "The model `m` does not exist."), r"status 404 \(The model `m` does not exist.\); check the model"),
        (Said(b"<html>not here", 404), r"status 404 \(HTML: <html>not here\).*most end in /v1"),
        (fails(429, "no money", code="insufficient_quota"), r"status 429 \(no money\); the account has no credit left"),
        (Said(status=308, headers={"Location": "https://elsewhere/v1"}), "redirect to https://elsewhere/v1; use"),
    ],
)
def test_what_every_image_would_meet_stops_at_once(site: Site, bad: Said, sentence: str) -> None:
    site.in_turn(bad)
    with pytest.raises(ModelError, match=sentence) as error:
        ask(site.engine(concurrency=2), 40)
    assert len(site.server.asked) <= 3  # of 40 images, those in flight
    assert KEY not in str(error.value)
    assert "\n" not in str(error.value)
    assert site.time.slept == []


def test_a_403_after_good_answers_is_one_images_own(site: Site) -> None:
    site.in_turn(says("good"), fails(403, "moderation"), says("good"))
    answers = ask(site.engine(concurrency=1), 3)
    assert [a.text for a in answers] == ["good", "", "good"]


def test_nobody_at_the_address() -> None:
    with FakeServer(lambda asked: says("x")) as server:
        url = server.url
    time = Time()
    refused = pytest.raises(ModelError, match=r"no connection \(.*refused.*\); is the server running\?")
    with EndpointEngine(Endpoint("m", url), clock=time, sleep=time.sleep) as engine, refused:
        ask(engine, 5)
    assert time.slept == []


def test_a_server_that_goes_away_is_waited_for_and_then_stops_the_run(site: Site) -> None:
    engine = site.engine(retries=1, concurrency=1, stop_after=3)
    assert ask(engine)[0].text == "hello"
    site.server.server.socket.close()
    engine._transport._client.close()  # the open connection as well
    engine._transport._client = site.engine()._transport._client
    site.server.server.server_close()
    (answer,) = ask(engine)
    assert re.search(r"no connection .*\(after 2 tries\)", answer.error or "")
    with pytest.raises(ModelError, match=r"3 images in a row failed; the last: .*no connection"):
        ask(engine, 9)


def test_failures_in_a_row_stop_the_run_and_an_answer_forgives_them(site: Site) -> None:
    engine = site.engine(retries=0, concurrency=1, stop_after=4)
    site.answer = lambda asked: says("x") if asked.number % 4 == 3 else fails(500)
    assert sum(a.error is None for a in ask(engine, 16)) == 4
    site.in_turn(fails(413))
    assert all(a.error for a in ask(engine, 9))  # too large: the images' fault, not the server's
    site.in_turn(fails(500, "down"))
    with pytest.raises(ModelError, match=r"4 images in a row .*status 500 \(down\)"):
        ask(engine, 9)
    engine._note(Failure("the run was stopped before this image", counts=False))  # another thread's: it says no more


def test_a_run_keeps_what_was_done_and_goes_on(
    site: Site, ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command: one image fails alone, then the key is refused; the next run makes the rest and that one."""
    out = tmp_path / "p.jsonl"
    command = ["generate", "--images", str(ground_truth), "--out", str(out), "--model", "gpt", "--batch-size", "4"]
    command += ["--engine", f"openai:{site.server.url},concurrency=1,retries=0"]
    site.answer = lambda asked: fails(401) if asked.number > 9 else fails(500, "hm") if asked.number == 6 else says("x")
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "status 401" in capsys.readouterr().err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["image_id"] for row in rows] == [f"im{k}" for k in range(8)]
    (failed,) = (row for row in rows if "error" in row)
    assert "status 500 (hm)" in failed["error"]
    assert set(failed) == {"image_id", "error"}
    site.in_turn(says("x"))
    site.server.asked.clear()
    with pytest.raises(SystemExit, match="0"):
        main(command)
    assert len(site.server.asked) == 21 - 8 + 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["image_id"] for row in rows] == [f"im{k}" for k in range(21)]
    assert not any("error" in row for row in rows)


# ---------------------------------------------------------------- keys and settings


def test_the_key_is_in_no_message_and_no_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.in_turn(fails(500, f"your key {KEY} is fine"), says("good"))
    with caplog.at_level(logging.DEBUG):
        engine = site.engine(retries=0)
        (failed,) = ask(engine)
        ask(engine)
    assert failed.error is not None
    assert "your key *** is fine" in failed.error
    assert any(record.name.startswith("httpx") for record in caplog.records)  # something was logged
    seen = [caplog.text, failed.error, engine.name, repr(engine.endpoint), repr(engine.usage), repr(vars(engine))]
    assert not any(KEY in text for text in seen)
    assert KEY in site.server.asked[0].headers["Authorization"]


def test_where_the_key_comes_from(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " other\n")
    ask(site.engine(key_variable="MY_KEY"))
    ask(site.engine(key_variable=""))
    monkeypatch.delenv("OPENAI_API_KEY")
    ask(site.engine())
    assert [a.headers.get("Authorization") for a in site.server.asked] == ["Bearer other", None, None]
    with pytest.raises(ConfigError, match="key: expected it in the environment variable NO_SUCH_KEY, found none"):
        site.engine(key_variable="NO_SUCH_KEY")
    monkeypatch.setenv("MY_KEY", "clé secrète")
    with pytest.raises(ConfigError, match="printable ASCII in the environment variable MY_KEY") as error:
        site.engine(key_variable="MY_KEY")
    assert "secr" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": ""}, "model: expected a name"),
        ({"base_url": "localhost:8000"}, "base_url: expected http"),
        ({"base_url": "https://me:secret@host/v1"}, "without key or query, found another"),
        ({"base_url": "https://host/v1?key=secret"}, r"key or query, found one with \?; options follow a comma"),
        ({"base_url": "http://host:99999999/v1"}, "base_url: expected http"),
        ({"server": "azure"}, "server: expected openai or vllm or r1sgg or plain, found 'azure'"),
        ({"concurrency": 0}, "concurrency: expected 1 or more, found 0"),
        ({"requests_per_minute": 0.0}, "requests_per_minute: expected more than 0"),
        ({"timeout": float("inf")}, "timeout: expected seconds"),
        ({"retries": -1}, "retries: expected 0 or more"),
        ({"back_off": -1.0}, "back_off: expected seconds"),
        ({"stop_after": 0}, "stop_after: expected 1 or more"),
        ({"stages": 3}, "stages: expected 1 or 2"),
        ({"image_format": "gif"}, "image_format: expected jpeg or png"),
        ({"prices": Prices(-1.0, 0.0)}, "prices: expected 0 or more"),
        ({"budget": 1.0}, "budget: expected prices too"),
    ],
)
def test_a_wrong_setting_is_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        Endpoint(**{"model": "m", **settings})
    assert "secret" not in str(error.value)


def test_an_image_that_jpeg_cannot_hold_is_its_own_failure(site: Site) -> None:
    images = [Image.new("RGB", size) for size in ((8, 8), (65_501, 1))]
    chats: Sequence[list[dict[str, Any]]] = [[{"role": "user", "content": "?"}]] * 2
    fine, failed = site.engine().generate(images, chats, Sampling())
    assert fine.text == "hello"
    assert "at most 65500 for JPEG, found 65501x1" in (failed.error or "")
    assert all(a.error is None for a in site.engine(image_format="png").generate(images, chats, Sampling()))


def test_no_images_ask_nothing(site: Site) -> None:
    assert site.engine().generate([], [], Sampling()) == []
    assert site.server.asked == []
    assert json.loads(GOOD)["choices"]
