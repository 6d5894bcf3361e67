"""Guided answers from servers that know JSON schemas at most, and from one that has the guide."""

import dataclasses
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from r1sgg.cli import app
from r1sgg.data.predictions import prediction_of_record
from r1sgg.endpoint.engine import EndpointEngine
from r1sgg.errors import ConfigError, ModelError
from r1sgg.graph.ledger import Ledger
from r1sgg.graph.text import parse, render
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Completion, Sampling
from r1sgg.inference.lines import prediction_line
from r1sgg.inference.reader import Reading
from r1sgg.judging.diagnosis import findings

from .fake_server import Asked, FakeServer, Said, Site, fails, says

CLOSED = GuideSpec(
    (1000, 800), ("man", "traffic-light", "dog"), ("riding", "next to"), max_objects=6, max_relationships=5
)
MAN = {"id": "man.1", "bbox": [10, 10, 200, 300]}
DOG = {"id": "dog.1", "bbox": [300, 20, 400, 90]}


def ask(engine: EndpointEngine, spec: GuideSpec, **more: Any) -> Completion:
    sampling = more.pop("sampling", Sampling())
    chat = [{"role": "user", "content": "graph?"}]
    return engine.generate([Image.new("RGB", (8, 8))], [chat], sampling, guides=[spec], **more)[0]


def objects(*rows: Any) -> Said:
    return says(json.dumps({"objects": rows}))


def relationships(*rows: tuple[str, str, str]) -> Said:
    named = [dict(zip(("subject", "predicate", "object"), row, strict=True)) for row in rows]
    return says(json.dumps({"relationships": named}))


def test_objects_first_then_relationships_between_them(site: Site) -> None:
    site.in_turn(objects(MAN, DOG), relationships(("man.1", "riding", "dog.1")))
    answer = ask(site.engine(), CLOSED, sampling=Sampling(max_new_tokens=100))
    assert json.loads(answer.text) == {
        "objects": [MAN, DOG],
        "relationships": [{"subject": "man.1", "predicate": "riding", "object": "dog.1"}],
    }
    assert (answer.tokens, answer.finish_reason) == (6, "stop")
    first, second = site.server.asked
    row = first.schema["objects"]["items"]["properties"]
    number = {"type": "integer", "minimum": 0, "maximum": 1000}
    assert row["bbox"] == {"type": "array", "items": number, "minItems": 4, "maxItems": 4}
    assert first.schema["objects"]["maxItems"] == 6
    assert first.body["response_format"]["json_schema"]["strict"] is True
    assert first.schema["objects"]["minItems"] == 1
    assert re.search(row["id"]["pattern"], "traffic-light.6")
    assert not any(
        re.search(row["id"]["pattern"], bad) for bad in ("cat.1", "man", "man.0", "a man.1", "manX1", "man.12")
    )
    row = second.schema["relationships"]["items"]["properties"]
    assert row["subject"] == row["object"] == {"type": "string", "enum": ["man.1", "dog.1"]}
    assert row["predicate"]["enum"] == ["riding", "next to"]
    assert second.schema["relationships"]["maxItems"] == 5
    user, assistant, then = second.body["messages"]
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]
    assert assistant == {"role": "assistant", "content": json.dumps({"objects": [MAN, DOG]})}
    assert then["role"] == "user"
    assert (first.body["max_completion_tokens"], second.body["max_completion_tokens"]) == (100, 97)


def test_open_names_are_bounded(site: Site) -> None:
    """No string and no number without an end: a small model would write it until its tokens are gone."""
    site.in_turn(objects(MAN, DOG), relationships())
    ask(site.engine(), GuideSpec((1000, 1000), max_objects=50))
    first, second = site.server.asked
    name = first.schema["objects"]["items"]["properties"]["id"]["pattern"]
    predicate = second.schema["relationships"]["items"]["properties"]["predicate"]["pattern"]
    assert all(re.search(name, good) for good in ("man.1", "traffic light.50", "T-shirt.9"))
    assert not any(re.search(name, bad) for bad in ("man.100", "1.1", f"{'a' * 41}.1", 'a".1', "man"))
    assert re.search(predicate, "in front of")
    assert not any(re.search(predicate, bad) for bad in ("", "a" * 41, 'on"'))


