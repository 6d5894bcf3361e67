"""Keep a resumed run one run in TensorBoard, Weights & Biases and Trackio (`report_to`).

TensorBoard hides the steps that are trained again; the other two show them twice under the same step. metrics.jsonl
(`r1sgg.training.logs`) has no repeats.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.integrations import TensorBoardCallback

ID_FILE = "run_id"


def continue_trackers(folder: Path, arguments: Any, callbacks: Sequence[Any], step: int) -> None:
    """Give the trackers the name and id that this run had before. For the first process.

    Args:
        folder: of the run; its id is kept in ID_FILE.
        arguments: of the trainer; a `run_name` is added if there is none.
        callbacks: of the trainer.
        step: at which the run resumes; 0 for a new run, which gets a new id.
    """
    path = folder / ID_FILE
    if step == 0 or not path.is_file():
        path.write_text(uuid.uuid4().hex)
    identity = path.read_text().strip()
    arguments.run_name = arguments.run_name or f"{folder.resolve().name}-{identity[:8]}"
    if "wandb" in arguments.report_to:
        os.environ.setdefault("WANDB_RUN_ID", identity)
        os.environ.setdefault("WANDB_RESUME", "allow")
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback):
            from torch.utils.tensorboard import SummaryWriter

            callback.logging_dir = callback.logging_dir or str(folder / "tensorboard")
            hidden_from = step + 1 if step else 0
            callback.tb_writer = SummaryWriter(callback.logging_dir, purge_step=hidden_from)
