"""The format score of a completion. It depends on the layout only; other terms judge the graph."""

from __future__ import annotations

import re

from r1sgg.graph.text import AnswerFormat, Parsed

_BETWEEN = re.compile(r"</think>\s*<answer>")
_OPENING = re.compile(r"\s*(?:```\w*\s*)?(?:\{|objects[ \t\r]*$)", re.MULTILINE)
_COMPACT = re.compile(r"(?:^|>)[ \t]*objects[ \t\r]*$", re.MULTILINE)
_JSON_KEY = re.compile(r'"objects"\s*:')
_NOT_AN_OBJECT = frozenset(("no_json", "invalid_json", "truncated", "surrounding_text"))


def format_of(text: str, parsed: Parsed) -> float:
    """Return 1 for <think>..</think><answer>..</answer> with the keywords in the answer, 0.5 for a bare graph, else 0.

    The tags must enclose the whole text and be in lower case; both answer formats contain the keywords "object" and
    "relationships". A bare graph is JSON or compact lines, alone, in a code fence, or in <answer> tags.
    """
    text = text.strip()
    if text.startswith("<think>") and text.endswith("</answer>") and (m := _BETWEEN.search(text)):
        start, end = m.end(), len(text) - len("</answer>")
        if text.find("object", start, end) >= 0 and text.find("relationships", start, end) >= 0:
            return 1.0
    if any(i.kind in _NOT_AN_OBJECT for i in parsed.issues):
        return 0.0
    start = text.find("<answer>")
    end = text.find("</answer>", start)
    body = text[start + len("<answer>") : end] if 0 <= start < end else text
    return 0.5 if _OPENING.match(body) else 0.0


def written_format(text: str) -> AnswerFormat:
    """Return the answer format of a completion that could be read."""
    return "compact" if _COMPACT.search(text) and not _JSON_KEY.search(text) else "json"
