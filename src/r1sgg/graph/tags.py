"""Where the answer stands in a completion: inside <answer>, and outside the thoughts, whatever tags mark them.

Total, and linear in the length of the text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from r1sgg.graph.policies import Issue

_PROMPTED_LAYOUT = re.compile(r"<think>[^<]*+</think>\s*+<answer>")  # needs no search for tags
_THOUGHTS = "think|thinking|thoughts?|reasoning|scratchpad|seed:think"
_TAGS = re.compile(
    rf"""<(?P<closing>/?)(?:(?P<think>{_THOUGHTS})|answer)>
    |  (?P<begin>◁think▷ | \[THINK\] | <\|channel\|?>\s*(?:analysis|commentary|thought)\b(?:<\|message\|>)?
         | <\|begin_of_thought\|> | <\|START_THINKING\|>)
    |  (?P<end>◁/think▷ | \[/THINK\] | <\|channel\|>\s*final\b(?:<\|message\|>)? | <channel\|>
         | <\|end_of_thought\|> | <\|END_THINKING\|>)""",
    re.IGNORECASE | re.VERBOSE,
)
"""Tags of thoughts: Qwen, DeepSeek and most others; Kimi; Magistral; Seed; channels (gpt-oss, Gemma); Command A."""
_FIRST = ("<", "◁", "[THINK]", "[/THINK]")  # what the tags begin with


class _Tag(NamedTuple):
    """A tag of an answer or of thoughts, and its span."""

    think: bool
    closing: bool
    start: int
    end: int


def _tag(m: re.Match[str]) -> _Tag:
    if m["begin"] or m["end"]:
        return _Tag(True, bool(m["end"]), *m.span())
    return _Tag(bool(m["think"]), bool(m["closing"]), *m.span())


def answer_of(text: str, issues: list[Issue]) -> str:
    """Return the part that should hold the graph: the last <answer> outside thoughts, else all text outside them.

    <think> stands here for every tag of thoughts. A </think> without <think> ends a block that began in the prompt. A
    <think> that is never closed is treated as text, because the graph may follow it.
    """
    if (whole := _PROMPTED_LAYOUT.match(text)) and text.count("<") == 4 and text.endswith("</answer>"):
        return text[whole.end() : -len("</answer>")]
    if not any(first in text for first in _FIRST) or not (tags := [_tag(m) for m in _TAGS.finditer(text)]):
        return text
    last_think_end = max((tag.end for tag in tags if tag.think and tag.closing), default=0)
    thinking = unclosed_think = False
    start: int | None = None  # of an <answer> that is still open
    blocks: list[tuple[int, int]] = []
    drafts = 0  # <answer> blocks inside a <think> that began in the prompt
    outside: list[str] = []
    position = 0  # start of the current text outside <think>
    for tag in tags:
        if tag.think and tag.closing:
            if not thinking:
                outside.clear()
                start, drafts = None, len(blocks)
            thinking, position = False, tag.end
        elif tag.think and start is None and not thinking:
            if tag.start < last_think_end:
                outside.append(text[position : tag.start])
                thinking = True
            else:
                unclosed_think = True
        elif not tag.think and not thinking:
            if not tag.closing:
                start = tag.end
            elif start is not None:
                blocks.append((start, tag.start))
                start = None
    if unclosed_think:
        issues.append(Issue("unclosed_tag", "thoughts are never closed"))
    if answers := blocks[drafts:]:
        if len(answers) > 1:
            issues.append(Issue("several_answers", f"{len(answers)} answer blocks"))
        return text[slice(*answers[-1])]
    if start is not None:
        issues.append(Issue("unclosed_tag", "<answer> is never closed"))
        return text[start:]
    rest = "".join([*outside, text[position:]])
    return rest if rest.strip() or not blocks else text[slice(*blocks[-1])]
