"""A run that goes on stays one run in TensorBoard, Weights & Biases and Trackio, which `report_to` names.

TensorBoard hides the steps that are taken again; the other two show them twice under one number of step. metrics.jsonl
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


def same_trackers(folder: Path, arguments: Any, callbacks: Sequence[Any], step: int) -> None:
    """Point the trackers of `report_to` at what they showed of this run before. For the first process.

    Args:
        folder: of the run.
        arguments: of the trainer; a `run_name` is added where there is none.
        callbacks: of the trainer.
        step: where the run goes on; 0 where it starts.
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
