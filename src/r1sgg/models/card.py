"""The model card of a checkpoint: what it was trained on and how, and what was measured, from the files beside it.

Nothing in it is written by hand, and no path or secret of the machine that trained it goes in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import yaml

from r1sgg import __version__
from r1sgg.data.provenance import Stage
from r1sgg.errors import InputError
from r1sgg.models.prompts import AnswerSettings

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
    """The figures that `r1sgg evaluate --json` wrote for one predictions file.

    Args:
        path: the file.
        trained_on: what the checkpoint was trained on, which the results must say too.

    Raises:
        InputError: it cannot be read, holds several files' results, or another model's.
    """
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(str(path), expected="results of r1sgg evaluate --json", found=error.strerror or "") from error
    except orjson.JSONDecodeError as error:
        raise InputError(str(path), expected="a JSON object", found=f"broken JSON ({error.msg})") from error
    if not isinstance(found, dict) or "failure_rate" not in found:
        hint = "evaluate this model's predictions alone"
        raise InputError(str(path), expected="the results of one predictions file", found="something else", hint=hint)
    if (seen := found.get("trained_on")) and list(seen) != list(trained_on):
        raise InputError(
            str(path),
            expected="results of this checkpoint",
            found=f"those of one with another history ({found.get('model')})",
            hint="generate and evaluate with the checkpoint that is published",
        )
    return found


def read_run(folder: Path) -> dict[str, Any]:
    """The recipe that a run's folder holds; empty where there is none.

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
    """The name on the Hub that a run, or the run whose result it started from, began with."""
    for _ in range(10):
        model = str(run.get("model", ""))
        folder = Path(model).expanduser()
        if not model or not folder.is_dir():
            on_the_hub = model.count("/") == 1 and not model.startswith((".", "/", "~"))
            return model if on_the_hub else None
        run = read_run(folder)
    return None


def card(
    name: str,
    settings: AnswerSettings,
    run: Mapping[str, Any],
    trained_on: Sequence[Stage],
    results: Mapping[str, Any] | None,
) -> str:
    """The card as Markdown with the Hub's front matter.

    Args:
        name: the checkpoint's, as people will load it.
        settings: how it is asked and how it answers.
        run: its recipe, see `read_run`.
        trained_on: its stages.
        results: of `r1sgg evaluate --json`, or None.
    """
    base = base_on_the_hub(run)
    front: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["scene-graph-generation", "r1sgg"],
    }
    if base:
        front["base_model"] = base
    parts = [
        "---\n" + yaml.safe_dump(front, sort_keys=False) + "---",
        f"# {name.rpartition('/')[2] or name}",
        "A vision-language model that answers with the scene graph of an image: objects with boxes, and relationships. "
        f"Trained with r1sgg {__version__} after R1-SGG (arXiv 2504.13617).",
        f'```python\nimport r1sgg\n\nread = r1sgg.load("{name}")\nprint(read("photo.jpg").triplets)\n```',
        "## Asking\n\n" + _table(("setting", "value"), dataclasses.asdict(settings).items()),
        "## Training\n\n" + _stages(trained_on),
        _recipe(run),
        "## Measured\n\n" + (_measured(results) if results else "Not measured."),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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
    """The last stage's options, without what names files."""
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
    where = (
        f"{results.get('images')} images of {_plain(str(truth.get('name')))} (split {truth.get('split')}, hash "
        f"{results.get('data_hash')}), {results.get('protocol')} protocol, vocabulary "
        f"{_plain(str(results.get('vocabulary')))}, task {results.get('task')}."
    )
    rows = [
        (title, f"{results[key] * scale:.2f}") for key, title, scale in _FIGURES if isinstance(results.get(key), float)
    ]
    return f"{where}\n\n{_table(('figure', 'value'), rows)}"


def _plain(name: str) -> str:
    """The name of a set or vocabulary without the folders that it lies in."""
    kind, colon, rest = name.rpartition(":")
    return f"{kind}{colon}{Path(rest).name}" if "/" in rest and kind != "hub" else name


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)
