"""The same examples in every annotation format, written here with the field names and types that are published."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from r1sgg.data.base import Example, write_ground_truth
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import number_ids
from r1sgg.graph.vocabulary import VG150

CORRUPT = (1592, 1722, 4616, 4617)


def example(
    image_id: str,
    objects: Sequence[tuple[str, Sequence[float]]],
    relations: Sequence[tuple[int, str, int]] = (),
    size: tuple[int, int] = (512, 384),
) -> Example:
    """An example from boxes in pixels."""
    ids = number_ids([name for name, _ in objects])
    scale = (*size, *size)
    graph = SceneGraph.build(
        [
            SceneObject(i, name, tuple(v / s for v, s in zip(box, scale, strict=True)))
            for i, (name, box) in zip(ids, objects, strict=True)
        ],
        [Relationship(s, p, o) for s, p, o in relations],
    )
    return Example(image_id, *size, graph)


def examples(count: int = 6, seed: int = 0) -> list[Example]:
    """Examples that every format can hold exactly: whole pixels, a longest side of 512, VG150's names."""
    rng = random.Random(seed)
    made = []
    for k in range(count):
        width, height = rng.choice([(512, 384), (384, 512), (512, 512)])
        objects = []
        for _ in range(rng.randint(2, 9)):
            x, y = rng.randrange(width - 20), rng.randrange(height - 20)
            box = (x, y, rng.randint(x + 8, width), rng.randint(y + 8, height))
            objects.append((rng.choice(VG150.objects), box))
        pairs = {tuple(rng.sample(range(len(objects)), 2)): rng.choice(VG150.predicates) for _ in range(4)}
        relations = [(s, p, o) for (s, o), p in pairs.items()]
        made.append(example(str(k + 1), objects, relations, (width, height)))
    return made


def photo(size: tuple[int, int], seed: int = 0) -> bytes:
    """A JPEG of noise."""
    noise = np.random.default_rng(seed).integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    handle = io.BytesIO()
    Image.fromarray(noise).resize(size).save(handle, "JPEG")
    return handle.getvalue()


def boxes_of(item: Example) -> np.ndarray:
    """(N, 4) xyxy in pixels."""
    return item.graph.boxes * ((item.width, item.height) * 2)


# ---------------------------------------------------------------- VG-SGG.h5


def h5_arrays(items: Sequence[Example], split: Sequence[int], vocabulary: Any = VG150) -> dict[str, np.ndarray]:
    """The datasets of VG-SGG.h5 with their published names and types."""
    arrays: dict[str, list[Any]] = {k: [] for k in ("boxes_1024", "boxes_512", "labels", "predicates", "relationships")}
    index: dict[str, list[int]] = {f"img_to_{end}_{kind}": [] for kind in ("box", "rel") for end in ("first", "last")}
    for item in items:
        for kind, rows, many in (("box", "labels", len(item.graph)), ("rel", "predicates", len(item.graph.pairs))):
            first = len(arrays[rows])
            index[f"img_to_first_{kind}"].append(first if many else -1)
            index[f"img_to_last_{kind}"].append(first + many - 1 if many else -1)
        start = len(arrays["labels"])
        arrays["relationships"] += [(s + start, o + start) for s, o in item.graph.pairs]
        arrays["predicates"] += [[vocabulary.predicate_index[p] + 1] for p in item.graph.predicates]
        arrays["labels"] += [[vocabulary.object_index[name] + 1] for name in item.graph.labels]
        corners = boxes_of(item)
        middle = np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), axis=1)
        for scale in (1024, 512):
            arrays[f"boxes_{scale}"] += np.rint(middle * scale / max(item.width, item.height)).astype(int).tolist()
    shapes = {"boxes_1024": (-1, 4), "boxes_512": (-1, 4), "labels": (-1, 1), "predicates": (-1, 1)}
    made = {k: np.array(v, dtype=np.int32).reshape(shapes.get(k, (-1, 2))) for k, v in arrays.items()}
    made |= {k: np.array(v, dtype=np.int32) for k, v in index.items()}
    made["split"] = np.array(split, dtype=np.int32)
    made["attributes"] = np.zeros((len(made["labels"]), 10), dtype=np.int64)
    made["active_object_mask"] = np.ones((len(made["labels"]), 1), dtype=bool)
    return made


