"""Drawn scenes as data sources: `scenes:` and, for pre-training, `instruct:` (registered in pyproject.toml).

scenes:50000,seed=1,preset=small,split=train    drawn when needed, as `r1sgg data scenes` writes them
scenes:50000,seed=1,preset=small,annotation=vg  the same, as sparsely annotated as Visual Genome
scenes:50000,seed=1,preset=small,annotation=captions   the graphs that rules make of captions of the scenes
scenes:50000,seed=1,preset=small,questions=20   a fifth of the rows are questions about the scene instead (SFT only)
instruct:50000,seed=1,preset=small              the same scenes, each with a visual instruction (SFT only)
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from dataclasses import replace

from PIL import Image

from r1sgg.data.base import Example, example_digest, hash_of_digests
from r1sgg.data.dataset import DataSet, Fault, Instructions, hash_of_ids
from r1sgg.data.spec import SourceKind, Spec
from r1sgg.errors import ConfigError
from r1sgg.miniature.instruct import QUESTIONS, Instruction, instruction
from r1sgg.miniature.procedural.annotation import ANNOTATIONS
from r1sgg.miniature.scenes import PRESETS, SPLITS, Scene, SceneConfig, annotated, current_preset, scene, split_seeds

HASHED_SCENES = 1000
"""The hash of a drawn set is that of the annotations of its first scenes; for a larger set the hash says so."""


@functools.lru_cache(8)
def _drawn(seed: int, config: SceneConfig) -> Scene:
    """Draw a scene; cached, because one is needed twice, for its example and for its image."""
    return scene(seed, config)


class SceneData(DataSet):
    """Scenes that are drawn when needed. Options: seed (0), preset (small, hard), split (train, validation, test),
    annotation (full, vg, captions)."""

    images_are_files = False

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec.text, spec.choice("split", SPLITS, "train"))
        spec = replace(spec, options={**spec.options, "preset": current_preset(spec.options.get("preset", "small"))})
        config = PRESETS[spec.choice("preset", tuple(PRESETS), "small")]
        count = replace(spec, options={"COUNT": spec.place}).whole("COUNT", 0)
        self.seeds = split_seeds(str(self.split), spec.whole("seed", 0), count)
        self.config: SceneConfig = config
        self.annotation = ANNOTATIONS[spec.choice("annotation", tuple(ANNOTATIONS), "full")]

    def __len__(self) -> int:
        return len(self.seeds)

    def read(self, k: int) -> tuple[Example, list[Fault]]:
        drawn = _drawn(self.seeds[k], self.config)
        example = drawn.example
        if self.annotation is not None:
            example = annotated(drawn, self.seeds[k], self.config, self.annotation)
        return replace(example, split=self.split), []

    def image_ids(self) -> Iterator[str]:
        return (f"scene-{seed}" for seed in self.seeds)

    def size(self, k: int) -> tuple[int, int]:
        return self.config.sizes[0] if len(self.config.sizes) == 1 else super().size(k)

    def image(self, example: Example) -> Image.Image:
        return _drawn(int(example.image_id.removeprefix("scene-")), self.config).image.copy()

    def image_fault(self, example: Example) -> Fault | None:
        return None

    def hashes(self) -> dict[str, str]:
        if self._hashes is None:
            images = hash_of_ids([f"scene-{seed}" for seed in self.seeds])
            first = hash_of_digests(example_digest(self.read(k)[0]) for k in range(min(len(self), HASHED_SCENES)))
            more = f"-first{HASHED_SCENES}" if len(self) > HASHED_SCENES else ""
            self._hashes = {"images": images, "annotations": first + more}
        return dict(self._hashes)


class InstructData(SceneData, Instructions):
    """Drawn scenes with a question other than the scene graph (see `r1sgg.miniature.instruct`)."""

    def instruction(self, row: int, example: Example) -> Instruction:
        """See `Instructions`."""
        return instruction(example.graph, self.seeds[row])


class MixedData(SceneData, Instructions):
    """Drawn scenes of which `questions` percent are asked a question instead of the scene graph.

    Questions are about the true graph, whatever the annotation of the other rows. None asks for a graph in a layout.
    """

    some_graphs = True

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.share = spec.whole("questions", 0)
        if not 1 <= self.share <= 99:
            raise ConfigError(f"{spec.text!r}: expected questions= a percentage from 1 to 99, found {self.share}")

    def instruction(self, row: int, example: Example) -> Instruction | None:
        """See `Instructions`."""
        seed = self.seeds[row]
        if random.Random(f"questions/{seed}").random() * 100 >= self.share:
            return None
        return instruction(_drawn(seed, self.config).example.graph, seed, QUESTIONS)


def _scenes(spec: Spec) -> SceneData:
    return MixedData(spec) if "questions" in spec.options else SceneData(spec)


_OPTIONS = ("count", "seed", "preset", "split", "annotation")
SCENES = SourceKind((*_OPTIONS, "open", "part", "parents", "questions"), _scenes, place="COUNT")
INSTRUCT = SourceKind(_OPTIONS, InstructData, place="COUNT")
