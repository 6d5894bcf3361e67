"""Find the graph in a completion: JSON or compact lines, alone, in a code fence, inside <answer>, or inside prose.

Total, and linear in the length of the text for any nesting or repetition. Objects and boxes are not interpreted here.
Broken JSON is not repaired unless asked for: text that no JSON reader accepts is a failure with a name.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import orjson

from r1sgg.graph.compact import Block, document_of, find_block
from r1sgg.graph.policies import POLICIES, Issue

_TRIES = 256  # maximum number of JSON objects tried per completion, which bounds the time
_START = re.compile(r"""\{\s*+(?:["'{}[“”]|\w++\s*+:|/[/*]|\Z)""")  # a brace that begins an object, not {id,name}
_FENCE = re.compile(r"```[\w+-]*")
_READER = json.JSONDecoder(parse_int=float)  # float: a run of 5,000 digits is infinity, not an error


def find_document(text: str, issues: list[Issue], *, repair: bool = False) -> dict[str, Any] | None:
    """Return the graph as a JSON object (compact lines converted), or None after adding the failure to `issues`."""
    body = answer_of(text, issues).strip()
    if (document := _whole(body)) is not None:
        return document
    found = _find(body, issues, repair)
    return None if found is None else found.document


class Found(NamedTuple):
    """A document and its source in `body`, a part of the text: JSON, items of broken JSON, or a block of lines."""

    document: dict[str, Any]
    body: str
    json: tuple[int, int] | None = None
    items: tuple[tuple[int, int], ...] = ()
    block: Block | None = None


def find_answer(text: str, issues: list[Issue], *, repair: bool = False) -> Found | None:
    """Return the document with its position, or None after adding the failure to `issues`."""
    body = answer_of(text, issues).strip()
    if (document := _whole(body)) is not None:
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
    found, failure = _search(body, issues)
    if found is not None:
        return found
    if block := find_block(body):
        if _FENCE.sub("", body[: block.start]).strip() or _FENCE.sub("", body[block.end :]).strip():
            issues.append(Issue("surrounding_text", "text around the compact lines"))
        if block.whole:
            return Found(document_of(body, block), body, block=block)
        failure = "truncated"
    if repair and failure in ("truncated", "invalid_json"):
        found = Found(document_of(body, block), body, block=block) if block else _salvage(body)
        if any(found.document.values()):
            issues.append(Issue(failure, "repaired: the complete items are kept"))
            return found
    issues.append(Issue(failure, POLICIES[failure].removeprefix("failure: ")))
    return None


# ---------------------------------------------------------------- the tags

_PROMPTED_LAYOUT = re.compile(r"<think>[^<]*+</think>\s*+<answer>")  # needs no search for tags
_TAGS = re.compile(r"<(/?)(think|answer)>", re.IGNORECASE)


def answer_of(text: str, issues: list[Issue]) -> str:
    """Return the part that should hold the graph: the last <answer> outside <think>, else all text outside <think>.

    A </think> without <think> ends a block that began in the prompt. A <think> that is never closed is treated as text,
    because the graph may follow it.
    """
    if (whole := _PROMPTED_LAYOUT.match(text)) and text.count("<") == 4 and text.endswith("</answer>"):
        return text[whole.end() : -len("</answer>")]
    if "<" not in text or not (tags := list(_TAGS.finditer(text))):
        return text
    last_think_end = max((m.end() for m in tags if m.group().lower() == "</think>"), default=0)
    thinking = unclosed_think = False
    start: int | None = None  # of an <answer> that is still open
    blocks: list[tuple[int, int]] = []
    drafts = 0  # <answer> blocks inside a <think> that began in the prompt
    outside: list[str] = []
    position = 0  # start of the current text outside <think>
    for m in tags:
        closing, name = bool(m.group(1)), m.group(2).lower()
        if name == "think" and closing:
            if not thinking:
                outside.clear()
                start, drafts = None, len(blocks)
            thinking, position = False, m.end()
        elif name == "think" and start is None and not thinking:
            if m.start() < last_think_end:
                outside.append(text[position : m.start()])
                thinking = True
            else:
                unclosed_think = True
        elif name == "answer" and not thinking:
            if not closing:
                start = m.end()
            elif start is not None:
                blocks.append((start, m.start()))
                start = None
    if unclosed_think:
        issues.append(Issue("unclosed_tag", "<think> is never closed"))
    if answers := blocks[drafts:]:
        if len(answers) > 1:
            issues.append(Issue("several_answers", f"{len(answers)} answer blocks"))
        return text[slice(*answers[-1])]
    if start is not None:
        issues.append(Issue("unclosed_tag", "<answer> is never closed"))
        return text[start:]
    rest = "".join([*outside, text[position:]])
    return rest if rest.strip() or not blocks else text[slice(*blocks[-1])]


# ---------------------------------------------------------------- the JSON


def _search(body: str, issues: list[Issue]) -> tuple[Found | None, str]:
    """Return the first JSON object that looks like a graph, or the kind of failure.

    After a broken object the search continues at its error, so every character is read about once.
    """
    failure = "no_json"
    found_other = False
    candidate = _START.search(body)
    if _is_deep(body):
        return None, "no_json" if candidate is None else "invalid_json"
    for _ in range(_TRIES):
        if candidate is None:
            break
        start = candidate.start()
        try:
            value, end = _READER.raw_decode(body, start)
        except json.JSONDecodeError as error:
            if failure != "truncated":
                failure = "truncated" if _is_cut(body, error) else "invalid_json"
            candidate = _START.search(body, max(start + 1, error.pos))
            continue
        except RecursionError:  # a stray quote hid the nesting from `_is_deep`
            return None, "invalid_json"
        if "objects" in value or "relationships" in value:
            if _FENCE.sub("", body[:start]).strip() or _FENCE.sub("", body[end:]).strip():
                issues.append(Issue("surrounding_text", "text around the JSON"))
            return Found(value, body, (start, end)), ""
        found_other = True
        candidate = _START.search(body, end)
    if failure == "no_json" and (found_other or _is_json(_FENCE.sub("", body).strip())):
        failure = "wrong_schema"
    return None, failure


_CUT = re.compile(
    r"""[`\s]*  |  (?<=\d)(?:\.|[eE][+-]?)  |  (?<=\\)u[0-9a-fA-F]{0,4}
    |  -|t|tr|tru|f|fa|fal|fals|n|nu|nul|N|Na|-?(?:I|In|Inf|Infi|Infin|Infini|Infinit)""",
    re.VERBOSE,
)


def _is_cut(body: str, error: json.JSONDecodeError) -> bool:
    """Return whether JSON fails only because the text ends: the rest after the error could be continued."""
    return error.msg.startswith("Unterminated string") or _CUT.fullmatch(body, error.pos) is not None


def _is_json(body: str) -> bool:
    try:
        _READER.decode(body)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


_DEPTH = 200  # a graph needs 4; the limit of Python's reader depends on its version and on the stack
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|([\[{])|[\]}]', re.DOTALL)


def _is_deep(body: str) -> bool:
    """Return whether brackets outside strings nest deeper than `_DEPTH`; an unclosed string extends to the end."""
    if body.count("{") + body.count("[") <= _DEPTH:
        return False
    depth = 0
    for m in _BRACKETS.finditer(body):
        if m.group(1):
            depth += 1
            if depth > _DEPTH:
                return True
        elif m.group() in "]}":
            depth = max(0, depth - 1)
    return False


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


def _salvage(body: str) -> Found:
    """Make a document of the items that are valid JSON by themselves, objects first."""
    rows: dict[str, list[Any]] = {"objects": [], "relationships": []}
    spans: dict[str, list[tuple[int, int]]] = {"objects": [], "relationships": []}
    match = _ITEM.search(body)
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
