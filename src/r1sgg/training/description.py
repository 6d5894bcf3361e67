"""What describes a checkpoint and is stored in it: how it is asked, what it was trained on, and its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from r1sgg.data.provenance import Stage, write_trained_on
from r1sgg.files import write_file, write_json
from r1sgg.models.card import CARD, card, loaded_as
from r1sgg.models.prompts import AnswerSettings
from r1sgg.training.logs import MetricsLog
from r1sgg.training.resuming import RECORD
from r1sgg.training.rows import TrainingRows
from r1sgg.training.validation import validations


class KeepSettings(TrainerCallback):  # type: ignore[misc]
    """Puts r1sgg.json, trained_on.json, recipe.json and a card into every checkpoint: it works as --model, can resume.

    Args:
        folder: of the run, as the recipe names it.
        settings: prompt and answer layout.
        trained_on: the stages, this one the last.
        record: of the recipe, see `r1sgg.training.resuming`.
        made: the recipe as config.yaml has it, for the card.
        log: of the run, which knows the evaluations before a run was resumed.
    """

    def __init__(
        self,
        folder: Path,
        settings: AnswerSettings,
        trained_on: Sequence[Stage],
        record: Mapping[str, Any],
        made: Mapping[str, Any],
        log: MetricsLog,
    ) -> None:
        self.folder, self.settings, self.trained_on = folder, settings, trained_on
        self.record, self.made, self.log = record, made, log
        self._evaluated: dict[str, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._evaluated and (earlier := validations(self.log.earlier)):
            self._evaluated = earlier[-1]

    def on_validation(
        self, args: Any, state: Any, control: Any, numbers: Mapping[str, float], answers: Sequence[Any]
    ) -> None:
        """Remember the figures for the card."""
        self._evaluated = {**numbers, "step": state.global_step}

    def write_files(self, folder: Path) -> None:
        """Add to a checkpoint that is being written."""
        self.settings.write(folder)
        write_trained_on(folder, self.trained_on)
        write_json(folder / RECORD, dict(self.record))
        run = self.folder.resolve().name
        final = self.folder if folder.name == run else self.folder / folder.name  # `folder` is renamed to it
        described = self.settings, self.made, self.trained_on, None, self._evaluated
        write_file(folder / CARD, card(run, loaded_as(final), *described))


class CountEpochs(TrainerCallback):  # type: ignore[misc]
    """Tells the training rows which epoch begins, also if the run resumes in the middle of one."""

    def __init__(self, rows: TrainingRows) -> None:
        self.rows = rows

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.rows.epoch = int(state.epoch or 0)
