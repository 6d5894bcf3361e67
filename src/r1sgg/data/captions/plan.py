"""What a run of `r1sgg data captions` is asked for, as plain values that can be sent to another machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from r1sgg.data.captions.aligning import Aligner, Ask
from r1sgg.data.captions.boxes_file import BoxesFile, given_boxes
from r1sgg.data.captions.extracting import Extractor, RuleExtractor, open_parser
from r1sgg.data.captions.identity import file_identity
from r1sgg.data.captions.leaks import LeakPolicy, policy_identity, read_policy
from r1sgg.data.captions.making import Lookup, Maker
from r1sgg.data.captions.records import Captioned
from r1sgg.data.captions.run import Record
from r1sgg.data.captions.sources import SOURCES, Sizes, Source, read_captions
from r1sgg.errors import ConfigError, InputError
from r1sgg.files import user_path
from r1sgg.graph.vocabulary import load_vocabulary

Recipe = Literal["caption", "paraphrase", "objects", "image"]
"""What an engine that extracts is asked: the captions; these and paraphrases of them (LLM4SGG); the given objects and
the captions (GPT4SGG); the image and its captions."""
RECIPES: tuple[Recipe, ...] = get_args(Recipe)
_RULES = ("rules", "embedding")


@dataclass(frozen=True)
class Plan:
    """The options of the command, see `r1sgg.cli.data_captions`."""

    input: Path
    source: Source
    extract: str = "rules"
    align: str = "rules"
    ground: str = "given"
    vocabulary: str = "open"
    leak: str | None = None
    recipe: Recipe = "caption"
    images: Path | None = None
    image_data: Path | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without opening anything.

        Raises:
            ConfigError: values that do not go together.
        """
        if self.source not in SOURCES:
            raise ConfigError(f"--source: expected one of {', '.join(SOURCES)}, found {self.source!r}")
        if self.recipe not in RECIPES:
            raise ConfigError(f"--recipe: expected one of {', '.join(RECIPES)}, found {self.recipe!r}")
        if self.recipe != "caption" and not self.extracts_by_engine:
            raise ConfigError(f"--recipe {self.recipe}: expected --extract ENGINE, because rules read captions only")
        if (self.recipe == "objects" and self.ground in ("whole", "trace")) or (
            self.recipe == "objects" and self.grounds_by_engine
        ):
            raise ConfigError("--recipe objects: expected boxes, from the records or a file (--ground given or FILE)")
        if self.ground == "trace" and self.source != "narratives":
            raise ConfigError(f"--ground trace: expected --source narratives, which has traces, found {self.source}")
        if self.ground == "given" and self.source in ("coco", "vg-regions", "narratives"):
            raise ConfigError(
                f"--ground given: captions of --source {self.source} come without boxes of their objects; give a file "
                "with boxes (a detector's predictions, or a ground truth), an engine that grounds phrases, "
                + {"vg-regions": "whole (the box of the region)", "narratives": "trace, or whole"}.get(
                    self.source, "or whole"
                )
            )
        self.policy(check_only=True)

    @property
    def extracts_by_engine(self) -> bool:
        """Whether --extract names an engine."""
        return self.extract.partition(":")[0] != "rules"

    @property
    def aligns_by_engine(self) -> bool:
        """Whether --align names an engine."""
        return self.align not in _RULES

    @property
    def grounds_by_engine(self) -> bool:
        """Whether --ground names an engine: neither a way of its own nor a file that is there."""
        return self.ground not in ("given", "whole", "trace") and not user_path(self.ground).exists()

    def policy(self, *, check_only: bool = False) -> LeakPolicy:
        """Return the leak policy.

        Raises:
            ConfigError, InputError: see `r1sgg.data.captions.leaks.read_policy`.
        """
        if check_only and self.leak is not None:
            return LeakPolicy(self.leak)
        return read_policy(self.leak, self.vocabulary)

    def records(self) -> Iterator[Record]:
        """Yield the records of the input.

        Raises:
            InputError: see `r1sgg.data.captions.sources.read_captions`; or the first image has no boxes to ground in.
        """
        checked = self.ground != "given"
        for record in read_captions(self.input, self.source, self.sizes):
            if not checked and isinstance(record, Captioned):
                if record.boxes is None:
                    raise InputError(
                        f"{self.input}: boxes",
                        expected='boxes of the objects, because --ground is given ("boxes": [{"name", "bbox"}])',
                        found="none",
                        hint="add them, or give --ground FILE with boxes, an engine that grounds phrases, or whole",
                    )
                checked = True
            yield record

    @property
    def sizes(self) -> Sizes:
        """Where sizes come from that records lack."""
        return Sizes(self.images, self.image_data)

    def settings(self, extractor: str) -> dict[str, Any]:
        """Return what decides the content of the result; files count by their content."""
        names = ("source", "align", "ground", "vocabulary", "recipe")
        found = {name: getattr(self, name) for name in names}
        found |= {"input": str(self.input), "content": file_identity(self.input), "extract": extractor}
        found["leak"] = policy_identity(self.leak or "none")
        found |= {} if self.images is None else {"images": str(self.images)}
        found |= {} if self.image_data is None else {"image_data": file_identity(self.image_data)}
        for name in ("ground", "vocabulary"):
            path = user_path(str(found[name]))
            if path.is_file():
                found[name] = f"{path} ({file_identity(path)})"
        return found

    def extractor(self) -> Extractor:
        """Return the extractor by rules."""
        return RuleExtractor(open_parser(self.extract.partition(":")[2]))

    def maker(self, ask: Ask | None = None, lookup: Lookup | None = None) -> Maker:
        """Return what makes graphs of triplets.

        Args:
            ask: aligns by an engine, where one is asked for.
            lookup: grounds by an engine, likewise.
        """
        way = self.ground if self.ground in ("whole", "trace") else "given"
        if lookup is None and way == "given":
            lookup = given_boxes if self.ground == "given" else BoxesFile(user_path(self.ground))
        aligner = Aligner(load_vocabulary(self.vocabulary), self.align, ask)
        return Maker(aligner, way, lookup, keep_boxes=self.ground == "given", leak=self.leak or "none")
