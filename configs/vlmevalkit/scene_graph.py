"""Scene graphs as a data set of VLMEvalKit: prompts, answers and figures by r1sgg, which must be installed beside it.

    python configs/vlmevalkit/scene_graph.py data gt.jsonl r1sgg_vg150          # writes r1sgg_vg150.tsv into LMUData
    python configs/vlmevalkit/scene_graph.py run VLMEvalKit/run.py --data r1sgg_vg150 --model Qwen2-VL-7B-Instruct

`run` registers the data set with the installed vlmeval and then runs VLMEvalKit's own run.py. A name with "psg" or
"open" in place of "vg150" counts the names of PSG, or all names. A name ending in _pixels or _resized says what the
model's boxes are relative to (see docs/others.md); all of them read the TSV of the first part of their name.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from vlmeval.dataset.image_base import ImageBaseDataset
from vlmeval.smp import LMUDataRoot, load

from r1sgg.data.base import read_ground_truth
from r1sgg.errors import ConfigError, InputError
from r1sgg.files import protected, writing
from r1sgg.metrics.harness import answer_of, figures_of, frame_of_size
from r1sgg.models.prompts import AnswerSettings, build_messages

FRAMES = {"": "thousandths", "_pixels": "pixels", "_resized": "resized"}
PIXELS = (1280 * 28 * 28, 16384 * 28 * 28)
"""Fewest and most pixels of VLMEvalKit's Qwen2.5-VL models (vlmeval/config.py); change both or neither."""
NAMES = {
    f"r1sgg_{vocabulary}{ending}": (vocabulary, ending) for vocabulary in ("vg150", "psg", "open") for ending in FRAMES
}
FIGURES = ("failure_rate", "AP50", "R@50", "mR@50", "precision")


class SceneGraphDataset(ImageBaseDataset):
    """One question for each image; the answer of the TSV is its ground truth as JSON."""

    TYPE = "SceneGraph"
    DATASET_URL = dict.fromkeys(NAMES, "")
    DATASET_MD5 = dict.fromkeys(NAMES)

    def load_data(self, dataset: str) -> Any:
        """Return the TSV as a DataFrame."""
        path = table_of(dataset)
        if not path.is_file():
            hint = f"write it: python {__file__} data gt.jsonl {path.stem}"
            raise InputError(str(path), expected="the questions", found="no such file", hint=hint)
        return load(str(path))

    def build_prompt(self, line: Any) -> list[dict[str, str]]:
        """Return the image and the paper's prompt, its coordinates in the frame of the data set's name."""
        message = super().build_prompt(line)
        line = self.data.iloc[line] if isinstance(line, int) else line
        settings = AnswerSettings(vocabulary=NAMES[self.dataset_name][0])
        message[-1]["value"] = build_messages(settings, self._frame(json.loads(line["answer"])))[-1]["content"]
        return message

    def evaluate(self, eval_file: str, **judge_kwargs: Any) -> dict[str, float | None]:
        """Return the figures in percent of a file with the columns answer and prediction; no judge is needed."""
        rows = load(eval_file).to_dict("records")
        answers = []
        for row in rows:
            truth = json.loads(row["answer"])
            said = row["prediction"] if isinstance(row["prediction"], str) else ""  # an empty cell is read as NaN
            answers.append(answer_of(truth, said, self._frame(truth)))
        found = figures_of(answers, NAMES[self.dataset_name][0])
        return {name: None if found[name] is None else 100 * found[name] for name in FIGURES}

    def _frame(self, truth: dict[str, Any]) -> tuple[float, float]:
        ending = NAMES[self.dataset_name][1]
        return frame_of_size(FRAMES[ending], (truth["width"], truth["height"]), PIXELS)  # type: ignore[arg-type]


def table_of(dataset: str) -> Path:
    """Return the TSV of a data set; those that differ by the frame alone share it.

    Raises:
        ConfigError: there is no such data set.
    """
    if dataset not in NAMES:
        raise ConfigError(f"expected one of {', '.join(NAMES)}, found {dataset!r}")
    return Path(LMUDataRoot()) / f"r1sgg_{NAMES[dataset][0]}.tsv"


def write_table(truth: Path, dataset: str) -> Path:
    """Write a ground-truth file with images as a TSV of VLMEvalKit and return its path.

    Raises:
        InputError: an image is missing.
    """
    path = table_of(dataset)
    with protected([truth]), writing(path) as out:
        handle = io.TextIOWrapper(out, encoding="utf-8", newline="")
        writer = csv.writer(handle, delimiter="\t")
        writer.writerow(["index", "image", "question", "answer"])
        for k, example in enumerate(read_ground_truth(truth)):
            if example.image is None or not example.image.is_file():
                raise InputError(
                    f"{truth}: image_id {example.image_id}", expected="its image", found=str(example.image)
                )
            record = {key: value for key, value in example.to_record().items() if key not in ("image", "split", "meta")}
            picture = base64.b64encode(example.image.read_bytes()).decode()
            writer.writerow([k, picture, "Give the scene graph of the image.", json.dumps(record)])
        handle.flush()
        handle.detach()  # `writing` closes the file
    return path


def register() -> None:
    """Make the data sets known to the vlmeval that is installed."""
    import vlmeval.dataset as datasets

    if SceneGraphDataset not in datasets.DATASET_CLASSES:
        datasets.DATASET_CLASSES.insert(0, SceneGraphDataset)
        datasets.SUPPORTED_DATASETS.extend(NAMES)


def main(arguments: list[str]) -> None:
    """See the module."""
    match arguments:
        case ["data", truth, dataset]:
            sys.stdout.write(f"wrote {write_table(Path(truth), dataset)}\n")
        case ["run", script, *rest]:
            register()
            sys.argv = [script, *rest]
            sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
            runpy.run_path(script, run_name="__main__")
        case _:
            sys.exit("expected: data GT.jsonl NAME, or: run VLMEvalKit/run.py OPTIONS")


if __name__ == "__main__":
    main(sys.argv[1:])
