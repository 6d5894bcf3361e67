"""The responses of the server, as the OpenAPI page shows them. Field names are those of our JSON files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel, Field

from r1sgg.inference.reader import Reading


class GraphObject(BaseModel):
    """An object: its box is [x1, y1, x2, y2] in pixels of the upright image."""

    id: str = Field(examples=["man.1"])
    bbox: list[float] = Field(examples=[[12, 30, 80, 110]])
    score: float | None = Field(None, description="Confidence, 0 to 1.")


class GraphRelationship(BaseModel):
    """A triplet; subject and object are ids of `objects`."""

    subject: str = Field(examples=["man.1"])
    predicate: str = Field(examples=["riding"])
    object: str = Field(examples=["horse.1"])
    score: float | None = Field(None, description="Confidence, 0 to 1.")


class Graph(BaseModel):
    """A scene graph, and the completion that it was read from."""

    image_id: str = Field(description="The file name in the request, or the image's number.")
    width: int
    height: int
    objects: list[GraphObject]
    relationships: list[GraphRelationship]
    model: str
    completion: str = Field(description="The raw text of the model; of two questions, the graph of both answers.")
    frame: list[float] = Field(description="Width and height that the boxes in `completion` are relative to.")
    finish_reason: str
    notice: str | None = Field(None, description="Why this graph means nothing, if the image is none for this model.")
    failure: str | None = Field(None, description="Why the completion has no graph.")
    fault: str | None = Field(None, description="Why a part is missing, if the model did not answer a question.")
    issues: list[dict[str, str]] = Field(description="Faults of the completion, such as a repeated triplet.")


class Problem(BaseModel):
    """One sentence: what was expected, what was found, what to do."""

    detail: str


class Graphs(BaseModel):
    """One entry per image, in the order of the request: a graph or a problem."""

    graphs: list[Graph | Problem]


class ImageByUrl(BaseModel):
    """An image that the server fetches; refused unless the server allows its host."""

    url: str


class Health(BaseModel):
    """The model, and the number of images that wait."""

    status: str
    model: str
    waiting: int


@dataclass(frozen=True, slots=True)
class Received:
    """An image of a request.

    Attributes:
        image: upright RGB, reduced to the size that the model sees.
        size: width and height before that.
        name: its name in the request.
        notice: what is to be said of it; None: nothing.
    """

    image: Image.Image
    size: tuple[int, int]
    name: str
    notice: str | None = None


def graph_of(reading: Reading, image: Received, model: str) -> dict[str, Any]:
    """Return a reading as a `Graph`, boxes in pixels of the image before it was reduced."""
    record = reading.to_record(image.name, Path(image.name), model, size=image.size)
    if image.notice is not None:
        record["notice"] = image.notice
    return {key: record[key] for key in Graph.model_fields if key in record}
