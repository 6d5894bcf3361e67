"""The endpoint engine against a server on loopback: what is sent and read, order, seeds, counting, waiting."""

import itertools
import threading

import pytest
from PIL import Image

from r1sgg.endpoint.engine import Prices, Usage
from r1sgg.endpoint.http import Gate
from r1sgg.errors import ConfigError, ModelError
from r1sgg.inference.engine import LogProbs, Piece, Sampling

from .fake_server import KEY, Asked, Said, Site, Time, ask, fails, says

# ---------------------------------------------------------------- what is sent and read


def test_the_request_is_what_the_format_says(site: Site) -> None:
    (answer,) = ask(site.engine(image_format="png"), sampling=Sampling(max_new_tokens=50))
    (asked,) = site.server.asked
    assert (answer.text, answer.tokens, answer.finish_reason, answer.error) == ("hello", 3, "stop", None)
    assert answer.logprobs is answer.pieces is None
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    system, user = asked.body.pop("messages")
    assert system == {"role": "system", "content": "be exact"}
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]
    assert user["content"][1]["text"] == "what is in 0?"
    assert asked.body == {"model": "m", "temperature": 0.0, "max_completion_tokens": 50}


@pytest.mark.parametrize(("kind", "exact"), [("png", True), ("jpeg", False)])
def test_png_is_exact_and_jpeg_close(site: Site, kind: str, exact: bool) -> None:
    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    site.engine(image_format=kind).generate([picture], [[{"role": "user", "content": "?"}]], Sampling())
    (asked,) = site.server.asked
    assert asked.image.format == kind.upper()
    pairs = list(zip(asked.image.tobytes(), picture.tobytes(), strict=True))
    assert (max(abs(a - b) for a, b in pairs) == 0) is exact
    assert sum(abs(a - b) for a, b in pairs) / len(pairs) < 3


def test_only_what_the_kind_of_server_knows_is_sent(site: Site) -> None:
    drawn = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=9)
    for kind in ("openai", "vllm", "plain"):
        ask(site.engine(server=kind), sampling=drawn, pieces=True)
    ask(site.engine(server="vllm"), sampling=Sampling(temperature=0.7, top_k=40))
    openai, vllm, plain = [set(a.body) - {"model", "messages", "temperature", "top_p"} for a in site.server.asked[:3]]
    assert openai == {"max_completion_tokens", "seed", "logprobs"}
    assert vllm == {"max_tokens", "seed", "logprobs", "top_k", "min_p", "repetition_penalty"}
    assert plain == {"max_tokens"}
    assert [site.server.asked[k].body["top_k"] for k in (1, 3)] == [-1, 40]
    with pytest.raises(ConfigError, match=r"top_k: expected 0 for a server of kind 'openai'.*found 40"):
        ask(site.engine(), sampling=Sampling(temperature=0.7, top_k=40))
    assert len(site.server.asked) == 4


def test_extra_fields_are_sent_and_cannot_take_the_engines_own(site: Site) -> None:
    engine = site.engine(extra={"reasoning_effort": "low"})
    ask(engine)
    assert site.server.asked[0].body["reasoning_effort"] == "low"
    assert engine.name != site.engine().name  # a run is not continued with other fields
    with pytest.raises(ConfigError, match=r"extra: .*found 'model'"):
        ask(site.engine(extra={"model": "other"}))


def test_seeds_belong_to_images(site: Site) -> None:
    engine = site.engine()
    site.answer = lambda asked: says(str(asked.body["seed"]))
    drawn = Sampling(temperature=1.0, seed=3)
    first = {key: a.text for key, a in zip("abc", ask(engine, 3, drawn, keys=list("abc")), strict=True)}
    again = {key: a.text for key, a in zip("cb", ask(engine, 2, drawn, keys=list("cb")), strict=True)}
    assert len(set(first.values())) == 3
    assert again == {"c": first["c"], "b": first["b"]}
    assert ask(engine, 1, Sampling(temperature=1.0, seed=4), keys=["a"])[0].text != first["a"]
    assert all(0 <= int(seed) < 1 << 31 for seed in first.values())
    ask(engine)
    assert "seed" not in site.server.asked[-1].body  # greedy


def test_order_is_kept_and_no_answers_are_crossed(site: Site) -> None:
    """Each answer names its image; the first images' answers are held back until the last ones are out."""
    late, rounds = threading.Event(), 24

    def answer(asked: Asked) -> Said:
        number = asked.image.width - 8
        if number < 3:
            assert late.wait(20)
        if number == rounds - 1:
            late.set()
        text = asked.body["messages"][1]["content"][1]["text"]
        return says(f"{number} {asked.image.getpixel((0, 0))[0]} {text}")

    site.answer = answer
    answers = ask(site.engine(concurrency=4, image_format="png"), rounds)
    assert [a.text for a in answers] == [f"{k} {k} what is in {k}?" for k in range(rounds)]
    first_asked = [asked.image.width - 8 for asked in site.server.asked]
    assert sorted(first_asked) == list(range(rounds))


def test_concurrency_is_a_limit(site: Site) -> None:
    inside, most, lock = 0, [0], threading.Lock()
    both = threading.Barrier(2)

    def answer(asked: Asked) -> Said:
        nonlocal inside
        with lock:
            inside += 1
            most.append(inside)
        both.wait(20)  # two at a time, or this would never pass
        with lock:
            inside -= 1
        return says("x")

    site.answer = answer
    ask(site.engine(concurrency=2), 10)
    assert max(most) == 2


