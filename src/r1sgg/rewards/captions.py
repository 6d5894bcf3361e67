"""Rewards for a policy that writes captions: what it states, against the graph of the image.

    from r1sgg.rewards.captions import caption_rubric
    functions, weights = trl_rewards(caption_rubric())               any adapter of `r1sgg.rewards.adapters`

    --rewards '{"r1sgg.rewards.captions:caption_precision": 2, "r1sgg.rewards.captions:caption_coverage": 1}'

The completion is the caption (what follows </think>, if there is one); the truth is a ground-truth record, as for every
other reward, whose boxes play no part. Statements are read by rules, the plain parser unless another is chosen, and
judged by `r1sgg.judging.statements`: the same as `r1sgg captions check`, so the metric and the reward agree.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from r1sgg.data.captions.extracting import LONGEST, open_parser
from r1sgg.data.captions.phrases import Parser
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.boxes import Array
from r1sgg.judging.statements import Statements, judge_statements
from r1sgg.rewards.evidence import CompletionEvidence
from r1sgg.rewards.rubric import Rubric

WEIGHTS = {"caption_precision": 2.0, "caption_coverage": 1.0, "caption_objects": 1.0}
"""Weights of `caption_rubric`: alone, precision pays one safe statement best, and coverage a list of everything."""


def caption_precision(evidence: CompletionEvidence) -> Array:
    """Statements that the graph supports, over all statements; 0 for a caption that states nothing."""
    return _each(evidence, _precision)


def caption_coverage(evidence: CompletionEvidence) -> Array:
    """Relationships of the graph that the caption states, over all of them; it does not apply where there are none."""
    return _each(evidence, _coverage)


def caption_objects(evidence: CompletionEvidence) -> Array:
    """1 - CHAIR_i: mentioned nouns that the graph has an object for, over all; 0 for a caption without nouns."""
    return _each(evidence, _objects)


def caption_rubric() -> Rubric:
    """Return a rubric of the three terms with `WEIGHTS`."""
    return Rubric({f"{__name__}:{name}": weight for name, weight in WEIGHTS.items()})


def _precision(judged: Statements, graph: SceneGraph) -> float:
    supported = sum(verdict.kind == "supported" for verdict in judged.verdicts)
    return supported / len(judged.verdicts) if judged.verdicts else 0.0


def _coverage(judged: Statements, graph: SceneGraph) -> float:
    triplets = graph.triplets
    return len({triplets[k] for k in judged.covered}) / len(set(triplets)) if triplets else float("nan")


def _objects(judged: Statements, graph: SceneGraph) -> float:
    return 1 - len(judged.invented) / judged.mentioned if judged.mentioned else 0.0


def _each(evidence: CompletionEvidence, figure: Callable[[Statements, SceneGraph], float]) -> Array:
    texts = [text.rpartition("</think>")[2].strip() for text in evidence.texts]
    rows = zip(texts, evidence.truths, strict=True)
    return np.array([figure(_judged(text, truth), truth) for text, truth in rows], dtype=np.float64)


@functools.lru_cache(4096)
def _judged(text: str, truth: SceneGraph) -> Statements:
    (found,) = _parser().parse([text[:LONGEST]])
    return judge_statements(found.names, [phrase.name for phrase in found.phrases if phrase.name], truth)


@functools.cache
def _parser() -> Parser:
    return open_parser("plain")
