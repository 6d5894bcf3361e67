"""The parts of VLMEvalKit's package that configs/vlmevalkit calls, in the shapes of its sources (November 2025).

VLMEvalKit is on no package index. This is no test of it: what differs from the real package is not noticed.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pandas as pd


def root() -> str:
    """Return the folder of the data, as LMUDataRoot does."""
    return os.environ["LMUData"]  # noqa: SIM112 - its name


def load(path: str) -> pd.DataFrame:
    """Read a table by its ending."""
    return pd.read_csv(path, sep="\t") if path.endswith(".tsv") else pd.read_json(path)


class ImageBaseDataset:
    """A table with index, image (base64), question and answer."""

    MODALITY = "IMAGE"
    DATASET_URL: ClassVar[dict[str, str]] = {}
    DATASET_MD5: ClassVar[dict[str, str | None]] = {}

    def __init__(self, dataset: str = "MMBench", skip_noimg: bool = True) -> None:
        self.dataset_name = dataset
        self.img_root = os.path.join(root(), "images", dataset)
        data = self.load_data(dataset)
        data = data[~pd.isna(data["image"])]
        data["index"] = [str(x) for x in data["index"]]
        assert all(len(image) > 64 for image in data["image"])
        data["index"] = [int(x) for x in data["index"]]
        self.data = data

    @classmethod
    def supported_datasets(cls) -> list[str]:
        return list(cls.DATASET_URL)

    def load_data(self, dataset: str) -> pd.DataFrame:
        raise NotImplementedError

    def dump_image(self, line: Any) -> list[str]:
        os.makedirs(self.img_root, exist_ok=True)
        path = Path(self.img_root) / f"{line['index']}.jpg"
        path.write_bytes(base64.b64decode(line["image"]))
        return [str(path)]

    def build_prompt(self, line: Any) -> list[dict[str, str]]:
        if isinstance(line, int):
            line = self.data.iloc[line]
        message = [{"type": "image", "value": path} for path in self.dump_image(line)]
        return [*message, {"type": "text", "value": line["question"]}]


def modules() -> dict[str, ModuleType]:
    """Return the modules by name, for `sys.modules`."""
    package, dataset, base, smp = (
        ModuleType(name) for name in ("vlmeval", "vlmeval.dataset", "vlmeval.dataset.image_base", "vlmeval.smp")
    )
    base.ImageBaseDataset = dataset.ImageBaseDataset = ImageBaseDataset  # type: ignore[attr-defined]
    dataset.DATASET_CLASSES, dataset.SUPPORTED_DATASETS = [], []  # type: ignore[attr-defined]
    smp.LMUDataRoot, smp.load = root, load  # type: ignore[attr-defined]
    package.dataset, package.smp = dataset, smp  # type: ignore[attr-defined]
    return {module.__name__: module for module in (package, dataset, base, smp)}


def build_dataset(name: str) -> Any:
    """Build a registered data set, as vlmeval.dataset does."""
    classes = sys.modules["vlmeval.dataset"].DATASET_CLASSES
    return next(found(dataset=name) for found in classes if name in found.supported_datasets())
