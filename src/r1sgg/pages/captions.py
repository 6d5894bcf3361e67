"""The error page of `r1sgg captions check`: captions with the statements that their graph does not support."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1sgg.data.images import open_image
from r1sgg.data.thumbnails import thumbnail
from r1sgg.errors import ImageError
from r1sgg.graph.scene import SceneGraph
from r1sgg.metrics.captions import CheckedCaption
from r1sgg.pages.page import write_page

MOST_IMAGES = 200


@dataclass(frozen=True)
class ImageOfPage:
    """An image with its judged captions and the graph that they were judged against."""

    image_id: str
    captions: Sequence[CheckedCaption]
    graph: SceneGraph
    image: Path | None = None

    @property
    def errors(self) -> int:
        """Statements that are not supported, and invented nouns."""
        wrong = sum(verdict.kind != "supported" for caption in self.captions for verdict in caption.judged.verdicts)
        return wrong + sum(len(caption.judged.invented) for caption in self.captions)

    def shown(self) -> dict[str, Any]:
        """Return what the template shows."""
        captions = [
            {
                "text": caption.text,
                "rows": [
                    {
                        "outcome": row["outcome"],
                        "said": " ".join(row["statement"]) if "statement" in row else row["object"],
                        "graph": " ".join(row.get("graph", ())),
                    }
                    for row in caption.rows(self.graph)
                ],
            }
            for caption in self.captions
        ]
        return {"id": self.image_id, "captions": captions, "picture": self._picture()}

    def _picture(self) -> str:
        if self.image is None or not self.image.is_file():
            return ""
        try:
            content = thumbnail(open_image(self.image))
        except ImageError:
            return ""  # the page says nothing of images: `r1sgg data check` does
        return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def write_caption_page(
    out: Path, title: str, figures: Mapping[str, Any], images: Sequence[ImageOfPage], left: int
) -> None:
    """Write the page.

    Args:
        out: the HTML file.
        title: its heading.
        figures: see `r1sgg.metrics.captions.CaptionFigures.record`.
        images: those to show, the worst first.
        left: how many more have errors.

    Raises:
        InputError: the file cannot be written.
    """
    notes = [
        (name, "–" if figures[name] is None else f"{100 * figures[name]:.1f} %")
        for name in ("precision", "coverage", "CHAIR_i", "CHAIR_s")
    ]
    notes.append(("statements", ", ".join(f"{kind} {n:,}" for kind, n in figures["outcomes"].items())))
    notes.append(
        ("most often invented", ", ".join(f"{name} {n}" for name, n in list(figures["invented"].items())[:20]))
    )
    facts = [
        f"{figures['images']:,} images",
        f"{figures['captions']:,} captions",
        f"{figures['statements']:,} statements",
    ]
    write_page(
        out, "captions.html.j2", title=title, facts=facts, notes=notes, images=[i.shown() for i in images], left=left
    )
