"""`r1sgg calibrate`: make a checkpoint's scores mean what they say, on a validation set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from r1sgg.cli.root import app


@app.command()
def calibrate(
    predictions: Annotated[
        Path,
        typer.Argument(metavar="PREDICTIONS.jsonl", help="Single answers with scores (`generate --scores`)."),
    ],
    ground_truth: Annotated[
        str, typer.Option(metavar="DATA", help="Ground truth that is not the test set: JSON Lines or any data set.")
    ],
    model: Annotated[Path, typer.Option(help="Checkpoint folder that made the predictions; gets calibration.json.")],
    vocabulary: Annotated[str, typer.Option(help="Vocabulary: vg150, psg, open, or a JSON file.")] = "open",
    method: Annotated[str, typer.Option(help="isotonic, or temperature (one number; for few images).")] = "isotonic",
) -> None:
    """Fit maps from a checkpoint's scores to the share that is right, and store them with it.

    From then on the scores of its single answers are mapped, in `generate`, `predict`, `serve` and Python. Scores of
    merged samples stay as they are. Delete calibration.json to undo it. Expected calibration errors are printed as
    they were, and as five-fold cross-validation over images predicts them to be.

    Example: `r1sgg calibrate val.jsonl --ground-truth vg150:VG,split=val --vocabulary vg150 --model runs/grpo`
    """
    from r1sgg.bulk.resume import fingerprint
    from r1sgg.data.calibration import CALIBRATION_FILE, Calibration, ScoreMap
    from r1sgg.data.predictions import read_predictions
    from r1sgg.data.provenance import settings_beside
    from r1sgg.data.sources import open_data
    from r1sgg.errors import InputError
    from r1sgg.graph.vocabulary import load_vocabulary
    from r1sgg.metrics import fitting
    from r1sgg.metrics.columns import Evaluator
    from r1sgg.metrics.report import run

    fitting.check_method(method)
    if not (model / "config.json").is_file() and not (model / "adapter_config.json").is_file():
        hint = "the packaged tiny is copied to a folder by `r1sgg publish tiny --out FOLDER`"
        raise InputError(str(model), expected="a checkpoint folder", found="no config.json", hint=hint)
    settings = settings_beside(predictions)
    for key, wanted, found in (
        ("samples", 1, settings.get("samples", 1)),
        ("calibration", None, settings.get("calibration")),
        ("threshold", None, settings.get("threshold")),
    ):
        if found != wanted:
            said = {"samples": "single answers", "calibration": "scores that no calibration has mapped yet",
                    "threshold": "answers that no threshold has cut"}[key]  # fmt: skip
            hint = f"delete {CALIBRATION_FILE} and generate again" if key == "calibration" else "generate again"
            raise InputError(f"{predictions}.run.json: {key}", expected=said, found=str(found), hint=hint)
    if (weights := settings.get("weights")) is not None and weights != fingerprint(str(model)):
        found = f"those of {settings.get('model')}, other weights"
        raise InputError(str(predictions), expected=f"answers of {model}", found=found, hint="generate with --model")
    evaluation = run(
        open_data(ground_truth), read_predictions(predictions), Evaluator(load_vocabulary(vocabulary)), str(predictions)
    )
    maps: dict[str, ScoreMap] = {}
    for kind in ("objects", "triplets"):
        scores, right = evaluation.columns.confidences[kind]
        fitting.check(scores, right, f"{predictions}: {kind}")
        before, after = fitting.errors(scores, right, method)
        maps[kind] = fitting.fit(scores, right, method)
        typer.echo(f"{kind}: {len(scores)} scores, ECE {100 * before:.1f} %, calibrated {100 * after:.1f} %")
    fitted: dict[str, Any] = {
        "method": method,
        "images": evaluation.figures.count,
        "data_hash": evaluation.columns.data_hash,
        "guide": None if "guide" not in settings else settings["guide"] is not None,
        "temperature": (settings.get("sampling") or {}).get("temperature"),
    }
    path = Calibration(maps["objects"], maps["triplets"], fitted).write(model)
    typer.echo(f"wrote {path}")
