"""r1sgg: multimodal models that read images as scene graphs; their training, measurement and use.

    from r1sgg import load, parse, evaluate, Rubric

`dir(r1sgg)` lists the public names. Each is imported when it is first asked for, so that `import r1sgg` takes no time
and scoring needs no torch. What is promised about these names: CONTRIBUTING.md, "Versions and deprecations".
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors, which do not run `__getattr__`; a test compares it with `_PUBLIC`
    from r1sgg.data.base import read_ground_truth as read_ground_truth
    from r1sgg.data.base import read_predictions as read_predictions
    from r1sgg.drawing.draw import draw as draw
    from r1sgg.exports import GraphRecord as GraphRecord
    from r1sgg.exports import from_coco as from_coco
    from r1sgg.exports import from_csv as from_csv
    from r1sgg.exports import from_dot as from_dot
    from r1sgg.exports import from_graphml as from_graphml
    from r1sgg.exports import from_json as from_json
    from r1sgg.exports import from_jsonld as from_jsonld
    from r1sgg.exports import from_networkx as from_networkx
    from r1sgg.exports import to_coco as to_coco
    from r1sgg.exports import to_csv as to_csv
    from r1sgg.exports import to_dot as to_dot
    from r1sgg.exports import to_graphml as to_graphml
    from r1sgg.exports import to_json as to_json
    from r1sgg.exports import to_jsonld as to_jsonld
    from r1sgg.exports import to_networkx as to_networkx
    from r1sgg.graph.scene import SceneGraph as SceneGraph
    from r1sgg.graph.text import parse as parse
    from r1sgg.graph.text import render as render
    from r1sgg.graph.vocabulary import load_vocabulary as load_vocabulary
    from r1sgg.inference.engines import load as load
    from r1sgg.metrics.report import evaluate as evaluate
    from r1sgg.rewards.rubric import Rubric as Rubric

__version__ = "0.1.0"

_EXPORTS = (
    *("GraphRecord", "from_coco", "from_csv", "from_dot", "from_graphml", "from_json", "from_jsonld", "from_networkx"),
    *("to_coco", "to_csv", "to_dot", "to_graphml", "to_json", "to_jsonld", "to_networkx"),
)
_PUBLIC = {
    "SceneGraph": "r1sgg.graph.scene.SceneGraph",
    "parse": "r1sgg.graph.text.parse",
    "render": "r1sgg.graph.text.render",
    "load_vocabulary": "r1sgg.graph.vocabulary.load_vocabulary",
    "read_ground_truth": "r1sgg.data.base.read_ground_truth",
    "read_predictions": "r1sgg.data.base.read_predictions",
    "Rubric": "r1sgg.rewards.rubric.Rubric",
    "evaluate": "r1sgg.metrics.report.evaluate",
    "load": "r1sgg.inference.engines.load",
    "draw": "r1sgg.drawing.draw.draw",
    **{name: f"r1sgg.exports.{name}" for name in _EXPORTS},
}
"""Every public name, and what it stands for."""


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].rpartition(".")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted((*_PUBLIC, "__version__"))