def write_vg150(
    folder: Path,
    items: Sequence[Example],
    split: Sequence[int] | None = None,
    *,
    photos: bool = False,
    vocabulary: Any = VG150,
    **changes: np.ndarray | None,
) -> Path:
    """VG-SGG.h5, VG-SGG-dicts.json, image_data.json and the photos; `changes` replace datasets, None removes one."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray | None] = dict(
        h5_arrays(items, [0] * len(items) if split is None else split, vocabulary)
    )
    arrays |= changes
    with h5py.File(folder / "VG-SGG.h5", "w") as file:
        for key, value in arrays.items():
            if value is not None:
                file.create_dataset(key, data=value)
    tables: dict[str, Any] = {}
    for kind, names in (("label", vocabulary.objects), ("predicate", vocabulary.predicates)):
        tables[f"idx_to_{kind}"] = {str(k + 1): name for k, name in enumerate(names)}
        tables[f"{kind}_to_idx"] = {name: k + 1 for k, name in enumerate(names)}
    (folder / "VG-SGG-dicts.json").write_text(json.dumps(tables))
    rows = [
        {
            "image_id": int(i.image_id),
            "width": i.width,
            "height": i.height,
            "url": f"https://x/VG_100K/{i.image_id}.jpg",
        }
        for i in items
    ]
    for k, number in enumerate(CORRUPT):
        rows.insert(k * 2, {"image_id": number, "width": 10, "height": 10, "url": ""})
    (folder / "image_data.json").write_text(json.dumps(rows))
    if photos:
        for k, item in enumerate(items):  # photos lie in two folders, without a rule
            target = folder / ("VG_100K", "VG_100K_2")[k % 2] / f"{item.image_id}.jpg"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(photo((item.width, item.height), k))
    return folder


# ---------------------------------------------------------------- the other formats


def write_raw(folder: Path, items: Sequence[Example]) -> Path:
    """Raw Visual Genome: objects.json, relationships.json, image_data.json."""
    folder.mkdir(parents=True, exist_ok=True)
    objects, relations, sizes = [], [], []
    for item in items:
        number = int(item.image_id)
        rows = [
            {
                "object_id": 100 * number + k,
                "x": x1,
                "y": y1,
                "w": x2 - x1,
                "h": y2 - y1,
                "names": [name],
                "synsets": [],
            }
            for k, (name, (x1, y1, x2, y2)) in enumerate(
                zip(item.graph.labels, np.rint(boxes_of(item)).astype(int).tolist(), strict=True)
            )
        ]
        objects.append({"image_id": number, "objects": rows, "image_url": "https://x/1.jpg"})
        triplets = [
            {"relationship_id": k, "predicate": p, "synsets": [], "subject": rows[s], "object": rows[o]}
            for k, ((s, o), p) in enumerate(zip(item.graph.pairs, item.graph.predicates, strict=True))
        ]
        relations.append({"image_id": number, "relationships": triplets})
        sizes.append({"image_id": number, "width": item.width, "height": item.height})
    for name, document in (("objects", objects), ("relationships", relations), ("image_data", sizes)):
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def psg_document(items: Sequence[Example], test: Sequence[str] = (), vocabulary: Any = VG150) -> dict[str, Any]:
    """psg.json: the last third of the names are its stuff."""
    things = len(vocabulary.objects) * 2 // 3
    data = []
    for item in items:
        numbers = [vocabulary.object_index[name] for name in item.graph.labels]
        data.append(
            {
                "file_name": f"val2017/{item.image_id:0>12}.jpg",
                "height": item.height,
                "width": item.width,
                "image_id": item.image_id,
                "pan_seg_file_name": f"panoptic_val2017/{item.image_id:0>12}.png",
                "segments_info": [
                    {"id": 1000 + k, "category_id": n, "iscrowd": 0, "isthing": int(n < things), "area": 64}
                    for k, n in enumerate(numbers)
                ],
                "annotations": [
                    {"bbox": box, "bbox_mode": 0, "category_id": n}
                    for box, n in zip(boxes_of(item).tolist(), numbers, strict=True)
                ],
                "relations": [
                    [s, o, vocabulary.predicate_index[p]]
                    for (s, o), p in zip(item.graph.pairs, item.graph.predicates, strict=True)
                ],
            }
        )
    return {
        "data": data,
        "test_image_ids": list(test),
        "thing_classes": list(vocabulary.objects[:things]),
        "stuff_classes": list(vocabulary.objects[things:]),
        "predicate_classes": list(vocabulary.predicates),
    }


def write_psg(folder: Path, items: Sequence[Example], test: Sequence[str] = (), *, photos: bool = False) -> Path:
    """psg.json and the photos."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "psg.json").write_text(json.dumps(psg_document(items, test)))
    (folder / "val2017").mkdir(exist_ok=True)
    for k, item in enumerate(items if photos else ()):
        target = folder / "val2017" / f"{item.image_id:0>12}.jpg"
        target.write_bytes(photo((item.width, item.height), k))
    return folder


