"""The model card of a checkpoint: training data, recipe and figures, from the files of the run.

Nothing in it is written by hand, and it contains no paths or secrets of the machine that trained it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from r1sgg import __version__
from r1sgg.data.jsonl import read_json
from r1sgg.data.provenance import Stage
from r1sgg.errors import InputError
from r1sgg.files import user_path
from r1sgg.models.prompts import AnswerSettings

CARD = "README.md"
RECIPE = "config.yaml"
_OF_THE_MACHINE = frozenset(
    {"model", "data", "validation", "output_dir", "logging_dir", "hub_token", "hub_model_id", "run_name", "report_to"}
)
_FIGURES = (
    ("failure_rate", "failures, %", 100),
    ("AP50", "AP50", 100),
    ("R@20", "R@20", 100),
    ("R@50", "R@50", 100),
    ("R@100", "R@100", 100),
    ("mR@50", "mR@50", 100),
    ("mR@100", "mR@100", 100),
    ("precision", "precision", 100),
    ("relations_per_image", "relations per image", 1),
)


def read_results(path: Path, trained_on: Sequence[Stage]) -> dict[str, Any]:
    """Read the figures that `r1sgg evaluate --json` wrote for one predictions file.

    Args:
        path: the file.
        trained_on: the checkpoint's history, which the results must have too.

    Raises:
        InputError: it cannot be read, or has the results of several files or of another model.
    """
    found = read_json(path)
    if not isinstance(found, dict) or "failure_rate" not in found:
        hint = "evaluate this model's predictions alone"
        raise InputError(str(path), expected="the results of one predictions file", found="something else", hint=hint)
    if (seen := found.get("trained_on")) and list(seen) != list(trained_on):
        raise InputError(
            str(path),
            expected="results of this checkpoint",
            found=f"those of a checkpoint with another history ({found.get('model')})",
            hint="generate and evaluate with the checkpoint that is published",
        )
    return found


def read_run(folder: Path) -> dict[str, Any]:
    """Read the recipe in a run's folder; empty if there is none.

    Raises:
        InputError: it is not YAML.
    """
    path = folder / RECIPE
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(str(path), expected="YAML", found=" ".join(str(error).split())) from error
    return found if isinstance(found, dict) else {}


def base_on_the_hub(run: Mapping[str, Any]) -> str | None:
    """Find the Hub model that a run, or the chain of runs that it continues, started from; None if there is none."""
    for _ in range(10):  # runs whose recipes name each other would never end
        model = str(run.get("model", ""))
        folder = user_path(model)
        if not model or not folder.is_dir():
            on_the_hub = model.count("/") == 1 and not model.startswith((".", "/", "~"))
            return model if on_the_hub else None
        run = read_run(folder)
    return None


def loaded_as(folder: Path) -> str:
    """Return what `r1sgg.load` takes for a folder: its path, or "." where that would name folders of this machine."""
    if folder.is_absolute() or folder == Path():
        return "."
    path = folder.as_posix()
    return path if "/" in path else f"./{path}"  # a name alone may be that of a shipped model


def card(
    name: str,
    load_as: str,
    settings: AnswerSettings,
    run: Mapping[str, Any],
    trained_on: Sequence[Stage],
    results: Mapping[str, Any] | None,
    watched: Mapping[str, Any] | None = None,
) -> str:
    """Write the card as Markdown with the Hub's front matter.

    Args:
        name: the checkpoint's.
        load_as: what `r1sgg.load` takes: its name on the Hub, or see `loaded_as`.
        settings: its prompt and answer layout.
        run: its recipe, see `read_run`.
        trained_on: its stages.
        results: of `r1sgg evaluate --json`, or None.
        watched: figures of the last evaluation during training and its `step`, shown where there are no results.
    """
    base = base_on_the_hub(run)
    front: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["scene-graph-generation", "r1sgg"],
    }
    if base:
        front["base_model"] = base
    here = "  # in the folder of this file" if load_as == "." else ""
    load = f"r1sgg.load({json.dumps(load_as, ensure_ascii=False)}){here}"
    parts = [
        "---\n" + yaml.safe_dump(front, sort_keys=False) + "---",
        f"# {name.rpartition('/')[2] or name}",
        "A vision-language model that writes the scene graph of an image: objects with boxes, and relationships. "
        f"Trained with r1sgg {__version__} after R1-SGG (arXiv 2504.13617).",
        f'```python\nimport r1sgg\n\nread = {load}\nprint(read("photo.jpg").triplets)\n```',
        "## Prompt\n\n" + _table(("setting", "value"), _settings(settings)),
        "## Training\n\n" + _origin(run, base),
        _stages(trained_on),
        _recipe(run),
        "## Results\n\n" + (_measured(results) if results else _watched(watched or {}, run)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _settings(settings: AnswerSettings) -> list[tuple[str, str]]:
    return [(key, " ".join(str(value).split())) for key, value in settings.to_record().items()]


def _origin(run: Mapping[str, Any], base: str | None) -> str:
    """Say what the last stage started from, and by which command it was trained."""
    model, recorded = str(run.get("model", "")), run.get("recorded") or {}
    lines = [f"Base model: {base or Path(model).name}."] if base or model else []
    if base and Path(model).name != base.rpartition("/")[2]:
        lines = [f"Base model: {base}; the last stage started from {Path(model).name}."]
    if (arguments := recorded.get("arguments")) is not None:
        words = shlex.join(["r1sgg", str(recorded.get("command")), *_public(arguments)])
        lines.append(f"The last stage's command:\n\n```sh\n{words}\n```")
    return "\n\n".join(lines)


def _public(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the options of a command, without those that are private and without the folders of the machine."""
    private = False
    for argument in map(str, arguments):
        if argument.startswith("--"):
            private = argument.removeprefix("--").partition("=")[0].replace("-", "_") in _PRIVATE
        if not private:
            yield _FOLDERS.sub("", argument)