def every_object(schema: Any) -> list[dict[str, Any]]:
    found = [schema] if isinstance(schema, dict) and schema.get("type") == "object" else []
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        found += every_object(part)
    return found


def test_schemas_are_strict(site: Site) -> None:
    """OpenAI's strict mode: every key required, no others."""
    site.in_turn(objects(MAN, DOG), relationships())
    ask(site.engine(), CLOSED)
    for asked in site.server.asked:
        schemas = every_object(asked.body["response_format"]["json_schema"]["schema"])
        assert len(schemas) == 2
        assert all(s["additionalProperties"] is False and s["required"] == list(s["properties"]) for s in schemas)


def test_the_rule_for_objects(site: Site) -> None:
    rows = [
        {"id": "man.4", "bbox": [10, 20, 30, 40]},  # renumbered
        {"id": "man.4", "bbox": [10, 20, 30, 40]},  # the same again
        {"id": "man.4", "bbox": [50, 20.4, 60, 40]},  # another under the same id; rounded
        {"id": "dog.1", "bbox": [30, 20, 10, 40]},  # inverted
        {"id": "dog.2", "bbox": [30, 20, 30, 40]},  # empty
        {"id": "cat.1", "bbox": [1, 2, 3, 4]},  # not in the vocabulary
        {"id": "Traffic light.1", "bbox": [-5, 700, 90, 950]},  # clipped; written as the vocabulary does
        {"id": "dog.3", "bbox": [1, 2, 3]},
        {"id": "dog.3", "bbox": [1, 2, 3, "4"]},
        {"id": 7, "bbox": [1, 2, 3, 4]},
        "dog",
        {"id": "dog.9", "bbox": [1, 810, 3, 890]},  # nothing of it inside
    ]
    site.in_turn(objects(*rows), relationships())
    answer = ask(site.engine(), CLOSED)
    kept = {"man.1": [10, 20, 30, 40], "man.2": [50, 20, 60, 40], "traffic-light.1": [0, 700, 90, 800]}
    assert json.loads(answer.text)["objects"] == [{"id": i, "bbox": b} for i, b in kept.items()]
    assert site.server.asked[1].schema["relationships"]["items"]["properties"]["subject"]["enum"] == list(kept)


def test_the_rule_for_relationships(site: Site) -> None:
    said = [
        ("man.1", "riding", "dog.1"),
        ("man.1", "Riding", "dog.1"),  # the same again
        ("man.1", "riding", "man.1"),  # itself
        ("man.1", "eating", "dog.1"),  # not in the vocabulary
        ("man.1", "riding", "cat.1"),  # not there
        ("dog.1", "next_to", "man.1"),
    ]
    site.in_turn(objects(MAN, DOG), relationships(*said))
    rows = json.loads(ask(site.engine(), CLOSED).text)["relationships"]
    assert [tuple(row.values()) for row in rows] == [("man.1", "riding", "dog.1"), ("dog.1", "next to", "man.1")]


def test_at_most_so_many(site: Site) -> None:
    spec = GuideSpec((1000, 1000), max_objects=2, max_relationships=1)
    rows = [{"id": f"thing.{k}", "bbox": [k, 0, k + 5, 9]} for k in range(5)]
    said = relationships(("thing.1", "on", "thing.2"), ("thing.2", "under", "thing.1"))
    site.in_turn(objects(*rows), said)
    answer = json.loads(ask(site.engine(), spec).text)
    assert [len(answer[key]) for key in ("objects", "relationships")] == [2, 1]


