"""The responses of the server, as the OpenAPI page shows them. Field names are those of our JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    completion: str = Field(description="The raw text of the model.")
    frame: list[float] = Field(description="Width and height that the boxes in `completion` are relative to.")
    finish_reason: str
    failure: str | None = Field(None, description="Why the completion has no graph.")
    issues: list[dict[str, str]] = Field(description="Faults of the completion.")


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


def graph_of(reading: Reading, size: tuple[int, int], image_id: str, model: str) -> dict[str, Any]:
    """Return a reading as a `Graph`.

    Args:
        reading: the reading of the reduced image.
        size: width and height of the image in the request, upright.
        image_id: the image's name.
        model: the model's name.
    """
    record = reading.to_record(image_id, Path(image_id), model, size=size)
    return {key: record[key] for key in Graph.model_fields if key in record}
