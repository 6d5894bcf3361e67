"""Agreement with numbers that others computed: the original code, plain loops, sgbench, COCO evaluators."""

import contextlib
import gzip
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from r1sgg.data.base import example_of_record
from r1sgg.data.predictions import prediction_of_record
from r1sgg.graph.mapping import map_graph
from r1sgg.graph.vocabulary import VG150
from r1sgg.judging.protocol import CUTOFFS, REFERENCE, STRICT
from r1sgg.metrics import evaluate, per_image


@pytest.fixture(scope="session")
def oracle(shared):
    """Examples, predictions and tags; and the expected figures."""
    expected = json.loads((shared / "oracle/metrics_expected.json").read_text())["metrics"]
    rows = []
    with gzip.open(shared / "oracle/metrics_inputs.jsonl.gz", "rt") as lines:
        for line in lines:
            r = json.loads(line)
            truth = {k: r[k] for k in ("image_id", "width", "height")}
            truth |= {"objects": r["gt_objects"], "relationships": r["gt_relationships"]}
            answer = {"image_id": r["image_id"], "completion": r["completion"], "frame": r["box_scale"]}
            rows.append((example_of_record(truth, "", shared), prediction_of_record(answer, ""), r["tag"]))
    return rows, expected


def clean(oracle):
    rows, expected = oracle
    return [row for row in rows if row[2] not in expected["strict_clean"]["excluded_tags"]]


CLASSIC = replace(STRICT, claims="none")
"""Strict as other evaluators count: none of them knows claims."""


def figures(rows, protocol=CLASSIC):
    return evaluate([r[0] for r in rows], [r[1] for r in rows], VG150, protocol)


def test_strict_equals_plain_loops_of_others(oracle):
    got, want = figures(clean(oracle)), oracle[1]["strict_clean"]["metrics"]
    for name in want:
        if "R@" in name or name.startswith("AP"):
            assert got[name] == pytest.approx(want[name], abs=1e-12), name
    assert got["images"] == want["images"]
    assert got["counts"]["images_with_relations"] == want["images_with_gt_relations"]


def test_claims_move_one_image(oracle):
    """A completion declares one pair of skis twice and gives each its own predicate for the pole."""
    rows = clean(oracle)
    sides = [per_image([r[0] for r in rows], [r[1] for r in rows], VG150, p) for p in (CLASSIC, STRICT)]
    moved = [a["image_id"] for a, b in zip(*sides, strict=True) if a["R@50"] != b["R@50"]]
    assert moved == ["2321732"]


def test_reference_equals_the_original(oracle):
    got, want = figures(oracle[0], "reference"), oracle[1]["reference"]
    for name in [f"{m}R@{k}" for m in ("", "m") for k in CUTOFFS]:
        assert got[name] == pytest.approx(want[name], abs=1e-12), name
    for name in ("AP", "AP50", "AP75"):
        assert got[name] == pytest.approx(want["coco"][name], abs=1e-12), name
    for predicate, value in want["per_predicate_R@50"].items():
        assert got["per_predicate"][predicate]["R@50"] == pytest.approx(value, abs=1e-12), predicate


def test_reference_padding_equals_the_original_with_a_stable_sort(oracle):
    """The original sorts ties in an order that depends on the machine; with a stable sort the lists are these."""
    got, want = figures(oracle[0], "reference"), oracle[1]["ng_recall_tie_sensitivity"]["stable"]
    for name in ("ngR@20", "ngR@50", "ngR@100"):
        assert got[name] == pytest.approx(want[name], abs=1e-12), name
    for k in (50, 100):
        assert got[f"ngmR@{k}"] == pytest.approx(want[f"ng_mR@{k}"], abs=1e-12), k