def obey(schema: dict[str, Any], draw: random.Random) -> Any:
    """A random document that a schema allows, with as many faults as it leaves room for."""
    if "enum" in schema:
        return draw.choice(schema["enum"])
    if schema["type"] == "object":
        return {key: obey(part, draw) for key, part in schema["properties"].items()}
    if schema["type"] == "array":
        count = draw.randint(schema.get("minItems", 0), schema["maxItems"])
        rows = [obey(schema["items"], draw) for _ in range(count)]
        if schema["items"]["type"] == "integer" and draw.random() < 0.7:  # most boxes are right
            (x1, x2), (y1, y2) = sorted(rows[::2]), sorted(rows[1::2])
            return [x1, y1, x2, y2]
        return rows
    if schema["type"] == "integer":
        return draw.choice((0, 1, 400, 500, 799, 800, 801, 1000))
    names = ["a", "B_b", "é ü", ".", "7", "x.1"]  # where any name goes, worse ones than the pattern lets through
    if "|" in schema["pattern"]:
        names = schema["pattern"][2:].partition(")")[0].split("|")
    return f"{draw.choice(names)}.{draw.randint(1, 2)}"


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize(
    "spec",
    [CLOSED, GuideSpec((1000, 800), max_objects=9, max_relationships=20, minify=True, think=5)],
    ids=["closed", "open"],
)
def test_whatever_a_schema_allows_becomes_a_valid_graph(site: Site, spec: GuideSpec, stages: int) -> None:
    """200 random documents: no issue, references and geometry right, numbered per class, nothing twice."""
    site.answer = lambda asked: says(
        json.dumps(obey(asked.body["response_format"]["json_schema"]["schema"], random.Random(asked.number)))
    )
    images = [Image.new("RGB", (8, 8))] * 200
    chats: list[Any] = [[{"role": "user", "content": "graph?"}]] * 200
    answers = site.engine(stages=stages).generate(images, chats, Sampling(), guides=[spec] * 200)
    count = {"objects": 0, "relationships": 0}
    for answer in answers:
        parsed = parse(answer.text, spec.frame)
        document = json.loads(re.sub("</?(think|answer)>", "", answer.text))
        for key in count:
            count[key] += len(document[key])
        if not document["objects"]:
            assert [issue.kind for issue in parsed.issues] == ["empty"]
            continue
        assert not parsed.issues
        graph = parsed.graph
        assert ((graph.boxes >= 0) & (graph.boxes <= 1)).all()
        assert (graph.boxes[:, :2] < graph.boxes[:, 2:]).all()
        assert all(s != o for s, o in graph.pairs)
        assert len(set(zip(graph.pairs, graph.predicates, strict=True))) == len(graph.pairs)
        stems: dict[str, list[int]] = {}
        for name in graph.ids:
            stem, _, number = name.rpartition(".")
            stems.setdefault(stem, []).append(int(number))
        assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in stems.values())
        if spec.objects:
            assert set(stems) <= set(spec.objects)
            assert answer.text == render(graph, spec.frame, minify=spec.minify, think=spec.think > 0)
    assert count["objects"] > 200
    assert count["relationships"] > 20


def test_one_request_does_for_half_the_price(site: Site) -> None:
    document = {
        "objects": [{**MAN, "id": "man.3"}, DOG],
        "relationships": [
            {"subject": "man.3", "predicate": "riding", "object": "dog.1"},
            {"subject": "man.1", "predicate": "riding", "object": "dog.1"},  # not declared by that name
        ],
    }
    site.in_turn(says(json.dumps(document)))
    answer = json.loads(ask(site.engine(stages=1), CLOSED).text)
    assert answer["objects"] == [MAN, DOG]
    assert answer["relationships"] == [{"subject": "man.1", "predicate": "riding", "object": "dog.1"}]
    (asked,) = site.server.asked
    assert list(asked.schema) == ["objects", "relationships"]
    assert asked.body["messages"][0]["content"][1]["text"] == "graph?"


def test_a_server_without_schemas_is_asked_in_words(site: Site) -> None:
    site.in_turn(
        says('<think>"objects" hm</think>Here:\n```json\n{ "objects" : [{"bbox": [1,2,30,40] , "id": "man.1"}, '
             '{"id": "dog.1", "bbox": [5, 5, 9, 9]}]}\n```\nDone.'),
        says('{"relationships": [{"object": "dog.1", "subject": "man.1", "predicate": "riding"}, {"subject": "ma'),
    )  # fmt: skip
    answer = ask(site.engine(server="plain"), CLOSED)
    assert parse(answer.text, CLOSED.frame).graph.triplets == (("man", "riding", "dog"),)
    assert not parse(answer.text, CLOSED.frame).issues
    assert not any("response_format" in asked.body for asked in site.server.asked)
    assert "man.1" in site.server.asked[1].body["messages"][1]["content"]


