"""r1sgg: multimodal models that read images as scene graphs; their training, measurement and use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r1sgg.inference.engines import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load":  # on demand: everything else works without a model
        from r1sgg.inference.engines import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