def test_reference_counts_the_same_failures(oracle):
    got, want = figures(oracle[0], "reference"), oracle[1]["reference_failure"]
    assert got["failure_rate"] == want["failed"] / want["total"]
    assert got["counts"]["images_skipped"] == len(want["images_silently_skipped_in_R"])


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("loops_plus1_skipempty(=reference R/mR)", {}),
        ("loops_plus1_countempty", {"count_answers_without_relations": True}),
        ("loops_noplus1_skipempty", {"pixel_plus_one": False}),
        (
            "loops_noplus1_countempty(recommended)",
            {"pixel_plus_one": False, "count_answers_without_relations": True},
        ),
        (
            "loops_noplus1_countempty_graphconstraint(first per pair)",
            {"pixel_plus_one": False, "count_answers_without_relations": True, "graph_constraint": True},
        ),
    ],
)
def test_each_switch_alone_gives_the_loops_with_that_convention(oracle, variant, changes):
    from dataclasses import replace

    got, want = figures(oracle[0], replace(REFERENCE, **changes)), oracle[1]["independent"][variant]
    for k in CUTOFFS:
        assert got[f"R@{k}"] == pytest.approx(want[f"R@{k}"], abs=1e-12)
        assert got[f"mR@{k}"] == pytest.approx(want[f"mR@{k}"], abs=1e-12)
        assert got["pooled"][f"R@{k}"] == pytest.approx(want[f"R@{k}_global"], abs=1e-12)


def test_sgbench_run_here_gives_the_same_recall_without_constraint(oracle):
    sgbench = pytest.importorskip("sgbench")
    rows = clean(oracle)
    recalls = {k: [] for k in CUTOFFS}
    for truth, prediction, _ in rows:
        if not truth.graph.pairs:
            continue
        graph = map_graph(prediction.read().graph, VG150).graph
        if not graph.pairs:
            for values in recalls.values():
                values.append(0.0)
            continue
        arrays = {}
        for side, g in (("gt", truth.graph), ("pred", graph)):
            triplets = [(s, o, VG150.predicate_index[p]) for (s, o), p in zip(g.pairs, g.predicates, strict=True)]
            labels = np.array([VG150.object_index[label] for label in g.labels])
            arrays |= {f"{side}_labels": labels, f"{side}_instances": g.boxes, side: np.array(triplets)}
        true, predicted = arrays.pop("gt"), arrays.pop("pred")
        matched = sgbench.remap_triplets(inst_pred2gt=sgbench.match_instances(**arrays), pred_triplets=predicted)
        for k, values in recalls.items():
            values.append(
                sgbench.recall(k=k, mean=False, gt_triplets=true, matched_triplets=matched, num_predicates=50)
            )
    got = figures(rows)
    for k, values in recalls.items():
        assert got[f"ngR@{k}"] == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize("package", ["pycocotools", "faster_coco_eval"])
def test_whole_set_evaluators_give_the_same_ap(oracle, package):
    """We go class by class; they take the set at once."""
    if package == "pycocotools":
        coco = pytest.importorskip("pycocotools.coco").COCO
        evaluator = pytest.importorskip("pycocotools.cocoeval").COCOeval
    else:
        from faster_coco_eval import COCO as coco
        from faster_coco_eval import COCOeval_faster as evaluator
    rows = sorted(clean(oracle), key=lambda row: row[0].image_id)
    sides = [[], []]
    for image, (truth, prediction, _) in enumerate(rows):
        for side, graph in zip(sides, (truth.graph, map_graph(prediction.read().graph, VG150).graph), strict=True):
            for label, box in zip(graph.labels, graph.boxes * ((truth.width, truth.height) * 2), strict=True):
                x1, y1, x2, y2 = np.round(box, 6).tolist()
                row = {"id": len(side) + 1, "image_id": image, "category_id": VG150.object_index[label], "score": 1.0}
                row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                side.append(row)
    loaded = []
    with contextlib.redirect_stdout(io.StringIO()):
        for side in sides:
            data = coco()
            data.dataset = {
                "images": [{"id": k} for k in range(len(rows))],
                "annotations": side,
                "categories": [{"id": k, "name": name} for k, name in enumerate(VG150.objects)],
            }
            data.createIndex()
            loaded.append(data)
        evaluation = evaluator(*loaded, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    table = evaluation.eval["precision"][:, :, :, 0, -1]
    got = figures(rows)
    for name, part in (("AP", table), ("AP50", table[0]), ("AP75", table[5])):
        assert got[name] == pytest.approx(part[part > -1].mean(), abs=1e-12), name