@pytest.mark.parametrize(
    "rows", [[], [MAN], [{"id": "man.1", "bbox": [9, 9, 1, 1]}]], ids=["none", "one", "none that stays"]
)
def test_there_is_no_second_request_without_two_objects(site: Site, rows: list[Any]) -> None:
    site.in_turn(objects(*rows))
    answer = ask(site.engine(), CLOSED)
    assert json.loads(answer.text)["relationships"] == []
    assert answer.error is None
    assert len(site.server.asked) == 1


def test_cut_answers_keep_what_is_whole(site: Site) -> None:
    text = json.dumps({"objects": [MAN, DOG, DOG]})
    site.in_turn(says(text[:-9], finish="length", tokens=(5, 40)), relationships(("man.1", "riding", "dog.1")))
    answer = ask(site.engine(), CLOSED, sampling=Sampling(max_new_tokens=50))
    assert parse(answer.text, CLOSED.frame).graph.triplets == (("man", "riding", "dog"),)
    assert answer.finish_reason == "length"
    assert site.server.asked[1].body["max_completion_tokens"] == 10
    site.server.asked.clear()
    answer = ask(site.engine(), CLOSED, sampling=Sampling(max_new_tokens=40))  # nothing left for a second request
    assert len(site.server.asked) == 1
    assert len(parse(answer.text, CLOSED.frame).graph) == 2


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ([says("no")], "a list \"relationships\", which the guide requires, found 'no'"),
        ([says('{"relat', finish="length")], "found '{\"relat' (truncated at the length limit)"),
        ([fails(400, "enum too long")], "status 400 (enum too long)"),
        ([fails(500, "down")], "status 500 (down) (after 6 tries)"),
        ([Said(b"half", length=99)], "the connection broke"),
        ([says(None, message={"refusal": "I can't"})], 'the model refused: "I can\'t"'),
    ],
)
def test_objects_are_kept_where_relationships_fail(site: Site, said: list[Said], sentence: str) -> None:
    """With a sentence that says so, as much log-probability as there is, and the reply that could not be read."""
    first = json.dumps({"objects": [MAN, DOG]})
    site.in_turn(says(first, logprobs=tokens(first, 4, 1.0)), *said)
    answer = ask(site.engine(), CLOSED)
    assert json.loads(answer.text) == {"objects": [MAN, DOG], "relationships": []}
    assert answer.error is None
    assert (answer.fault or "").startswith("the objects are kept, their relationships are missing: ")
    assert sentence in (answer.fault or "")
    assert answer.replies[0] == first
    assert len(answer.replies) == 1 + ("which the guide requires" in (answer.fault or ""))


def test_objects_without_tokens_for_relationships_say_so(site: Site) -> None:
    site.in_turn(says(json.dumps({"objects": [MAN, DOG]}), tokens=(5, 40)))
    answer = ask(site.engine(), CLOSED, sampling=Sampling(max_new_tokens=40))
    assert "the objects took all tokens (max_new_tokens, 40): allow more" in (answer.fault or "")
    site.server.asked.clear()
    site.in_turn(says(json.dumps({"objects": [MAN, DOG]})[:-1], finish="length"))
    assert "truncated at the length limit" in (ask(site.engine(stages=1), CLOSED).fault or "")


def test_an_answer_without_objects_is_the_images_failure(site: Site) -> None:
    site.in_turn(says("I see a man."))
    answer = ask(site.engine(), CLOSED)
    assert "a list \"objects\", which the guide requires, found 'I see a man.'" in (answer.error or "")


def test_failed_second_requests_in_a_row_stop_the_run_and_refusals_do_not(site: Site) -> None:
    def second(said: Said) -> None:
        site.answer = lambda asked: said if "relationships" in (asked.schema or {}) else objects(MAN, DOG)

    def many(engine: EndpointEngine) -> list[Completion]:
        chats: list[Any] = [[{"role": "user", "content": "graph?"}]] * 9
        return engine.generate([Image.new("RGB", (8, 8))] * 9, chats, Sampling(), guides=[CLOSED] * 9)

    second(says(None, message={"refusal": "no"}))
    assert all(answer.fault for answer in many(site.engine(stop_after=4)))
    second(fails(400, "enum too long"))
    with pytest.raises(ModelError, match=r"4 images in a row failed; .*enum too long"):
        many(site.engine(stop_after=4, concurrency=1))