_PRIVATE = frozenset({"hub_token", "hub_model_id", "run_name", "report_to", "logging_dir"})
_FOLDERS = re.compile(r"""(?<![\w.])[~/][^\s,:"'{}]*/""")
"""The folders of an absolute path: what stands before the name of its file."""


def _stages(trained_on: Sequence[Stage]) -> str:
    if not trained_on:
        return "No stage was recorded."
    rows = [
        (
            str(stage.get("command")),
            _plain(str(stage.get("name"))),
            str(stage.get("split")),
            str(stage.get("images")),
            str(stage.get("hashes", {}).get("annotations")),
            _plain(str(stage.get("vocabulary"))),
        )
        for stage in trained_on
    ]
    return _table(("stage", "data", "split", "images", "hash of the annotations", "vocabulary"), rows)


def _recipe(run: Mapping[str, Any]) -> str:
    """Format the last stage's options, without those that name files."""
    chosen = {
        key: value
        for key, value in run.items()
        if key not in _OF_THE_MACHINE and key != "recorded" and not str(value).startswith(("/", "~"))
    }
    if not chosen:
        return ""
    text = yaml.safe_dump({**chosen, "versions": run.get("recorded", {}).get("versions", {})}, sort_keys=False)
    return f"The last stage's recipe:\n\n```yaml\n{text}```"


def _measured(results: Mapping[str, Any]) -> str:
    truth = results.get("ground_truth") or {}
    asked = (
        ", asked natively (two questions in the words of the model's makers)" if results.get("ask") == "native" else ""
    )
    where = (
        f"{results.get('images')} images of {_plain(str(truth.get('name')))} (split {truth.get('split')}, hash "
        f"{results.get('data_hash')}), {results.get('protocol')} protocol, vocabulary "
        f"{_plain(str(results.get('vocabulary')))}, task {results.get('task')}{asked}."
    )
    return f"{where}\n\n{_figures(results)}"


def _watched(numbers: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    if not numbers:
        return "Not measured."
    data = (run.get("recorded") or {}).get("validation") or {}
    where = f"{_plain(str(data.get('name')))} (split {data.get('split')})"
    said = f"At step {numbers.get('step')} of the training, greedy completions for the first images of {where}, strict"
    return f"{said} protocol.\n\n{_figures(numbers)}"


def _figures(numbers: Mapping[str, Any]) -> str:
    rows = [
        (title, f"{numbers[key] * scale:.2f}") for key, title, scale in _FIGURES if isinstance(numbers.get(key), float)
    ]
    return _table(("figure", "value"), rows)


def _plain(name: str) -> str:
    """Return the name of a data set or vocabulary without the path of its folder."""
    kind, colon, rest = name.rpartition(":")
    return f"{kind}{colon}{Path(rest).name}" if "/" in rest and kind != "hub" else name


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)