def coco_document(items: Sequence[Example], vocabulary: Any = VG150) -> dict[str, Any]:
    """_annotations.coco.json; every id starts at 0, as SGG-Benchmark's do."""
    document: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": k, "name": n, "supercategory": "none"} for k, n in enumerate(vocabulary.objects)],
        "rel_categories": [{"id": k, "name": n} for k, n in enumerate(vocabulary.predicates)],
        "rel_annotations": [],
    }
    for number, item in enumerate(items):
        size = {"width": item.width, "height": item.height}
        document["images"].append({"id": number, "file_name": f"{item.image_id}.jpg", **size})
        start = len(document["annotations"])
        for label, (x1, y1, x2, y2) in zip(item.graph.labels, boxes_of(item).tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            row = {"category_id": vocabulary.object_index[label], "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            document["annotations"].append({"id": len(document["annotations"]), "image_id": number, **row})
        for (s, o), p in zip(item.graph.pairs, item.graph.predicates, strict=True):
            ends = {"subject_id": start + s, "object_id": start + o, "predicate_id": vocabulary.predicate_index[p]}
            document["rel_annotations"].append({"id": len(document["rel_annotations"]), "image_id": number, **ends})
    return document


def write_coco(folder: Path, items: Sequence[Example], split: str = "train", *, photos: bool = False) -> Path:
    """A split folder with _annotations.coco.json and the photos."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / split / "_annotations.coco.json").write_text(json.dumps(coco_document(items)))
    for k, item in enumerate(items if photos else ()):
        (folder / split / f"{item.image_id}.jpg").write_bytes(photo((item.width, item.height), k))
    return folder


def hub_rows(items: Sequence[Example]) -> list[dict[str, Any]]:
    """Rows with the columns of the paper's authors: annotations as JSON strings, ids numbered through the image."""
    rows = []
    for k, item in enumerate(items):
        ids = [f"{name}.{number}" for number, name in enumerate(item.graph.labels, 1)]
        objects = [{"id": i, "bbox": box} for i, box in zip(ids, boxes_of(item).tolist(), strict=True)]
        relations = [
            {"subject": ids[s], "predicate": p, "object": ids[o]}
            for (s, o), p in zip(item.graph.pairs, item.graph.predicates, strict=True)
        ]
        rows.append(
            {
                "image_id": item.image_id,
                "image": {"bytes": photo((item.width, item.height), k), "path": None},
                "objects": json.dumps(objects),
                "relationships": json.dumps(relations),
                "prompt_open": "Generate a structured scene graph",
                "prompt_close": "Generate a structured scene graph",
            }
        )
    return rows


def numbered_rows(items: Sequence[Example], vocabulary: Any = VG150) -> list[dict[str, Any]]:
    """Rows with the columns of SGG-Benchmark's Hub sets."""
    rows = []
    for k, item in enumerate(items):
        objects = [
            {"category_id": vocabulary.object_index[name], "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for name, (x1, y1, x2, y2) in zip(item.graph.labels, boxes_of(item).tolist(), strict=True)
        ]
        relations = [
            {"subject_id": s, "predicate_id": vocabulary.predicate_index[p], "object_id": o}
            for (s, o), p in zip(item.graph.pairs, item.graph.predicates, strict=True)
        ]
        image = {"bytes": photo((item.width, item.height), k), "path": None}
        rows.append({"image_id": int(item.image_id), "image": image, "objects": objects, "relations": relations})
    return rows


def write_parquet(folder: Path, rows: Sequence[dict[str, Any]], split: str = "train", parts: int = 1) -> Path:
    """Parquet files as the Hub holds them."""
    import datasets

    (folder / "data").mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_list(list(rows)).cast_column("image", datasets.Image())
    for part in range(parts):
        target = folder / "data" / f"{split}-{part:05d}-of-{parts:05d}.parquet"
        table.shard(num_shards=parts, index=part, contiguous=True).to_parquet(target)
    return folder


def write_jsonl(path: Path, items: Sequence[Example]) -> Path:
    """A ground-truth file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_ground_truth(path, items)
    return path
