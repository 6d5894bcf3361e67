"""The report, made through the command line on a small set and read back: what is in the page, and beside it."""

from __future__ import annotations

import html
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from r1sgg.cli import main
from r1sgg.data.base import read_ground_truth, read_predictions
from r1sgg.metrics.report import evaluate
from r1sgg.pages.report import choose
from r1sgg.pages.samples import thinned
from r1sgg.pages.shards import script_json

from .scenes import ANSWERS, FRAME, NASTY, answer, report, truth_row, write_lines


class Page(HTMLParser):
    """Tags with their attributes, and the text of elements by tag."""

    VOID = frozenset(("meta", "link", "br", "img", "input", "hr"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.scripts: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open:
            self.texts.append((self.open[-1], data.strip()))
            if self.open[-1] == "script" and (name := self.tags[-1][1].get("id")):
                self.scripts[name] = data

    def text_of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    def values(self, *names: str) -> Iterator[str]:
        for _, attributes in self.tags:
            yield from (attributes[n] or "" for n in names if n in attributes)

    @property
    def data(self) -> dict[str, Any]:
        """What the browser of errors filters by."""
        found: dict[str, Any] = json.loads(self.scripts["data"])
        return found

    @property
    def details(self) -> list[dict[str, Any]]:
        """What it shows of each image."""
        names = sorted((n for n in self.scripts if n.startswith("shard-")), key=lambda n: int(n[6:]))
        return [row for name in names for row in json.loads(self.scripts[name])]


def page_of(folder: Path, *arguments: str) -> Page:
    return Page(report(folder, *arguments).read_text(encoding="utf-8"))


def test_a_small_page_needs_nothing_beside_it(folder: Path) -> None:
    out = report(folder, str(folder / "good.jsonl"), "--runs", str(folder / "run"))
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]
    assert {v for v in page.values("src", "href", "srcset", "action", "poster") if not v.startswith("#")} == {"data:,"}
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|innerHTML|insertAdjacentHTML|eval\(", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "default-src 'none'" in text
    assert str(folder) not in text


def test_the_table_shows_the_figures_of_evaluate(folder: Path) -> None:
    page = page_of(folder, str(folder / "good.jsonl"), str(folder / "bad.jsonl"), "--title", "A & B")
    examples = list(read_ground_truth(folder / "gt.jsonl"))
    result = evaluate(examples, read_predictions(folder / "good.jsonl"), bootstrap=20)
    keys = ["failure_rate", "AP50", "R@50", "mR@50", "ngR@50", "precision", "f1", "duplicate_rate"]
    expected = [f"{100 * result[key]:.1f}" for key in keys] + [f"{result['relations_per_image']:.1f}", "5"]
    cells = page.text_of("td")
    assert cells[:10] == expected
    assert cells[10] == "100.0"
    assert "R@50" in page.text_of("abbr")
    assert page.text_of("h1") == ["A & B"]
    best = [a for tag, a in page.tags if tag == "td" and a.get("class") == "best"]
    assert 4 <= len(best) <= 16
    low, high = result["intervals"]["R@50"]
    assert f"{100 * low:.1f}–{100 * high:.1f}" in page.text_of("small")
    assert page.data["perPredicate"] == [["riding", 5, [0.6, 0.0]], ["wearing", 5, [0.4, 0.0]]]


def test_differences_are_paired_and_marked_where_they_are_clear(folder: Path) -> None:
    page = page_of(folder, str(folder / "bad.jsonl"), str(folder / "good.jsonl"))
    start = next(k for k, (_, text) in enumerate(page.texts) if text == "Differences to bad")
    cells = [text for tag, text in page.texts[start:] if tag == "td"][:10]
    assert cells[0] == "−80.0"
    assert cells[2] == "+50.0"
    assert "Bold: the interval excludes zero." in " ".join(page.text_of("p"))


def test_without_resamples_there_are_no_intervals(folder: Path) -> None:
    page = page_of(folder, str(folder / "bad.jsonl"), str(folder / "good.jsonl"), "--bootstrap", "0")
    assert page.text_of("small") == []
    assert not any("Differences" in text for _, text in page.texts)


def test_nothing_from_a_file_becomes_markup(folder: Path) -> None:
    rows = [truth_row(k) for k in range(5)]
    rows[0]["image_id"] = rows[0]["objects"][0]["id"] = '"><img src=x onerror=alert(1)>'
    rows[0]["relationships"] = []
    write_lines(folder / "gt.jsonl", rows)
    answers = [{"image_id": rows[0]["image_id"], "completion": "</script><!--<b>\u2028", "frame": FRAME}]
    answers += [{"image_id": f"scene-{k}", "completion": ANSWERS[f"scene-{k}"], "frame": FRAME} for k in range(1, 5)]
    write_lines(folder / "good.jsonl", answers)
    samples = [{"step": 1, "image_id": NASTY, "completion": NASTY, "terms": {NASTY: 1.0}, "total": 1}]
    write_lines(folder / "run" / "completions.jsonl", samples)
    text = report(folder, str(folder / "good.jsonl"), "--title", NASTY, "--runs", str(folder / "run")).read_text()
    page = Page(text)
    assert page.open == []
    assert [a.get("type") for tag, a in page.tags if tag == "script"].count(None) == 1
    assert not {"img", "b", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert html.escape(NASTY, quote=False).replace('"', "&#34;") in text
    assert page.details[0]["runs"][0]["text"] == "</script><!--<b>\u2028"
    assert page.data["ids"][0] == rows[0]["image_id"]
    assert json.loads(page.scripts["samples-data"])[0]["rows"][0]["text"] == NASTY


def test_json_in_a_script_cannot_end_it() -> None:
    value = {"</script><!--": ["<b>\u2028\u2029&"]}
    assert "<" not in script_json(value)
    assert "\u2028" not in script_json(value)
    assert json.loads(script_json(value)) == value


def test_the_data_say_what_was_found_missed_and_made_up(folder: Path) -> None:
    page = page_of(folder, str(folder / "good.jsonl"), str(folder / "bad.jsonl"))
    data = page.data
    assert data["ids"] == [f"scene-{k}" for k in range(5)]
    good, bad = data["runs"]
    assert good["outcomes"] == ["ff", "fu", "ff", "xx", "uu"]
    assert bad["outcomes"] == ["xx"] * 5
    assert good["recall"] == [1.0, 0.5, 1.0, 0.0, 0.0]
    assert good["precision"] == [1.0, 1.0, 0.6667, None, 0.0]
    kinds = [None if k < 0 else data["failures"][k] for k in good["failure"]]
    assert kinds == [None, None, None, "no_json", None]
    spurious = [[data["predicates"][p] for p in row] for row in good["spurious"]]
    assert spurious == [[], [], ["on"], [], ['<script>alert("x")</script>']]
    missed = [[data["classes"][c] for c in row] for row in good["missedClasses"]]
    assert missed == [[], [], [], ["man", "horse", "hat"], []]
    detail = page.details[2]
    assert detail["truth"]["relations"] == [[0, "riding", 1], [0, "wearing", 2]]
    assert detail["truth"]["boxes"][:4] == [500, 1000, 3000, 9000]
    assert detail["runs"][0]["relations"] == "mms"
    assert detail["runs"][0]["objects"] == "mmm"
    assert detail["runs"][1]["failure"] == "no_json"
    assert page.details[4]["problem"] == "no image: no such file"
    assert "problem" not in page.details[0]


def test_another_predicate_and_the_other_direction_are_told_apart(folder: Path) -> None:
    turned = json.loads(answer(2))
    first = turned["relationships"][0]
    first["subject"], first["object"] = first["object"], first["subject"]
    rows = [
        {"image_id": "scene-0", "completion": answer(2, instead="near"), "frame": FRAME},
        {"image_id": "scene-1", "completion": json.dumps(turned), "frame": FRAME},
    ]
    write_lines(folder / "good.jsonl", rows)
    run = page_of(folder, str(folder / "good.jsonl")).data
    assert run["runs"][0]["outcomes"][:3] == ["pf", "rf", "xx"]
    assert [[run["predicates"][p] for p in row] for row in run["runs"][0]["taken"][:2]] == [["near"], ["riding"]]


@pytest.mark.parametrize(
    ("limit", "shown"), [(0, None), (1, [3]), (3, [1, 3, 4]), (4, [0, 1, 3, 4]), (5, [0, 1, 2, 3, 4])]
)
def test_limit_keeps_the_worst_and_some_of_the_best(folder: Path, limit: int, shown: list[int] | None) -> None:
    page = page_of(folder, str(folder / "good.jsonl"), "--limit", str(limit))
    assert ("data" in page.scripts) == (shown is not None)
    if shown is not None:
        assert page.data["ids"] == [f"scene-{k}" for k in shown]
        assert len(page.details) == len(shown)
    assert page.text_of("td")[9] == "5"  # the table counts all images


def test_every_run_has_its_worst_among_the_chosen() -> None:
    def row(recall: float) -> dict[str, Any]:
        return {"failure": -1, "recall": recall, "precision": recall}

    one = {k: row(k / 10) for k in range(10)}
    other = {k: row(1 - k / 10) for k in range(10)}
    assert choose(range(10), [one, other], 4) == [0, 1, 8, 9]


def test_large_data_lie_in_a_folder_and_an_old_folder_is_cleared_of_ours_alone(folder: Path) -> None:
    out = report(folder, str(folder / "good.jsonl"), "--no-embed")
    beside = out.with_name("report_files")
    assert sorted(p.name for p in beside.iterdir()) == ["i0.webp", "i1.webp", "i2.webp", "i3.webp", "s0.js"]
    page = Page(out.read_text())
    assert page.data["folder"] == "report_files"
    assert not page.details
    script = (beside / "s0.js").read_text()
    assert script.startswith("r1sggShard(0,[")
    assert "<" not in script
    (beside / "mine.txt").write_text("kept")
    (beside / "i77.webp").write_text("stale")
    report(folder, str(folder / "good.jsonl"), "--no-embed")
    assert "mine.txt" in {p.name for p in beside.iterdir()}
    assert "i77.webp" not in {p.name for p in beside.iterdir()}
    report(folder, str(folder / "good.jsonl"), "--embed")
    assert [p.name for p in beside.iterdir()] == ["mine.txt"]
    assert not list(out.parent.glob("*.part"))


def test_more_images_than_a_shard_holds(folder: Path) -> None:
    write_lines(folder / "gt.jsonl", [truth_row(k) for k in range(120)])
    rows = [{"image_id": f"scene-{k}", "completion": answer(k % 3), "frame": FRAME} for k in range(120)]
    write_lines(folder / "good.jsonl", rows)
    page = page_of(folder, str(folder / "good.jsonl"))
    assert [n for n in page.scripts if n.startswith("shard-")] == ["shard-0", "shard-1", "shard-2"]
    assert len(page.details) == 120
    assert [row["runs"][0]["outcomes"] for row in page.details[:4]] == ["uu", "fu", "ff", "uu"]


def test_curves_of_figure_2_and_of_every_reward(folder: Path) -> None:
    write_lines(folder / "other" / "metrics.jsonl", [{"step": k, "eval_R@50": k / 12, "loss": 1.0} for k in (6, 12)])
    runs = ["--runs", str(folder / "run"), "--runs", str(folder / "other")]
    text = report(folder, str(folder / "good.jsonl"), *runs).read_text()
    charts = dict(
        re.findall(r'<figure class="chart \w+"[^>]*>\s*<figcaption>(.*?)</figcaption>(.*?)</figure>', text, re.DOTALL)
    )
    assert list(charts) == ["Failure rate (%)", "AP50 (%)", "R@50 (%)", "Loss", "reward", "edge"]
    assert "run, step 5: 12.5 %" in charts["R@50 (%)"]
    assert "other, step 12: 100.0 %" in charts["R@50 (%)"]
    assert charts["R@50 (%)"].count("<path") == 2
    assert charts["reward"].count("<title>") == 5
    points = re.search(r'<path d="M([^"]+)"', charts["reward"])
    assert points is not None
    xs, ys = zip(*(map(float, p.split(",")) for p in points.group(1).split("L")), strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys, reverse=True)  # a growing reward goes up
    steps = re.findall(r'class="tick x"[^>]*>([0-9.]+)<', charts["Loss"])
    assert steps[:4] == ["0", "5", "10", "15"], "steps are whole"
    assert steps[4:] == ["0", "25", "50", "75", "100"]  # of the runs, which differ in length


def test_a_run_folder_needs_no_predictions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "run.html"
    with pytest.raises(SystemExit) as stop:
        main(["report", "--runs", str(folder / "run"), "--out", str(out)])
    assert stop.value.code == 0
    assert "run.html: 1 run, 0." in capsys.readouterr().out
    page = Page(out.read_text())
    assert "Training" in page.text_of("h2")
    assert "data" not in page.scripts
    (samples,) = json.loads(page.scripts["samples-data"])
    assert samples["terms"] == ["format", "edge", "node"]
    assert samples["steps"] == [1, 3, 5]
    assert samples["rows"][5] == {
        "step": 5,
        "image": "scene-1",
        "text": '{"step": 5, "sample": 1}',
        "cut": 0,
        "terms": {"format": 1.0, "edge": 0.5, "node": None},
        "weights": None,
        "total": 2.5,
        "advantage": None,
        "group": None,
    }


def test_warnings_of_a_run_are_shown(folder: Path) -> None:
    message = f"step 40: no reward is given. Usually {NASTY}"
    write_lines(folder / "run" / "warnings.jsonl", [{"step": 40, "trouble": "flat", "message": message}])
    page = page_of(folder, str(folder / "good.jsonl"), "--runs", str(folder / "run"))
    assert message in page.text_of("dd")
    assert "run" in page.text_of("dt")


def test_many_steps_are_thinned_evenly() -> None:
    assert thinned(list(range(50))) == list(range(50))
    shown = thinned(list(range(0, 5000, 5)))
    assert len(shown) == 100
    assert (shown[0], shown[-1]) == (0, 4995)
    gaps = {b - a for a, b in itertools.pairwise(shown)}
    assert max(gaps) - min(gaps) <= 5


def test_scores_give_a_reliability_diagram(folder: Path) -> None:
    rows = []
    for k in range(5):
        objects = [{**o, "score": 0.9 - 0.1 * n} for n, o in enumerate(truth_row(k)["objects"])]
        rows.append({"image_id": f"scene-{k}", "frame": [200, 100], "objects": objects, "relationships": []})
    write_lines(folder / "scored.jsonl", rows)
    page = page_of(folder, str(folder / "good.jsonl"), str(folder / "scored.jsonl"))
    assert "Reliability of scores" in page.text_of("h2")
    titles = page.text_of("title")
    assert "scored: 5 scored 0.90 on average, 100.0 % were right" in titles
    assert any("ECE 20.0 %" in text for _, text in page.texts)
    assert not any(text.startswith("good: ") for text in titles)
    assert "Reliability of scores" not in page_of(folder, str(folder / "good.jsonl")).text_of("h2")


@pytest.mark.parametrize("task", ["sgcls", "predcls"])
def test_what_the_prompt_gave_is_said_and_counted(folder: Path, task: str) -> None:
    rows = []
    for k in range(5):
        truth = truth_row(k)
        pairs = [(r["subject"], r["predicate"], r["object"]) for r in truth["relationships"]]
        objects = [{"id": o["id"], "bbox": [0, 0, 1, 1] if task == "predcls" else o["bbox"]} for o in truth["objects"]]
        said = {
            "objects": objects,
            "relationships": [dict(zip(("subject", "predicate", "object"), p, strict=True)) for p in pairs],
        }
        if k == 4 and task == "predcls":
            del said["objects"]  # relationships alone refer to the given objects
        text = json.dumps(said)
        rows.append({"image_id": f"scene-{k}", "completion": text, "frame": [200, 100], "task": task})
    write_lines(folder / "given.jsonl", rows)
    page = page_of(folder, str(folder / "given.jsonl"), "--task", task, "--json", str(folder / "given.json"))
    assert any(text.startswith(f"{task.upper()}: boxes ") for text in page.text_of("span"))
    results = json.loads((folder / "given.json").read_text())["given"]
    assert results["task"] == task
    assert (results["ngR@50"], results["AP50"], results["failure_rate"]) == (1, 1, 0)
    assert [d["runs"][0]["failure"] for d in page.details] == [""] * 5
    assert [d["runs"][0]["issues"] for d in page.details] == [[]] * 5
    assert [d["runs"][0]["graph"]["boxes"] for d in page.details] == [d["truth"]["boxes"] for d in page.details]


def test_another_task_than_the_line_s_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(folder / "given.jsonl", [{"image_id": "scene-0", "completion": "{}", "frame": FRAME, "task": "sgcls"}])
    for more, says in (
        ([], "evaluate it with --task sgcls"),
        (["--task", "all"], "expected one of sgdet, sgcls, predcls"),
    ):
        command = ["report", str(folder / "given.jsonl"), "--ground-truth", str(folder / "gt.jsonl"), *more]
        with pytest.raises(SystemExit) as stop:
            main([*command, "--out", str(folder / "r.html")])
        assert stop.value.code == 2
        assert says in capsys.readouterr().err


def test_a_very_long_prediction_is_cut_and_its_length_shown(folder: Path) -> None:
    objects = [{"id": f"man.{k}", "bbox": [k % 900, 0, k % 900 + 20, 90]} for k in range(1, 401)]
    relationships = [{"subject": "man.1", "predicate": f"near {k}", "object": f"man.{k}"} for k in range(2, 400)]
    relationships += [{"subject": "man.1", "predicate": "on", "object": "man.2"}] * 300
    text = json.dumps({"objects": objects, "relationships": relationships})
    write_lines(folder / "good.jsonl", [{"image_id": "scene-0", "completion": text, "frame": FRAME}])
    detail = page_of(folder, str(folder / "good.jsonl")).details[0]["runs"][0]
    assert detail["graph"]["count"] == [400, 698]
    assert len(detail["graph"]["names"]) == len(detail["objects"]) == 200
    assert len(detail["graph"]["relations"]) == 300
    assert detail["graph"]["relations"][299] is None  # to an object that is not shown
    assert detail["cut"] == len(text) - 6000


def test_an_image_without_a_prediction_is_a_failure(folder: Path) -> None:
    rows = [{"image_id": f"scene-{k}", "completion": answer(2), "frame": FRAME} for k in range(3)]
    rows.append({"image_id": "scene-3", "error": f"out of memory {NASTY}"})
    write_lines(folder / "good.jsonl", rows)
    details = page_of(folder, str(folder / "good.jsonl")).details
    assert [d["runs"][0]["failure"] for d in details] == ["", "", "", "error", "missing"]
    assert details[3]["runs"][0]["issues"] == [["error", f"out of memory {NASTY}"]]
    assert details[4]["runs"][0]["meaning"] == "the predictions file has no line for this image"


def test_names_outside_the_vocabulary_are_named(folder: Path) -> None:
    names = {"name": "mine", "objects": ["man", "horse"], "predicates": ["riding"]}
    (folder / "mine.json").write_text(json.dumps(names))
    page = page_of(folder, str(folder / "good.jsonl"), "--vocabulary", str(folder / "mine.json"))
    assert "vocabulary mine" in page.text_of("span")
    issues = page.details[0]["runs"][0]["issues"]
    assert ["dropped", "object 'hat' is not in the vocabulary: dropped"] in issues
    assert page.details[0]["truth"]["names"] == ["man", "horse"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.jsonl"], "missing.jsonl: expected a readable JSON Lines file"),
        (["good.jsonl", "--runs", "images"], "metrics.jsonl"),
        (["good.jsonl", "--protocol", "loose"], "--protocol: expected one of strict, reference"),
        (["good.jsonl", "--runs", "steps"], "metrics.jsonl:1: step: expected a number"),
        (["good.jsonl", "--runs", "samples"], "completions.jsonl:1: terms: expected an object"),
        ([], "expected predictions or run folders"),
        (["good.jsonl", "--out", "gt.jsonl/x.html"], "a place to write a file"),
    ],
)
def test_a_mistake_is_one_sentence(
    folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    write_lines(folder / "steps" / "metrics.jsonl", [{"loss": 1.0}])
    write_lines(folder / "samples" / "metrics.jsonl", [{"step": 1, "loss": 1.0}])
    write_lines(folder / "samples" / "completions.jsonl", [{"step": 1, "completion": "x", "terms": []}])
    with pytest.raises(SystemExit) as exit_:
        main(["report", "--ground-truth", "gt.jsonl", "--out", "out.html", *arguments])
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not (folder / "out.html").exists()
    assert not list(folder.glob("*.part"))


def test_predictions_need_their_ground_truth(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["report", str(folder / "good.jsonl"), "--out", str(folder / "out.html")])
    assert stop.value.code == 2
    assert "--ground-truth" in capsys.readouterr().err


def test_the_ground_truth_may_be_any_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.new("RGB", (80, 60), "white").save("photos/0.png")
    image = {"id": 7, "file_name": "0.png", "width": 80, "height": 60}
    boxes = [
        {"id": k, "image_id": 7, "category_id": k, "bbox": box}
        for k, box in ((1, [5, 5, 30, 30]), (2, [40, 20, 30, 30]))
    ]
    relation = {"id": 0, "image_id": 7, "subject_id": 1, "predicate_id": 0, "object_id": 2}
    coco = {"images": [image, {**image, "id": 8, "width": 0}], "annotations": boxes, "rel_annotations": [relation]}
    coco |= {"categories": [{"id": 1, "name": "man"}, {"id": 2, "name": "cup"}]}
    coco |= {"rel_categories": [{"id": 0, "name": "holding"}]}
    Path("rel.json").write_text(json.dumps(coco))
    objects = [{"label": "man", "bbox": [5, 5, 35, 35]}, {"label": "cup", "bbox": [40, 20, 70, 50]}]
    line = {"image_id": "0", "relationships_by": "index", "objects": objects, "relationships": [[0, 1, "holding"]]}
    Path("mine.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(SystemExit) as stop:
        main(["report", "mine.jsonl", "--ground-truth", "coco:rel.json,images=photos", "--out", "page.html"])
    assert stop.value.code in (None, 0)
    assert "page.html: 1 predictions file, 1 image, " in capsys.readouterr().out
    text = Path("page.html").read_text(encoding="utf-8")
    assert "ground truth: " in text  # what was left out of the annotations is said
    (shown,) = Page(text).details
    assert "problem" not in shown
    assert shown["truth"]["relations"] == [[0, "holding", 1]]


def test_a_report_needs_no_torch() -> None:
    code = "import sys, r1sgg.pages.report; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
