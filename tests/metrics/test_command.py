"""`r1sgg evaluate` from outside."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from r1sgg.cli import app, main
from r1sgg.data.base import write_ground_truth
from r1sgg.data.sources import open_data
from r1sgg.data.splits import describe
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.text import render
from r1sgg.graph.vocabulary import VG150

from .conftest import FRAME, example, scene

TRUTH = scene(("man", "horse", "tree"), ((0, "riding", 1), (1, "near", 2)))
OTHER = scene(("man", "horse", "tree"), ((0, "near", 1),))


@pytest.fixture
def files(tmp_path):
    write_ground_truth(tmp_path / "gt.jsonl", [example(TRUTH, name) for name in "abc"])
    for name, graphs in (("good", [TRUTH, TRUTH, OTHER]), ("bad", [OTHER, OTHER, OTHER])):
        lines = [
            {"image_id": i, "completion": render(g, FRAME), "frame": FRAME, "model": name}
            for i, g in zip("abc", graphs, strict=True)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def call(files, *arguments):
    out = files / "out.json"
    command = ["evaluate", files / "good.jsonl", "--ground-truth", files / "gt.jsonl", "--vocabulary", "vg150"]
    shown = CliRunner().invoke(app, [str(a) for a in (*command, *arguments, "--json", out)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return json.loads(out.read_text()), shown.output


def test_the_promised_keys_are_there(files):
    got, shown = call(files)
    keys = {"failure_rate", "AP50", "precision", "f1", "relations_per_image", "duplicate_rate", "images", "protocol"}
    keys |= {f"{m}@{k}" for m in ("R", "mR", "ngR", "ngmR") for k in (20, 50, 100)}
    keys |= {"AP", "AP75", "failures", "per_predicate", "vocabulary", "mapping", "similarity", "data_hash", "model"}
    keys |= {"image_hash", "remarks", "trained_on", "ground_truth"}
    assert keys <= set(got)
    assert (got["images"], got["protocol"], got["model"]) == (3, "strict", "good")
    assert got["R@50"] == pytest.approx(2 / 3)
    assert "66.67" in shown


def test_confidences_are_summed_up_in_a_line(files):
    assert "confidence:" not in call(files)[1]
    rows = [json.loads(line) for line in (files / "good.jsonl").read_text().splitlines()]
    for row in rows:
        document = json.loads(row["completion"])
        for thing in (*document["objects"], *document["relationships"]):
            thing["score"] = 0.8
        row |= document
    (files / "good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    got, shown = call(files)
    assert got["calibration"]["objects"]["ECE"] == pytest.approx(0.2)
    assert got["calibration"]["triplets"]["mean_score"] == pytest.approx(0.8**3)
    assert "good: confidence: objects ECE 20.00 %" in shown.replace("\n", " ")
    compared = call(files, "--compare")[1].replace("\n", " ")
    assert compared.count("objects ECE 20.00 %") == 1, "the conventions change no score: it is said once"


def remember(files, described, vocabulary="open"):
    stage = {"command": "sft", **described, "vocabulary": vocabulary}
    (files / "good.jsonl.run.json").write_text(json.dumps({"settings": {"trained_on": [stage]}}))


def test_results_carry_the_hashes_of_the_set(files):
    got, shown = call(files)
    hashes = open_data(str(files / "gt.jsonl")).hashes()
    assert (got["image_hash"], got["data_hash"]) == (hashes["images"], hashes["annotations"])
    assert got["ground_truth"] == {"name": str(files / "gt.jsonl"), "split": None}
    assert (got["trained_on"], got["remarks"]) == ([], [])
    assert "trained" not in shown
    again, _ = call(files, "--ground-truth", f"jsonl:{files / 'gt.jsonl'}")
    assert {**again, "ground_truth": 0} == {**got, "ground_truth": 0}


def test_images_that_were_trained_on_are_said_aloud(files):
    remember(files, describe(open_data(str(files / "gt.jsonl"))))
    got, shown = call(files)
    assert [r.count("has the same images that the model was trained on") for r in got["remarks"]] == [1]
    assert shown.count(got["remarks"][0]) == 1
    assert got["trained_on"][0]["command"] == "sft"


def test_another_set_or_vocabulary_is_said_aloud(files):
    write_ground_truth(files / "other.jsonl", [example(TRUTH, "z")])
    remember(files, describe(open_data(str(files / "other.jsonl"))) | {"name": "vg150:D,split=train"}, "psg")
    got, shown = call(files)
    assert [word in r for word, r in zip(("another set", "names of psg"), got["remarks"], strict=True)] == [True, True]
    assert all(remark in shown for remark in got["remarks"])


def test_any_data_is_a_ground_truth_and_a_split_of_the_same_is_nothing_to_say(files):
    from r1sgg.data.spec import parse_spec
    from r1sgg.miniature.sources import SceneData

    data = SceneData(parse_spec("scenes:2,split=test"))
    lines = [{"image_id": e.image_id, "completion": render(e.graph, FRAME), "frame": FRAME} for e in data]
    (files / "good.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    remember(files, describe(SceneData(parse_spec("scenes:3,preset=small"))))
    got, _ = call(files, "--ground-truth", "scenes:2,split=test")
    assert got["R@100"] == pytest.approx(1)
    assert (got["remarks"], got["ground_truth"]) == ([], {"name": "scenes:2,split=test", "split": "test"})
    got, _ = call(files, "--ground-truth", "scenes:2,split=test", "--compare")
    assert got["compare"][0]["images"] == 2


def test_both_protocols_side_by_side(files):
    got, shown = call(files, "--compare")
    claims, reference = got["compare"]
    assert (claims["protocol"], claims["claims"]["convention"], reference["protocol"]) == (
        "strict",
        "none",
        "reference",
    )
    assert "good (reference)" in shown
    assert "good (claims" in shown
    assert got["claims"] == {"convention": "completions", "images": got["images"]}
    assert call(files, "--claims", "none")[0]["claims"] == {"convention": "none", "images": 0}


def test_two_files_are_compared_in_pairs(files):
    got, shown = call(files, str(files / "bad.jsonl"), "--bootstrap", "50")
    found = got["against"][0]
    assert found["file"] == "bad.jsonl"
    assert found["differences"]["R@50"]["difference"] == pytest.approx(-2 / 3)
    assert found["differences"]["R@50"]["interval"][1] <= 0
    assert got["intervals"]["R@50"][0] <= got["R@50"] <= got["intervals"]["R@50"][1]
    assert "bad minus good" in shown
    assert "95 % interval" in shown
    assert "95 % interval" not in call(files, str(files / "bad.jsonl"))[1]  # no empty column


def test_what_holds_for_every_file_is_remarked_once(files):
    (files / "third.jsonl").write_text((files / "bad.jsonl").read_text())
    shown = call(files, str(files / "bad.jsonl"), str(files / "third.jsonl"), "--bootstrap", "50")[1]
    assert shown.count("are too narrow") == 1
    assert "good and 2 more: intervals of mR@K and ngmR@K are too narrow" in shown
    assert "good: intervals of" in call(files, "--bootstrap", "50")[1]


def test_ground_truth_instead_of_predictions_and_the_reverse_is_one_sentence(files, capsys):
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 1000, "height": 1000}],
        "categories": [{"id": 1, "name": "man"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
    }
    (files / "coco.json").write_text(json.dumps(coco))
    (files / "other.json").write_text(json.dumps(coco).replace("a.jpg", "other.jpg"))

    def said(predictions, truth, code):
        command = ["evaluate", str(files / predictions), "--ground-truth", str(files / truth)]
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == code
        return capsys.readouterr().err.splitlines()

    (line,) = said("gt.jsonl", "gt.jsonl", 2)
    assert "gt.jsonl: expected predictions, lines like" in line
    assert "found ground truth" in line
    (line,) = said("good.jsonl", "good.jsonl", 2)
    assert "found a prediction; give the file that the predictions were made for" in line
    (line,) = said("coco.json", "coco.json", 2)
    assert "found COCO's annotations; write coco:" in line
    *notes, line = said("other.json", "gt.jsonl", 2)
    assert "no annotation has a score, as in ground truth" in notes[-1]  # said though it fails
    assert "found image_id 'other', which is not in it (its ids are like 'a')" in line


def test_training_graphs_add_the_baseline(files):
    got, shown = call(files, "--train", str(files / "gt.jsonl"))
    assert [(b["name"], b["objects"]) for b in got["baselines"]] == [
        ("FREQ", "good.jsonl"),
        ("FREQ+OVERLAP", "good.jsonl"),
    ]
    assert got["frequency_baseline"] == got["baselines"][0]["result"]
    assert got["frequency_baseline"]["R@50"] == 1
    assert got["frequency_baseline"]["precision"] is None
    assert got["baselines"][1]["result"]["R@50"] == 0, "no two boxes of these overlap"
    assert got["zero_shot"]["zR@50"] is None
    assert "FREQ, objects" in shown
    told, shown = call(files, "--train", f"jsonl:{files / 'gt.jsonl'}", "--task", "predcls")
    assert [(b["name"], b["objects"]) for b in told["baselines"]] == [("FREQ", "true"), ("FREQ+OVERLAP", "true")]
    assert "true objects" in shown


def test_zero_shot_says_what_it_counts(files):
    got, shown = call(files, "--train", str(files / "gt.jsonl"), "--all")
    assert got["zero_shot"]["triplets"] == f"absent from {files / 'gt.jsonl'}"
    assert "published tables count a fixed list" in " ".join(shown.split())
    man, horse, riding = (
        VG150.objects.index("man") + 1,
        VG150.objects.index("horse") + 1,
        VG150.predicates.index("riding") + 1,
    )
    for rows in ([["man", "riding", "horse"]], [[man, horse, riding]]):
        (files / "list.json").write_text(json.dumps(rows))
        got, shown = call(files, "--zero-shot", str(files / "list.json"), "--all")
        assert got["zero_shot"]["zR@50"] == pytest.approx(2 / 3)
        assert f"{got['zero_shot']['relations']} true relations listed in" in " ".join(shown.split())
        assert "published" not in shown
    (files / "list.json").write_text(json.dumps([["horse", "riding", "man"]]))
    got, shown = call(files, "--zero-shot", str(files / "list.json"), "--all")
    assert (got["zero_shot"]["zR@50"], got["zero_shot"]["relations"]) == (None, 0)
    assert "zR@K: no true relation is listed in" in " ".join(shown.split())
    for rows in ([], {}, [["man", "riding"]], [[0, 1, 1]], [[1, 1, 51]], [[True, 1, 1]], [["man", 1, "horse"]]):
        (files / "list.json").write_text(json.dumps(rows))
        with pytest.raises(InputError, match="list"):
            call(files, "--zero-shot", str(files / "list.json"))


def test_groups_have_a_name(files):
    got, shown = call(files, "--all")
    assert got["grouping"] == "bgnn"
    assert [len(got["groups"][g]["predicates"]) for g in ("head", "body", "tail")] == [7, 21, 22]
    assert "(bgnn)" in shown
    assert call(files, "--groups", "thirds")[0]["grouping"] == "thirds"
    (files / "mine.json").write_text(json.dumps({"riding": ["riding"], "rest": ["near", "on"]}))
    got, shown = call(files, "--groups", str(files / "mine.json"), "--all")
    assert (got["grouping"], list(got["groups"])) == ("mine.json", ["riding", "rest"])
    assert got["groups"]["riding"]["mR@50"] == pytest.approx(2 / 3)
    assert "riding mR@50 (mine.json)" in shown
    (files / "mine.json").write_text(json.dumps({"zero": ["riding"], "pooled": ["near", "on"]}))
    got, _ = call(files, "--groups", str(files / "mine.json"))
    assert (got["zero_shot"], list(got["pooled"])) == (None, [f"{n}R@{k}" for n in ("", "ng") for k in (20, 50, 100)])
    with pytest.raises(ConfigError, match="expected bgnn, thirds or a JSON file, found 'BGNN'"):
        call(files, "--groups", "BGNN")


@pytest.mark.parametrize(
    ("option", "value", "names"),
    [("--protocol", "lenient", "strict, reference"), ("--mapping", "some", "normal"), ("--task", "x", "sgdet")],
)
def test_wrong_options_are_one_sentence(files, capsys, option, value, names):
    arguments = ["evaluate", str(files / "good.jsonl"), "--ground-truth", str(files / "gt.jsonl"), option, value]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert names in error
    assert value in error


def test_a_foreign_predictions_file_is_one_sentence(files, capsys):
    line = {"image_id": "z", "completion": "{}", "frame": FRAME}
    (files / "foreign.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(files / "foreign.jsonl"), "--ground-truth", str(files / "gt.jsonl")])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "foreign.jsonl" in error
    assert "'z'" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("score", [-5, 1.5, 87, "high", True])
@pytest.mark.parametrize("rows", ["objects", "relationships"])
def test_a_score_that_is_no_probability_is_one_sentence(files, capsys, score, rows):
    line = {"image_id": "a", "frame": FRAME, "objects": [{"id": "man.1", "bbox": [0, 0, 9, 9], "score": 0.5}]}
    line["relationships"] = [{"subject": "man.1", "predicate": "on", "object": "man.1", "score": 0.5}]
    line[rows][0]["score"] = score
    (files / "detector.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(files / "detector.jsonl"), "--ground-truth", str(files / "gt.jsonl")])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert f"{rows}[0].score: expected a number from 0 to 1, found {score!r}; divide percentages by 100" in error
    assert error.count("\n") == 1


def test_torch_is_never_imported(files):
    code = (
        "import sys; from r1sgg.cli import main\n"
        f"main(['evaluate', {str(files / 'good.jsonl')!r}, '--ground-truth', {str(files / 'gt.jsonl')!r}])\n"
    )
    watch = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))\n"
    done = subprocess.run([sys.executable, "-c", watch + code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (["bare"], "this image has no relations and was left out"),
        (["bare", "empty"], "these images have no relations and were left out"),
        (["bare", "empty", "else"], "2 of these images have no relations and were left out"),
        (["else"], "check that the predictions were made for this ground truth"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "report", "export"])
def test_predictions_for_images_that_were_left_out_say_so(tmp_path, capsys, command, images, said):
    """The remedy is in the error itself, not only in the line above that says how many were left out."""
    row = {"category_id": 1, "bbox": [0, 0, 20, 20]}
    names = ["one", "bare", "empty"]
    coco = {
        "images": [{"id": k, "file_name": f"{name}.jpg", "width": 100, "height": 100} for k, name in enumerate(names)],
        "annotations": [{"id": k, "image_id": image, **row} for k, image in enumerate((0, 0, 1))],
        "categories": [{"id": 1, "name": "man"}],
        "rel_categories": [{"id": 1, "name": "near"}],
        "rel_annotations": [{"id": 0, "image_id": 0, "subject_id": 0, "object_id": 1, "predicate_id": 1}],
    }
    truth, answers = tmp_path / "coco.json", tmp_path / "answers.jsonl"
    truth.write_text(json.dumps(coco))
    text = '{"objects": [{"id": "man.1", "bbox": [0, 0, 20, 20]}], "relationships": []}'

    def ran(names, spec):
        lines = [{"image_id": name, "frame": [100, 100], "completion": text} for name in names]
        answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
        out = ["--out", str(tmp_path / "out")] if command != "evaluate" else []
        out += ["--format", "json"] if command == "export" else []
        with pytest.raises(SystemExit) as stop:
            main([command, str(answers), "--ground-truth", spec, *out])
        return stop.value.code, capsys.readouterr().err.splitlines()

    code, lines = ran(["one", *images], f"coco:{truth}")
    assert code == 2
    assert said in lines[-1]
    assert (f"coco:{truth},empty=yes keeps" in lines[-1]) == ("left out" in said)
    if images == ["bare", "empty"]:
        assert ran(["one", *images], f"coco:{truth},empty=yes")[0] == 0