def test_given_objects_are_kept_where_relationships_cannot_be_read(site: Site) -> None:
    spec = dataclasses.replace(CLOSED, given=(("man", 10, 10, 200, 300), ("dog", 300, 20, 400, 90)))
    site.in_turn(says("no"))
    answer = ask(site.engine(), spec)
    assert json.loads(answer.text)["objects"] == [MAN, DOG]
    assert (answer.replies, "relationships are missing" in (answer.fault or "")) == (("no",), True)


def test_a_run_counts_images_without_relationships_as_failed_and_tries_them_again(tmp_path: Path) -> None:
    """Through the command line, with a server that fails the second request of one image of two."""
    folder, out = tmp_path / "images", tmp_path / "p.jsonl"
    folder.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (64, 48), (90, 120, 90)).save(folder / f"{name}.png")
    broken = True

    def answer(asked: Asked) -> Said:
        if "objects" in (asked.schema or {}):
            return objects(MAN, DOG)
        later = sum("relationships" in (each.schema or {}) for each in server.asked) > 1
        return fails(400, "out of memory") if broken and later else relationships(("man.1", "riding", "dog.1"))

    def generate() -> Result:
        run = ["generate", "--images", str(folder), "--out", str(out), "--model", "qwen3-vl", "--guide"]
        return CliRunner().invoke(app, [*run, "--engine", f"openai:{server.url},retries=0,concurrency=1"])

    with FakeServer(answer) as server:
        result = generate()
        assert result.exit_code == 1, result.output
        assert "2 images; 1 failed" in result.stdout
        said = "50 % of the completions have objects alone, because the second answer, for relationships, is missing"
        assert said in result.stderr
        whole, part = [json.loads(line) for line in out.read_text().splitlines()]
        assert "out of memory" in part["fault"]
        assert "fault" not in whole
        assert [thing["id"] for thing in json.loads(part["completion"])["objects"]] == ["man.1", "dog.1"]
        broken = False
        assert generate().exit_code == 0
    assert ["fault" in json.loads(line) for line in out.read_text().splitlines()] == [False, False]


def tokens(text: str, step: int, cost: float) -> dict[str, Any]:
    """Log-probabilities of a text cut into tokens of so many characters."""
    parts = [text[k : k + step] for k in range(0, len(text), step)]
    return {"content": [{"token": part, "logprob": -cost * len(part), "bytes": list(part.encode())} for part in parts]}


def test_pieces_of_both_requests_become_the_answers(site: Site) -> None:
    """Every character of the first reply costs 1, of the second 100; glue costs nothing."""
    first = json.dumps({"objects": [MAN, {**DOG, "id": "dog.7"}]})
    second = json.dumps({"relationships": [{"subject": "man.1", "predicate": "riding", "object": "dog.1"}]})
    site.in_turn(says(first, logprobs=tokens(first, 1, 1.0)), says(second, logprobs=tokens(second, 1, 100.0)))
    answer = ask(site.engine(), CLOSED, pieces=True)
    assert answer.pieces is not None
    assert "".join(piece.text for piece in answer.pieces) == answer.text
    costs = {p.text: p.logprob for p in answer.pieces if p.text == '"dog.1"'}
    assert costs == {'"dog.1"': -7.0}  # renumbered: one piece, the seven characters of "dog.7"
    said = len(str(MAN["bbox"])) + len(str(DOG["bbox"])) + len('"man.1""dog.7"')
    named = len('"man.1""riding""dog.1"')
    assert sum(p.logprob for p in answer.pieces) == -(said + 100 * named)
    assert answer.logprobs is not None
    assert answer.logprobs.sum == -(len(first) + 100 * len(second))
    site.server.asked.clear()
    site.in_turn(says(first, logprobs=tokens(first, 4, 1.0)), says(second))
    assert ask(site.engine(), CLOSED, pieces=True).pieces is None  # the second reply has none


def test_a_server_with_the_guide_gets_it_and_is_believed(site: Site) -> None:
    text = "man.1 10 10 200 300\n"
    site.in_turn(says(text))
    spec = GuideSpec((1000, 1000), ("man",), answer_format="compact")
    assert ask(site.engine(server="r1sgg"), spec).text == text
    (asked,) = site.server.asked
    assert "response_format" not in asked.body
    sent = json.loads(asked.body["vllm_xargs"]["r1sgg"])
    assert (sent["frame"], sent["objects"], sent["answer_format"]) == ([1000, 1000], ["man"], "compact")


