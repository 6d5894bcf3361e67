"""Scene graphs in the formats of other tools, and back. `docs/exports.md` says what each format cannot hold.

    >>> from r1sgg.exports import from_graphml, to_graphml
    >>> from_graphml(to_graphml(graph)).graph == graph
    True

Only `to_networkx` needs networkx.
"""

from r1sgg.exports.coco import from_coco, to_coco
from r1sgg.exports.document import from_json, to_json
from r1sgg.exports.graphviz import from_dot, to_dot
from r1sgg.exports.linked import from_jsonld, to_jsonld
from r1sgg.exports.network import from_graphml, from_networkx, to_graphml, to_networkx
from r1sgg.exports.record import GraphRecord
from r1sgg.exports.table import from_csv, to_csv

__all__ = [
    "GraphRecord",
    "from_coco",
    "from_csv",
    "from_dot",
    "from_graphml",
    "from_json",
    "from_jsonld",
    "from_networkx",
    "to_coco",
    "to_csv",
    "to_dot",
    "to_graphml",
    "to_json",
    "to_jsonld",
    "to_networkx",
]
