"""Find the graph in a completion: JSON or compact lines, alone, in a code fence, inside <answer>, or inside prose.

Total, and linear in the length of the text for any nesting or repetition. Objects and boxes are not interpreted here.
Broken JSON is not repaired unless asked for: text that no JSON reader accepts is a failure with a name. Tags are read
in `r1sgg.graph.tags`.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import orjson

from r1sgg.graph.compact import PROMPT_WORDS, Block, document_of, find_block
from r1sgg.graph.examples import is_prompt_example
from r1sgg.graph.jsontext import MOST_BROKEN, READER, is_cut, is_deep, repeated_keys
from r1sgg.graph.policies import POLICIES, Issue
from r1sgg.graph.references import RELATION_KEYS
from r1sgg.graph.tags import answer_of

_START = re.compile(r"""\{\s*+(?:["'{}[“”]|\w++\s*+:|/[/*]|\Z)""")  # a brace that begins an object, not {id,name}
_FENCE = re.compile(r"```[\w+-]*")


def find_document(text: str, issues: list[Issue], *, repair: bool = False) -> dict[str, Any] | None:
    """Return the graph as a JSON object (compact lines converted), or None after adding the failure to `issues`."""
    found = find_answer(text, issues, repair=repair)
    return None if found is None else found.document


class Found(NamedTuple):
    """A document and its source in `body`, a part of the text: JSON, items of broken JSON, or a block of lines.

    `json` is the span of the JSON object, None if the graph was joined from several parts of the text.
    """

    document: dict[str, Any]
    body: str
    json: tuple[int, int] | None = None
    items: tuple[tuple[int, int], ...] = ()
    block: Block | None = None


def find_answer(text: str, issues: list[Issue], *, repair: bool = False) -> Found | None:
    """Return the document with its position, or None after adding the failure to `issues`."""
    body = answer_of(text, issues).strip()
    if (document := _whole(body)) is not None:
        _note_repeated(body, document, issues)
        return Found(document, body, (0, len(body)))
    return _find(body, issues, repair)


def _whole(body: str) -> dict[str, Any] | None:
    """Read a text that is one JSON object and nothing else; None for any other text."""
    if body[:1] != "{":
        return None
    try:
        document: dict[str, Any] = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None  # a closing fence, prose after it, an error, or NaN, which only Python's reader accepts
    return document


def _find(body: str, issues: list[Issue], repair: bool) -> Found | None:
    """Find the graph in a text that is not just one JSON object."""
    body = without_surrogates(body)
    found, failure, start = _search(body, issues)
    if found is not None:
        return found
    block = None if failure == "prompt_echo" else find_block(body, issues)
    if block and block.echo:
        failure = "prompt_echo"
    elif block:
        if _FENCE.sub("", body[: block.start]).strip() or _FENCE.sub("", body[block.end :]).strip():
            issues.append(Issue("surrounding_text", "text around the compact lines"))
        if block.whole:
            return Found(document_of(body, block), body, block=block)
        failure = "truncated"
    if repair and failure in ("truncated", "invalid_json"):
        found = Found(document_of(body, block), body, block=block) if block else _salvage(body, start)
        if any(found.document.values()):
            issues.append(Issue(failure, "repaired: the complete items are kept"))
            return found
    issues.append(Issue(failure, POLICIES[failure].removeprefix("failure: ")))
    return None


# ---------------------------------------------------------------- the JSON


class _Graph(NamedTuple):
    """A JSON object that is a graph, or a part of one, and its span; `joined` if parts of the text make it one."""

    document: dict[str, Any]
    start: int
    end: int
    joined: bool = False


_ATTACHED = re.compile(r"""\s*+,?\s*+"(relationships|relations|triplets|edges)"\s*+:\s*+(?=[\[{])""")
_GRAPH_START = re.compile(r"""\{\s*+"objects"\s*+:""")


def _search(body: str, issues: list[Issue]) -> tuple[Found | None, str, int]:
    """Return the last JSON object that looks like a graph, or the kind of failure and where the broken graph begins.

    After a broken object the search continues at its error, so every character is read about once.
    """
    failure, broken_at = "no_json", -1  # of what is broken after the last graph
    found_other = False
    graphs: list[_Graph] = []
    candidate = _START.search(body)
    if is_deep(body):
        return None, "no_json" if candidate is None else "invalid_json", 0
    broken = 0
    while candidate is not None:
        start = candidate.start()
        try:
            value, end = READER.raw_decode(body, start)
        except json.JSONDecodeError as error:
            broken += 1
            if failure != "truncated":
                failure = "truncated" if is_cut(body, error) else "invalid_json"
            if broken_at < 0 or _GRAPH_START.match(body, start):
                broken_at = start
            position = max(start + 1, error.pos)
            candidate = _START.search(body, position)
            if broken == MOST_BROKEN:  # the rest is not searched, but for the beginning of the last graph
                candidate = _last_start(body, position)
                issues.append(Issue("much_broken", f"after {MOST_BROKEN} broken JSON objects"))
            elif broken > MOST_BROKEN:
                break
            continue
        except RecursionError:  # a stray quote hid the nesting from `is_deep`
            return None, "invalid_json", start
        if "objects" in value or "relationships" in value or "relations" in value or _belongs(value, graphs):
            end = _add_graph(graphs, value, (start, end), body, issues)
            failure, broken_at = "no_json", -1
        else:
            found_other = True
        candidate = _START.search(body, end)
    if failure == "no_json" and (found_other or _is_json(_FENCE.sub("", body).strip())):
        failure = "wrong_schema"
    if graphs and broken_at >= 0 and _GRAPH_START.match(body, broken_at):  # the last graph is the broken one
        issues.append(Issue("several_graphs", f"{len(graphs) + 1} graphs, the last of them broken"))
        return None, failure, broken_at
    return (*_last(graphs, failure, body, issues), max(broken_at, 0))


def _last_start(body: str, position: int) -> re.Match[str] | None:
    """Return the last place after `position` where a graph begins."""
    last = None
    for match in _GRAPH_START.finditer(body, position):
        last = match
    return last


def _add_graph(
    graphs: list[_Graph], value: dict[str, Any], span: tuple[int, int], body: str, issues: list[Issue]
) -> int:
    """Add a graph, joined with what belongs to it, and return where the search continues."""
    start, end = span
    relations = next((key for key in RELATION_KEYS if key in value), None)
    if relations is None and (after := _ATTACHED.match(body, end)):
        try:
            rows, end = READER.raw_decode(body, after.end())
        except (json.JSONDecodeError, RecursionError):
            rows = None
        if rows is not None:
            issues.append(Issue("closed_early", f'"{after[1]}" follows the object that ends before it'))
            graphs.append(_Graph({**value, after[1]: rows}, start, end, True))
            return end
    if _belongs(value, graphs):
        before = graphs[-1]
        key = relations or next(key for key in RELATION_KEYS if key in before.document)
        issues.append(Issue("split_graph", f'"objects" and "{key}" stand in two JSON objects'))
        graphs[-1] = _Graph({**before.document, **value}, before.start, end, True)
        return end
    graphs.append(_Graph(value, start, end))
    return end


def _belongs(value: dict[str, Any], graphs: list[_Graph]) -> bool:
    """Return whether a JSON object has the half, objects or relationships, that the last graph lacks."""
    if not graphs:
        return False
    before = graphs[-1].document
    halves = [("objects" in part, any(key in part for key in RELATION_KEYS)) for part in (before, value)]
    return sorted(halves) == [(False, True), (True, False)]


def _last(graphs: list[_Graph], failure: str, body: str, issues: list[Issue]) -> tuple[Found | None, str]:
    """Return the last graph that is not the example of a prompt."""
    if not graphs:
        return None, failure
    own = graphs
    if PROMPT_WORDS in body:
        own = [graph for graph in graphs if not is_prompt_example(graph.document)]  # what follows is the answer
        if not own:
            return None, "prompt_echo"
        if len(own) < len(graphs):
            issues.append(Issue("prompt_text", "the example of a prompt stands before the graph"))
    whole = [graph for graph in own if "objects" in graph.document]
    document, start, end, joined = (whole or own)[-1]
    if len(own) > 1:
        issues.append(Issue("several_graphs", f"{len(own)} graphs"))
    if _FENCE.sub("", body[:start]).strip() or _FENCE.sub("", body[end:]).strip():
        issues.append(Issue("surrounding_text", "text around the JSON"))
    if not joined:
        _note_repeated(body[start:end], document, issues)
    return Found(document, body, None if joined else (start, end)), ""


def _note_repeated(body: str, document: dict[str, Any], issues: list[Issue]) -> None:
    """Note the keys that stand twice in one JSON object. Only where keys outnumber the rows is the text read again."""
    objects, relations = document.get("objects"), document.get("relationships")
    n = len(objects) if isinstance(objects, list) else 0
    r = len(relations) if isinstance(relations, list) else 0
    limits = (
        *(('"objects"', 1), ('"id"', n), ('"bbox"', n), ('"relationships"', 1)),
        *((key, r) for key in ('"subject"', '"predicate"', '"object"')),
    )
    if all(body.count(key) <= limit for key, limit in limits):
        return
    for key, count in repeated_keys(body).most_common(8):
        issues.append(Issue("duplicate_key", f"{key[:40]!r} stands again in the same JSON object, {count} times"))


def _is_json(body: str) -> bool:
    try:
        READER.decode(body)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


_SURROGATES = re.compile("[\ud800-\udfff]")
_HALF_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)


def without_surrogates(body: str) -> str:
    """Replace unpaired surrogates, raw or escaped, by U+FFFD, because they cannot be encoded as UTF-8.

    The positions of all characters stay the same.
    """
    if _SURROGATES.search(body):
        body = _SURROGATES.sub("\ufffd", body)
    if _HALF_ESCAPE.search(body):
        body = _ESCAPES.sub(lambda m: r"\ufffd" if m.group(1) else m.group(), body)
    return body


# ---------------------------------------------------------------- repair

_ITEM = re.compile(r'\{\s*+"(?:[^{}]++|\{[^{}]*+\})*+\}')  # an object that holds objects at most one level deep


def _salvage(body: str, start: int) -> Found:
    """Make a document of the items from `start` on that are valid JSON by themselves, objects first."""
    rows: dict[str, list[Any]] = {"objects": [], "relationships": []}
    spans: dict[str, list[tuple[int, int]]] = {"objects": [], "relationships": []}
    match = _ITEM.search(body, start)
    while match:
        try:
            item = orjson.loads(match.group())
        except orjson.JSONDecodeError:
            item = {}
        if kind := "objects" if "id" in item else "relationships" if "subject" in item else "":
            rows[kind].append(item)
            spans[kind].append(match.span())
        match = _ITEM.search(body, match.end() if item else match.start() + 1)
    return Found(rows, body, items=(*spans["objects"], *spans["relationships"]))
