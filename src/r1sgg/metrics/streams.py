"""Join two streams, ground truth and predictions, by image id without keeping either in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from r1sgg.data.base import Example
from r1sgg.data.predictions import Prediction
from r1sgg.errors import InputError


@runtime_checkable
class LeavesOut(Protocol):
    """Ground truth that has left out images without relations; a `DataSet` is such.

    Attributes:
        name: its specification, KIND:PATH[,OPTION=VALUE]....
        empty_ids: ids of these images.
    """

    @property
    def name(self) -> str: ...

    @property
    def empty_ids(self) -> frozenset[str]: ...


def join(
    examples: Iterable[Example], predictions: Iterable[Prediction], where: str = "predictions"
) -> Iterator[tuple[int, Example, Prediction | None]]:
    """Yield each example with its position in the ground truth and its prediction (None if missing).

    If both streams have the same order, nothing is buffered; otherwise items are kept until their partner arrives.
    Examples are yielded as their predictions arrive, and those without one at the end.

    Raises:
        InputError: a prediction for an image that is not in the ground truth, or a second one for an image.
    """
    truths, answers = enumerate(examples), iter(predictions)
    waiting_truths: dict[str, tuple[int, Example]] = {}
    waiting_answers: dict[str, Prediction] = {}
    while True:
        truth, answer = next(truths, None), next(answers, None)
        if truth is None and answer is None:
            break
        if truth is not None:
            name = truth[1].image_id
            if answer is not None and answer.image_id == name:
                yield *truth, answer
                continue
            if (partner := waiting_answers.pop(name, None)) is not None:
                yield *truth, partner
            else:
                waiting_truths[name] = truth
        if answer is not None:
            if (match := waiting_truths.pop(answer.image_id, None)) is not None:
                yield *match, answer
            elif answer.image_id in waiting_answers:
                raise InputError(where, expected="one prediction per image", found=f"{answer.image_id!r} twice")
            else:
                waiting_answers[answer.image_id] = answer
    if waiting_answers:
        raise _unknown(list(waiting_answers), next(iter(waiting_truths), None), examples, where)
    for number, example in waiting_truths.values():
        yield number, example, None


def _unknown(names: list[str], known: str | None, examples: Iterable[Example], where: str) -> InputError:
    """Return the error of predictions for images that are not in the ground truth, of which `known` is one."""
    found = f"image_id {names[0]!r}"
    found += f" and {len(names) - 1} more ids that are not in it" if len(names) > 1 else ", which is not in it"
    found += "" if known is None else f" (its ids are like {known!r})"
    hint = "check that the predictions were made for this ground truth"
    if isinstance(examples, LeavesOut) and (empty := examples.empty_ids & set(names)):
        several = "these images have" if len(empty) == len(names) else f"{len(empty)} of these images have"
        whose, were = ("this image has", "was") if len(names) == 1 else (several, "were")
        hint = f"{whose} no relations and {were} left out of the ground truth; {examples.name},empty=yes keeps such"
    return InputError(where, expected="one prediction per image of the ground truth", found=found, hint=hint)
