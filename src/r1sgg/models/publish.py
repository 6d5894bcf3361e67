"""Make a self-contained checkpoint of a trained run (weights, processor, settings, model card), and upload it.

A LoRA adapter is merged into its base model. Nothing is uploaded unless `push` is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from r1sgg.data.provenance import read_trained_on, write_trained_on
from r1sgg.errors import InputError, ModelError, require
from r1sgg.files import new_folder, write_file
from r1sgg.models.card import CARD, card, loaded_as, read_results, read_run
from r1sgg.models.families import load_model
from r1sgg.models.finding import first_line, resolve


def publish(
    source: str, out: Path, *, results: Path | None = None, dtype: str = "bfloat16", name: str | None = None
) -> Path:
    """Write a checkpoint folder that needs no other files.

    Args:
        source: a run's folder (a whole model or an adapter), or any checkpoint.
        out: a new or empty folder.
        results: what `r1sgg evaluate --json` wrote for this checkpoint, for the card.
        dtype: of the weights: float32, bfloat16, float16, or auto (as they are).
        name: on the Hub, for the card; None: the card names the folder.

    Returns:
        The folder.

    Raises:
        InputError: `out` has files in it, or the results are another model's.
        ModelError: the checkpoint cannot be loaded, or its adapter does not fit.
    """
    with new_folder(out) as written:
        _write(source, written, name or out.name, name or loaded_as(out), results, dtype)
    return out


def _write(source: str, out: Path, name: str, load_as: str, results: Path | None, dtype: str) -> None:
    folder = Path(resolve(source))
    trained_on = read_trained_on(folder)
    measured = None if results is None else read_results(results, trained_on)
    loaded = load_model(source, device="cpu", dtype=dtype)
    loaded.model.save_pretrained(out)
    loaded.processor.save_pretrained(out)
    loaded.settings.write(out)
    if trained_on:
        write_trained_on(out, trained_on)
    if loaded.calibration is not None:
        loaded.calibration.write(out)
    text = card(name, load_as, loaded.settings, read_run(folder), trained_on, measured)
    write_file(out / CARD, text)


def push(folder: Path, name: str, *, private: bool = True) -> str:
    """Upload a checkpoint folder to the Hub, with the token of `hf auth login` or HF_TOKEN.

    Args:
        folder: what `publish` wrote.
        name: owner/name of the repository; it is created if it does not exist.
        private: for a repository that is created.

    Returns:
        The URL of the commit.

    Raises:
        InputError: the folder has no card, or the name has no owner.
        ModelError: the Hub refuses.
    """
    hub: Any = require("huggingface_hub", "train")
    errors: Any = require("huggingface_hub.errors", "train")
    if missing := [name for name in (CARD, "config.json") if not (folder / name).is_file()]:
        raise InputError(str(folder), expected="what `r1sgg publish` wrote", found=f"no {missing[0]} in it")
    if name.count("/") != 1 or not all(name.split("/")):
        raise InputError("--push", expected="owner/name", found=name)
    api = hub.HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=name, folder_path=folder, commit_message="Checkpoint of r1sgg")
    except (errors.HfHubHTTPError, errors.LocalTokenNotFoundError, OSError) as error:
        raise ModelError(f"{name}: the Hub refused the upload: {first_line(error)}; see `hf auth login`") from error
    return str(commit)