@pytest.mark.parametrize("kind", ["openai", "vllm", "plain"])
def test_compact_answers_need_the_guide(site: Site, kind: str) -> None:
    spec = GuideSpec((1000, 1000), answer_format="compact")
    with pytest.raises(ConfigError, match=r"expected json for guided completions .*, found compact; .*server=r1sgg"):
        ask(site.engine(server=kind), spec)
    assert site.server.asked == []


# ---------------------------------------------------------------- a server that ignores the schema


def test_fractions_are_brought_into_the_frame(site: Site) -> None:
    rows = [{"id": "man.1", "bbox": [0.1, 0.05, 0.42, 0.9]}, {"id": "dog.1", "bbox": [0.3, 0.02, 0.4, 0.5]}]
    site.in_turn(objects(*rows), relationships(("man.1", "riding", "dog.1")))
    answer = ask(site.engine(), CLOSED)
    assert json.loads(answer.text)["objects"] == [
        {"id": "man.1", "bbox": [100, 40, 420, 720]},
        {"id": "dog.1", "bbox": [300, 16, 400, 400]},
    ]
    assert answer.unit == (1, 1)
    assert answer.replies == tuple(json.dumps({"objects": rows}) if k == 0 else r for k, r in enumerate(answer.replies))
    assert answer.left_out == {"objects": 0, "relationships": 0}


def test_thousandths_beyond_a_frame_of_pixels_are_brought_into_it(site: Site) -> None:
    spec = GuideSpec((640, 480))
    rows = [{"id": "man.1", "bbox": [100, 500, 900, 990]}, {"id": "dog.1", "bbox": [500, 100, 950, 980]}]
    site.in_turn(objects(*rows), relationships())
    answer = ask(site.engine(), spec)
    assert json.loads(answer.text)["objects"][0]["bbox"] == [64, 240, 576, 475]
    assert answer.unit == (1000, 1000)


@pytest.mark.parametrize("rows", [[MAN, DOG], [{"id": "man.1", "bbox": [0, 0, 1, 1]}]], ids=["usual", "one unit"])
def test_the_frame_itself_is_left_alone(site: Site, rows: list[Any]) -> None:
    site.in_turn(objects(*rows), relationships())
    answer = ask(site.engine(), CLOSED)
    assert json.loads(answer.text)["objects"] == rows
    assert (answer.unit, answer.replies, answer.left_out) == (None, (), {})


def test_ends_that_name_the_only_object_of_a_class(site: Site) -> None:
    site.in_turn(objects(MAN, DOG), relationships(("man", "riding", "Dog")))
    answer = ask(site.engine(), CLOSED)
    assert json.loads(answer.text)["relationships"] == [
        {"subject": "man.1", "predicate": "riding", "object": "dog.1"},
    ]
    assert answer.left_out == {}


def test_what_is_left_out_is_counted_and_the_replies_are_kept(site: Site) -> None:
    second = {**MAN, "id": "man.2", "bbox": [50, 60, 70, 80]}
    site.in_turn(
        objects(MAN, second, DOG, "cat"), relationships(("man", "riding", "dog.1"), ("man.1", "riding", "dog.1"))
    )
    answer = ask(site.engine(), CLOSED)
    assert answer.left_out == {"objects": 1, "relationships": 1}
    assert [json.loads(reply).keys() for reply in answer.replies] == [{"objects"}, {"relationships"}]
    line = prediction_line(
        Reading(Image.new("RGB", (8, 8)), (1000.0, 800.0), answer, parse(answer.text, (1000, 800))), "m"
    )
    assert line["left_out"] == {"objects": 1, "relationships": 1}
    assert line["replies"] == list(answer.replies)
    prediction = prediction_of_record({"image_id": "1", **line}, "here")
    assert prediction.left_out == line["left_out"]
    ledger = Ledger()
    ledger.add(prediction.read(), "1", prediction.left_out)
    (finding,) = findings(ledger)
    assert finding.found == "100 % of the completions leave out 1 objects, 1 relationships of the model's replies"
