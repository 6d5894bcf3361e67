"""completions.jsonl: a few completions of a run with what they were scored against, for people to read.

A line per completion, a few per log (GRPO: sampled completions) or per evaluation (SFT: greedy ones):

    {"step": 20, "image_id": "7", "picture": "samples/1b6453892473.webp", "frame": [1000, 1000], "completion": "...",
     "terms": {"format": 1.0, "edge": null}, "weights": {"format": 1.0, "edge": 5.0}, "total": 1.0,
     "advantage": -0.7, "group": {"number": 0, "size": 8, "mean": 1.6, "spread": 0.9},
     "truth": {"image_id": "7", "width": 640, "height": 480, "objects": [...], "relationships": [...]}}

`total` is what TRL adds up: each term times its weight, without the terms that do not apply. `advantage` is TRL's own
number. `group` says which completions of the step have the same prompt (those of this process), the mean of their
totals and their standard deviation. A reduced picture of each image is kept in `samples/`, so that the report needs
nothing but the run's folder. `r1sgg report --runs FOLDER` shows all of it.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from PIL import Image
from transformers import TrainerCallback

from r1sgg.data.base import Example
from r1sgg.data.dataset import DataSet
from r1sgg.data.thumbnails import thumbnail
from r1sgg.files import write_file
from r1sgg.judging.labels import load_similarity
from r1sgg.rewards.adapters import ScoredBatch
from r1sgg.rewards.rubric import DEFAULT_SET, Rubric
from r1sgg.training.logs import StepFile
from r1sgg.training.validation import Answer

PICTURES = "samples"
"""The folder of the reduced pictures, in the run's folder."""


class CompletionsLog(TrainerCallback):  # type: ignore[misc]
    """Writes a few completions with their rewards to completions.jsonl.

    Args:
        folder: of the run.
        count: completions per log or evaluation; 0: none.
        weights: of the reward terms (GRPO); None: SFT, whose evaluated completions get the default reward's terms.
    """

    def __init__(self, folder: Path, count: int, weights: Mapping[str, float] | None) -> None:
        self.folder, self.count, self.weights = folder, count, weights
        self.file = StepFile(folder / "completions.jsonl")
        self._rows: list[dict[str, Any]] = []
        self._pictures: dict[str, str] = {}  # base64: what waits for a log is stored in checkpoints as plain text
        self._steps: set[int] = set()

    # ---------------------------------------------------------------- GRPO

    def sampled(self, batch: ScoredBatch) -> None:
        """Remember the first completions of the latest batch; an observer of `trl_rewards`."""
        assert self.weights is not None
        self._rows, self._pictures = [], {}
        images = batch.columns.get("image") or [None] * len(batch.texts)
        for number, places in enumerate(_groups(batch)):
            totals = [_total(batch.scores[k].terms, self.weights) for k in places]
            group = {"number": number, "size": len(totals), **_mean_and_spread(totals)}
            for k, total in zip(places, totals, strict=True):
                if len(self._rows) == self.count:
                    return
                example, terms = batch.examples[k], {name: batch.scores[k].terms[name] for name in self.weights}
                self._rows.append(
                    {
                        "image_id": example.image_id,
                        "picture": self._keep_picture(example, images[k]),
                        "frame": list(batch.frames[k]),
                        "completion": batch.texts[k],
                        "terms": terms,
                        "weights": dict(self.weights),
                        "total": total,
                        "advantage": None,
                        "group": group,
                        "truth": example.to_record(),
                    }
                )

    def advantages(self, values: Sequence[float]) -> None:
        """Add TRL's advantages of the latest batch, one for each of its completions."""
        for row, value in zip(self._rows, values, strict=False):
            row["advantage"] = round(float(value), 6)

    def resume_state(self) -> dict[str, Any]:
        """Return what waits for the next log, to be stored in a checkpoint."""
        return {"rows": orjson.dumps(self._rows).decode(), "pictures": dict(self._pictures)}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `resume_state` returned."""
        self._rows, self._pictures = orjson.loads(state["rows"]), dict(state["pictures"])

    # ---------------------------------------------------------------- SFT

    def on_answers(self, state: Any, answers: Sequence[Answer], source: DataSet) -> None:
        """Write evaluated completions with the terms of the default reward set; of GRPO the sampled ones are written.

        Args:
            state: of the trainer.
            answers: greedy completions.
            source: the data that they are of.
        """
        # a run that was killed while it wrote the figures of this step evaluates again
        if self.weights is not None or not state.is_world_process_zero or state.global_step in self._steps:
            return
        chosen = list(answers[: self.count])
        rubric = Rubric.of(DEFAULT_SET, load_similarity("glove"))
        scores = rubric.score([a.text for a in chosen], [a.example.graph for a in chosen], [a.frame for a in chosen])
        self._rows = [
            {
                "image_id": answer.example.image_id,
                "picture": self._keep_picture(answer.example, source.draw(answer.row)[0]),
                "frame": list(answer.frame),
                "completion": answer.text,
                "terms": {name: score.terms[name] for name in rubric.weights},
                "weights": dict(rubric.weights),
                "total": _total(score.terms, rubric.weights),
                "truth": answer.example.to_record(),
            }
            for answer, score in zip(chosen, scores, strict=True)
        ]
        self._write(state.global_step)

    # ---------------------------------------------------------------- events of the trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._steps = {row["step"] for row in self.file.begin(state.global_step)}

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and not any(key.startswith("eval_") for key in logs or ()):
            self._write(state.global_step)

    def _write(self, step: int) -> None:
        """Write the rows that wait, their pictures first."""
        if not self._rows:
            return
        for name, text in self._pictures.items():
            if not (path := self.folder / name).is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, base64.b64decode(text))
        self.file.append([{"step": step, **row} for row in self._rows])
        self._steps.add(step)
        self._rows, self._pictures = [], {}

    def _keep_picture(self, example: Example, image: Image.Image | None) -> str | None:
        """Keep a reduced picture until the next log; return its name in the run's folder."""
        if image is None:
            return None
        name = f"{PICTURES}/{hashlib.sha256(example.image_id.encode()).hexdigest()[:12]}.webp"
        if name not in self._pictures:
            # LLaVA gets a square with the image at its top left
            seen = image.crop((0, 0, min(image.width, example.width), min(image.height, example.height)))
            self._pictures[name] = base64.b64encode(thumbnail(seen)).decode()
        return name


def _groups(batch: ScoredBatch) -> Iterator[list[int]]:
    """Yield the places of the completions of each prompt; they are neighbours in a batch."""
    for _, places in itertools.groupby(range(len(batch.texts)), key=lambda k: batch.examples[k].image_id):
        yield list(places)


def _total(terms: Mapping[str, float | None], weights: Mapping[str, float]) -> float:
    return sum(weight * value for name, weight in weights.items() if (value := terms[name]) is not None)


def _mean_and_spread(totals: Sequence[float]) -> dict[str, float]:
    return {"mean": round(statistics.fmean(totals), 6), "spread": round(statistics.pstdev(totals), 6)}
