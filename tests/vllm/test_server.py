"""vLLM's server with the guide, asked over loopback; it starts, answers, refuses what it can't do, and ends."""

import base64
import dataclasses
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from r1sgg.endpoint.engine import Endpoint, EndpointEngine
from r1sgg.graph.text import parse
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.models.families import load_model

from .conftest import MAX_PIXELS, Asked, Server
from .test_guide import CLOSED, FRAME, PLAIN, faults

GREEDY = Sampling(max_new_tokens=200)
SAMPLED = Sampling(temperature=1.0, max_new_tokens=200)


def asking(server: Server, kind: str) -> EndpointEngine:
    return EndpointEngine(
        Endpoint("tiny", server.url, server=kind, key_variable="", concurrency=16, image_format="png", retries=0)
    )


@pytest.fixture(scope="module")
def endpoint(server: Server) -> Iterator[EndpointEngine]:
    with asking(server, "r1sgg") as engine:
        yield engine


def test_free_answers_are_those_of_transformers(endpoint: EndpointEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(32)
    local = TransformersEngine(load_model("tiny", device="cpu", max_pixels=MAX_PIXELS))
    theirs = local.generate(images, chats, GREEDY, keys)
    answers = endpoint.generate(images, chats, GREEDY, keys, pieces=True)
    assert sum(a.text == b.text for a, b in zip(answers, theirs, strict=True)) >= 30  # near ties
    assert all("".join(piece.text for piece in answer.pieces or ()) == answer.text for answer in answers)
    whole = TransformersEngine(load_model("tiny", device="cpu")).generate(images, chats, GREEDY, keys)
    assert [a.text for a in whole] != [a.text for a in theirs]  # the pixel limit counts


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "T=1"])
@pytest.mark.parametrize("spec", [PLAIN, CLOSED, GuideSpec((1000.0, 1000.0), answer_format="compact", think=10)])
def test_guided_answers_are_valid(endpoint: EndpointEngine, asked: Asked, sampling: Sampling, spec: GuideSpec) -> None:
    images, chats, keys = asked.first(40)
    answers = endpoint.generate(images, chats, sampling, keys, guides=[spec] * len(images))
    assert faults(answers, spec) == []
    if spec.objects:
        assert {label for answer in answers for label in parse(answer.text, spec.frame).graph.labels} <= set(
            spec.objects
        )


def test_draws_depend_on_the_key(endpoint: EndpointEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(12)
    one = [a.text for a in endpoint.generate(images, chats, SAMPLED, keys, guides=[PLAIN] * 12)]
    again = [a.text for a in endpoint.generate(images, chats, SAMPLED, keys, guides=[PLAIN] * 12)]
    other = [a.text for a in endpoint.generate(images, chats, SAMPLED, keys[::-1], guides=[PLAIN] * 12)]
    assert sum(a != b for a, b in zip(one, again, strict=True)) <= 1
    assert sum(a != b for a, b in zip(one, other, strict=True)) > 6


def test_json_schemas_are_held_too(server: Server, asked: Asked) -> None:
    """What an engine asks of a server without the guide: objects by one schema, relationships by another."""
    images, chats, keys = asked.first(12)
    short = dataclasses.replace(CLOSED, max_objects=4, max_relationships=4)  # so asked, this model never ends
    with asking(server, "vllm") as plain:
        answers = plain.generate(images, chats, GREEDY, keys, guides=[short] * 12)
    assert [answer.finish_reason for answer in answers] == ["stop"] * 12
    assert all(parse(answer.text, FRAME).failure is None for answer in answers)
    assert {label for answer in answers for label in parse(answer.text, FRAME).graph.labels} <= set(CLOSED.objects)


def test_what_it_cannot_do_is_one_sentence(endpoint: EndpointEngine, asked: Asked) -> None:
    images, chats, keys = asked.first(3)
    long = [{"role": "user", "content": "A man. " * 600}]
    answers = endpoint.generate(images, [chats[0], long, chats[2]], GREEDY, keys)
    assert [answer.error is None for answer in answers] == [True, False, True]
    assert "512" in str(answers[1].error)
    assert "\n" not in str(answers[1].error)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vllm_xargs": {"r1sgg": "[]"}}, "guide: expected a JSON object"),
        ({"vllm_xargs": {"r1sgg": '{"frame": [1000, 1000], "objcets": []}'}}, "found 'objcets'"),
        ({"url": "data:image/png;base64," + base64.b64encode(b"no image at all").decode()}, "image"),
    ],
)
def test_a_broken_request_is_refused_and_the_server_lives(server: Server, changes: dict[str, Any], said: str) -> None:
    import httpx

    url = changes.pop("url", None)
    parts: list[dict[str, Any]] = [{"type": "text", "text": "Scene graph."}]
    if url:
        parts.insert(0, {"type": "image_url", "image_url": {"url": url}})
    body = {"model": "tiny", "messages": [{"role": "user", "content": parts}], "max_tokens": 50, **changes}
    reply = httpx.post(f"{server.url}/chat/completions", json=body, timeout=60)
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]
    assert httpx.get(server.url.removesuffix("/v1") + "/health").status_code == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nowhere"], "r1sgg: nowhere: no such checkpoint folder"), ([], "the following arguments are required: model")],
)
def test_what_cannot_be_served_is_one_sentence(arguments: list[str], said: str) -> None:
    words = [sys.executable, "-m", "r1sgg.inference.vllm_server", *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_server_ends_and_leaves_no_process(server: Server) -> None:
    """Last of this file: it ends the server of the others."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert children
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
