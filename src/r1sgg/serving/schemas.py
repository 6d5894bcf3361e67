"""What the server says, as the OpenAPI page shows it. Field names are those of our JSON files."""

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
    """A scene graph, and the answer that it was read from."""

    image_id: str = Field(description="The name that the request gave, or its place.")
    width: int
    height: int
    objects: list[GraphObject]
    relationships: list[GraphRelationship]
    model: str
    completion: str = Field(description="What the model wrote.")
    frame: list[float] = Field(description="Width and height that the boxes in `completion` are relative to.")
    finish_reason: str
    failure: str | None = Field(None, description="Why there is no graph, where there is none.")
    issues: list[dict[str, str]] = Field(description="What was wrong with the answer.")


class Problem(BaseModel):
    """Why there is no graph: one sentence."""

    detail: str


class Graphs(BaseModel):
    """One entry an image, in the order of the request: a graph, or why there is none."""

    graphs: list[Graph | Problem]


class ImageByUrl(BaseModel):
    """An image that the server fetches; refused unless it was started with that host allowed."""

    url: str


class Health(BaseModel):
    """What is loaded, and how much waits."""

    status: str
    model: str
    waiting: int


def graph_of(reading: Reading, size: tuple[int, int], image_id: str, model: str) -> dict[str, Any]:
    """A reading as `Graph`.

    Args:
        reading: of the reduced image.
        size: width and height of the image that was sent, upright.
        image_id: its name.
        model: the model's name.
    """
    record = reading.to_record(image_id, Path(image_id), model, size=size)
    return {key: record[key] for key in Graph.model_fields if key in record}