def test_logprobs_become_pieces_of_the_text(site: Site) -> None:
    tokens = [("{", b"{"), ("\\x", "é".encode()[:1]), ("\\y", "é".encode()[1:]), ("}", b"}"), ("<|end|>", b"<|end|>")]
    rows = [
        {"token": t, "logprob": -0.25 * (k + 1), "bytes": list(b), "top_logprobs": []}
        for k, (t, b) in enumerate(tokens)
    ]
    site.answer = lambda asked: says("{é}", logprobs={"content": rows})
    (answer,) = ask(site.engine(), pieces=True)
    assert site.server.asked[0].body["logprobs"] is True
    assert answer.pieces == (Piece("{", -0.25), Piece("é", -1.25), Piece("}", -1.0))
    assert answer.logprobs == LogProbs(-3.75, -0.75)
    site.answer = lambda asked: says("something else", logprobs={"content": rows})
    (answer,) = ask(site.engine(), pieces=True)
    assert answer.pieces is None
    assert "logprobs" not in (ask(site.engine()), site.server.asked[-1].body)[1]


@pytest.mark.parametrize(
    ("said", "text", "finish"),
    [
        (says("cut", finish="length"), "cut", "length"),
        (says(None, finish="length"), "", "length"),
        (
            says(
                [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
            ),
            "ab",
            "stop",
        ),  # type: ignore[arg-type]
        (says("done", finish="eos"), "done", "stop"),
    ],
)
def test_finish_reasons_and_parts(site: Site, said: Said, text: str, finish: str) -> None:
    site.in_turn(said)
    (answer,) = ask(site.engine())
    assert (answer.text, answer.finish_reason, answer.error) == (text, finish, None)


# ---------------------------------------------------------------- counting


def test_tokens_and_cost_are_counted(site: Site) -> None:
    engine = site.engine(prices=Prices(2.0, 10.0))
    site.in_turn(says("a", tokens=(1000, 20)), fails(500), says("b", tokens=(500, 10)), says("c", tokens=None))
    ask(engine, 3)
    assert engine.usage == Usage(3, 1, 1500, 30, 1, pytest.approx((1500 * 2 + 30 * 10) / 1e6))
    assert site.engine().usage.cost is None


def test_the_budget_ends_the_run(site: Site) -> None:
    engine = site.engine(prices=Prices(1.0, 1.0), budget=25e-6, concurrency=1)  # an answer costs 10e-6
    with pytest.raises(ModelError, match=r"budget of 2\.5e-05 is spent"):
        ask(engine, 9)
    assert engine.usage.answers == 3


# ---------------------------------------------------------------- waiting


def test_requests_keep_to_the_rate(site: Site) -> None:
    at: list[float] = []
    site.answer = lambda asked: (at.append(site.time.now), fails(500) if asked.number == 2 else says("x"))[1]
    ask(site.engine(requests_per_minute=30, concurrency=1, back_off=0.0), 5)
    assert at == [0, 2, 4, 6, 8, 10]  # six requests, the retry among them
    at.clear()
    ask(site.engine(concurrency=1), 5)
    assert at == [10.0] * 5


def test_a_gate_gives_places_apart_to_many_threads() -> None:
    time = Time()
    gate, places, stop = Gate(60, time), [], threading.Event()
    threads = [threading.Thread(target=lambda: places.append(gate.enter(time.sleep, stop))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    places.sort()
    assert all(b - a >= 1 - 1e-9 for a, b in itertools.pairwise(places))
    time.now = places[-1] + 100
    gate.hold(30)
    assert gate.enter(time.sleep, stop) == places[-1] + 130


def test_waits_double_and_obey_retry_after(site: Site) -> None:
    dates = {"Date": "Mon, 05 Jan 2026 10:00:00 GMT", "Retry-After": "Mon, 05 Jan 2026 10:00:40 GMT"}
    site.in_turn(
        fails(500),
        fails(503),
        fails(429, headers={"Retry-After": "30"}),
        fails(429, headers=dates),
        fails(500, headers={"Retry-After": "soon"}),
        says("at last"),
    )
    (answer,) = ask(site.engine(back_off=1.0))
    assert answer.text == "at last"
    assert site.time.slept == [0.75, 1.5, 30.0, 40.0, 12.0]  # 1, 2, 4, 8, 16 s, shortened by a quarter


def test_a_full_server_is_left_alone_by_all(site: Site) -> None:
    at: list[float] = []
    site.answer = lambda asked: (
        at.append(site.time.now),
        fails(429, headers={"Retry-After": "20"}) if asked.number == 0 else says("x"),
    )[1]
    ask(site.engine(concurrency=1, retries=0), 2)
    assert at == [0, 0]
    engine = site.engine(concurrency=1)
    site.server.asked.clear()
    at.clear()
    ask(engine, 2)
    assert at == [0, 20, 20]


def test_a_server_that_is_closed_for_the_day_stops_the_run(site: Site) -> None:
    site.in_turn(fails(429, "daily limit", headers={"Retry-After": "40000"}))
    with pytest.raises(ModelError, match=r"status 429 \(daily limit\).*asks to wait 40000 s"):
        ask(site.engine())
    assert site.time.slept == []
