"""Run tasks of lmms-eval with a model that knows the truth: FOLDER of tasks, then `TASK FRAME` pairs; prints JSON.

The stand-in answers the real requests of the real package: it looks at the image, and writes the annotation in the
frame that it was started with (as one model would), whatever the prompt says.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from lmms_eval import evaluator
from lmms_eval.api.model import lmms
from lmms_eval.tasks import TaskManager


class Knowing(lmms):
    """Answers with the annotation, but for the first image, where it has nothing to say."""

    is_simple = True

    def __init__(self, frame: str) -> None:
        super().__init__()
        self.frame, self.prompts = frame, []

    def generate_until(self, requests: list[Any]) -> list[str]:
        return [self.answer(*request.args) for request in requests]

    def answer(self, text: str, options: Any, visual: Any, number: int, task: str, split: str) -> str:
        doc = self.task_dict[task][split][number]
        (image,) = visual(doc)
        assert image.mode == "RGB"
        self.prompts.append(text)
        if number == 0:
            return "I see nothing."
        side = (1000, 1000) if self.frame == "thousandths" else image.size
        objects = json.loads(doc["objects"])
        for row in objects:
            row["bbox"] = [v * side[k % 2] / image.size[k % 2] for k, v in enumerate(row["bbox"])]
        return json.dumps({"objects": objects, "relationships": json.loads(doc["relationships"])})

    def loglikelihood(self, requests: list[Any]) -> list[Any]:
        raise NotImplementedError

    def generate_until_multi_round(self, requests: list[Any]) -> list[Any]:
        raise NotImplementedError


def main(folder: str, *pairs: str) -> None:
    """Run the tasks and print their results and the first prompt of each."""
    manager = TaskManager(include_path=folder, include_defaults=False)
    found = {}
    for pair in pairs:
        task, frame = pair.split()
        model = Knowing(frame)
        done = evaluator.simple_evaluate(model=model, tasks=[task], task_manager=manager, bootstrap_iters=0)
        found[pair] = {"results": done["results"][task], "prompt": model.prompts[0], "samples": done["samples"][task]}
    sys.stdout.write(f"RESULTS {json.dumps(found, default=str)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
