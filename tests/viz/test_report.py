"""The report, made through the command line on a small set and read back as a page."""

from __future__ import annotations

import html
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

NASTY = '<script>alert("x")</script>'
FRAME = [1000, 1000]


def truth_row(k: int) -> dict[str, Any]:
    return {
        "image_id": f"scene-{k}",
        "width": 200,
        "height": 100,
        "image": f"images/{k}.png",
        "objects": [
            {"id": "man.1", "bbox": [10, 10, 60, 90]},
            {"id": "horse.1", "bbox": [20, 40, 100, 95]},
            {"id": "hat.1", "bbox": [20, 5, 50, 25]},
        ],
        "relationships": [
            {"subject": "man.1", "predicate": "riding", "object": "horse.1"},
            {"subject": "man.1", "predicate": "wearing", "object": "hat.1"},
        ],
    }


def answer(relations: int, extra: str | None = None) -> str:
    """The true objects with the first relations of the truth."""
    row = truth_row(0)
    objects = [
        {"id": o["id"], "bbox": [v * s for v, s in zip(o["bbox"], (5, 10, 5, 10), strict=True)]} for o in row["objects"]
    ]
    relationships = row["relationships"][:relations]
    if extra is not None:
        relationships = [*relationships, {"subject": "hat.1", "predicate": extra, "object": "horse.1"}]
    return json.dumps({"objects": objects, "relationships": relationships})


ANSWERS = {
    "scene-0": answer(2),
    "scene-1": answer(1),
    "scene-2": answer(2, extra="on"),
    "scene-3": f"I see {NASTY} a man\x00 on a horse.",
    "scene-4": answer(0, extra=NASTY),
}
"""From bad to good: 3 (no JSON), 4 (recall 0), 1 (1/2), 2 (all, precision 2/3), 0."""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [truth_row(k) for k in range(5)]
    write_lines(tmp_path / "gt.jsonl", rows)
    (tmp_path / "images").mkdir()
    for k in range(4):  # the last image is missing
        Image.new("RGB", (200, 100), (40 * k, 120, 90)).save(tmp_path / "images" / f"{k}.png")
    answers = [{"image_id": name, "completion": text, "frame": FRAME} for name, text in ANSWERS.items()]
    write_lines(tmp_path / "good.jsonl", answers)
    write_lines(tmp_path / "bad.jsonl", [{**row, "completion": "no"} for row in answers])
    log = [
        {
            "step": k,
            "stage": "grpo",
            "time": 1.5 * k,
            "reward": 0.1 * k,
            "rewards/edge/mean": 0.05 * k,
            "rewards/edge/std": 1.0,
            "loss": 2 - k,
        }
        for k in range(1, 6)
    ]
    log.append({"step": 5, "stage": "grpo", "failure_rate": 0.25, "AP50": 0.5, "R@50": 0.125})
    write_lines(tmp_path / "run" / "metrics.jsonl", log)
    return tmp_path


def report(folder: Path, *arguments: str) -> str:
    out = folder / "out" / "report.html"
    with pytest.raises(SystemExit) as exit_:
        main(["report", *arguments, "--ground-truth", str(folder / "gt.jsonl"), "--out", str(out)])
    assert exit_.value.code == 0
    return out.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Tags with their attributes, and the text of elements by tag."""

    VOID = frozenset(("meta", "link", "br", "img", "input", "hr"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
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

    def text_of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    def values(self, *names: str) -> Iterator[str]:
        for _, attributes in self.tags:
            yield from (attributes[n] or "" for n in names if n in attributes)


def test_the_page_needs_nothing_from_outside(folder: Path) -> None:
    text = report(folder, str(folder / "good.jsonl"), "--runs", str(folder / "run"))
    page = Page(text)
    assert page.open == []
    links = list(page.values("src", "href", "xlink:href", "srcset", "action", "poster"))
    assert links
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttpRequest|WebSocket", text)
    assert "default-src 'none'" in text
    assert str(folder) not in text


def test_the_table_shows_what_evaluate_says(folder: Path) -> None:
    page = Page(report(folder, str(folder / "good.jsonl"), str(folder / "bad.jsonl"), "--title", "A & B"))
    result = evaluate(read_ground_truth(folder / "gt.jsonl"), read_predictions(folder / "good.jsonl"))
    keys = ["failure_rate", "AP50", "R@50", "mR@50", "ngR@50", "precision", "f1", "duplicate_rate"]
    expected = [f"{100 * result[key]:.1f}" for key in keys] + [f"{result['relations_per_image']:.1f}", "5"]
    cells = page.text_of("td")
    assert cells[:10] == expected
    assert cells[10] == "100.0"
    assert "R@50" in page.text_of("abbr")
    assert page.text_of("h1") == ["A & B"]
    best = [a for tag, a in page.tags if tag == "td" and a.get("class") == "best"]
    assert 4 <= len(best) <= 8


def test_nothing_from_a_file_becomes_markup(folder: Path) -> None:
    rows = [truth_row(k) for k in range(5)]
    rows[0]["image_id"] = rows[0]["objects"][0]["id"] = '"><img src=x onerror=alert(1)>'
    rows[0]["relationships"] = []
    write_lines(folder / "gt.jsonl", rows)
    answers = [{"image_id": rows[0]["image_id"], "completion": "</pre></svg><b>", "frame": FRAME}]
    answers += [{"image_id": f"scene-{k}", "completion": ANSWERS[f"scene-{k}"], "frame": FRAME} for k in range(1, 5)]
    write_lines(folder / "good.jsonl", answers)
    text = report(folder, str(folder / "good.jsonl"), "--title", NASTY)
    page = Page(text)
    assert page.open == []
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not {"img", "b", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert html.escape(NASTY, quote=False).replace('"', "&#34;") in text
    assert any(NASTY in words for words in page.text_of("pre"))
    assert NASTY in page.text_of("em")  # as a predicate in the list


def test_images_come_worst_first(folder: Path) -> None:
    page = Page(report(folder, str(folder / "good.jsonl")))
    assert page.text_of("h4") == ["scene-3", "scene-4", "scene-1", "scene-2", "scene-0"]


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (0, []),
        (1, ["scene-3"]),
        (3, ["scene-3", "scene-4", "scene-1"]),
        (4, ["scene-3", "scene-4", "scene-1", "scene-0"]),
    ],
)
def test_limit_bounds_the_gallery_and_keeps_some_of_the_best(folder: Path, limit: int, shown: list[str]) -> None:
    page = Page(report(folder, str(folder / "good.jsonl"), "--limit", str(limit)))
    assert page.text_of("h4") == shown
    assert page.text_of("td")[-1] == "5"  # the table counts all images


def test_a_card_lists_what_was_matched_missed_and_made_up(folder: Path) -> None:
    text = report(folder, str(folder / "good.jsonl"))
    cards = re.findall(r"<article.*?</article>", text, re.DOTALL)
    kinds = [re.findall(r'class="triplet (\w+)"', c) for c in cards]
    assert kinds == [
        ["missed", "missed"],
        ["missed", "missed", "spurious"],
        ["matched", "missed"],
        ["matched", "matched", "spurious"],
        ["matched", "matched"],
    ]
    assert 'data-status="failed"' in cards[0]
    assert "no json" in cards[0]
    assert "<details open>" in cards[0]
    assert "<details open>" not in cards[1]
    assert "recall 50.0 %" in cards[2]
    # a triplet lights parts that are there, on its own side
    for card in cards:
        figures = dict(re.findall(r'data-side="(\w+)">(.*?)</figure>', card, re.DOTALL))
        drawn = {side: set(" ".join(re.findall(r'data-k="([^"]+)"', body)).split()) for side, body in figures.items()}
        assert set(drawn) == {"truth", "predicted"}
        for truth_keys, keys in re.findall(r'data-truth="([^"]*)" data-predicted="([^"]*)"', card):
            assert truth_keys or keys
            assert set(truth_keys.split()) <= drawn["truth"]
            assert set(keys.split()) <= drawn["predicted"]


def test_an_image_is_embedded_once_and_a_missing_one_is_said_to_be(folder: Path) -> None:
    text = report(folder, str(folder / "good.jsonl"), str(folder / "bad.jsonl"))
    assert text.count("data:image/webp;base64,") == 4
    assert text.count('<use href="#image-0"/>') == 4  # two runs, truth and prediction
    assert text.count("no image: no such file") == 4


def test_several_runs_have_a_gallery_each(folder: Path) -> None:
    page = Page(report(folder, str(folder / "good.jsonl"), str(folder / "bad.jsonl")))
    assert page.text_of("option")[:2] == ["good", "bad"]
    galleries = [a for tag, a in page.tags if tag == "div" and a.get("class") == "gallery"]
    assert [g["data-run"] for g in galleries] == ["0", "1"]


def test_curves_of_figure_2_and_of_every_reward(folder: Path) -> None:
    write_lines(folder / "other" / "metrics.jsonl", [{"step": k, "eval_R@50": k / 10, "loss": 1.0} for k in (5, 10)])
    runs = ["--runs", str(folder / "run"), "--runs", str(folder / "other")]
    text = report(folder, str(folder / "good.jsonl"), *runs)
    charts = dict(re.findall(r'<figure class="chart">\s*<figcaption>(.*?)</figcaption>(.*?)</figure>', text, re.DOTALL))
    assert list(charts) == ["Failure rate (%)", "AP50 (%)", "R@50 (%)", "reward", "edge", "loss"]
    assert "run, step 5: 12.5 %" in charts["R@50 (%)"]
    assert "other, step 10: 100.0 %" in charts["R@50 (%)"]
    assert charts["R@50 (%)"].count("<path") == 2
    assert charts["reward"].count("<title>") == 5
    points = re.search(r'<path d="M([^"]+)"', charts["reward"])
    assert points is not None
    xs, ys = zip(*(map(float, p.split(",")) for p in points.group(1).split("L")), strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys, reverse=True)  # a growing reward goes up


def test_an_answer_caught_in_a_loop_is_cut_and_says_so(folder: Path) -> None:
    objects = [{"id": f"man.{k}", "bbox": [k, 0, k + 20, 90]} for k in range(1, 201)]
    relationships = [{"subject": "man.1", "predicate": f"near {k}", "object": f"man.{k}"} for k in range(2, 200)]
    relationships += [{"subject": "man.1", "predicate": "on", "object": "man.2"}] * 300
    text = json.dumps({"objects": objects, "relationships": relationships})
    write_lines(folder / "good.jsonl", [{"image_id": "scene-0", "completion": text, "frame": FRAME}])
    page = Page(report(folder, str(folder / "good.jsonl"), "--limit", "5"))
    words = [text for _, text in page.texts]
    assert "200 objects, 498 relations, the first 60 objects drawn" in words
    assert "and 101 more" in words  # 2 missed and 199 spurious, 100 of them listed
    assert any(text.endswith("more characters") for text in words)


def test_an_image_without_a_prediction_is_a_failure(folder: Path) -> None:
    rows = [{"image_id": f"scene-{k}", "completion": answer(2), "frame": FRAME} for k in range(3)]
    rows.append({"image_id": "scene-3", "error": f"out of memory {NASTY}"})
    write_lines(folder / "good.jsonl", rows)
    text = report(folder, str(folder / "good.jsonl"))
    assert Page(text).text_of("h4")[:2] == ["scene-3", "scene-4"]
    assert "the predictions file has no line for this image" in text
    assert "out of memory" in text


def test_names_outside_the_vocabulary_are_named(folder: Path) -> None:
    names = {"name": "mine", "objects": ["man", "horse"], "predicates": ["riding"]}
    (folder / "mine.json").write_text(json.dumps(names))
    page = Page(report(folder, str(folder / "good.jsonl"), "--vocabulary", str(folder / "mine.json")))
    assert "vocabulary mine" in page.text_of("span")
    assert "object 'hat' is not in the vocabulary: dropped" in page.text_of("li")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.jsonl"], "missing.jsonl: expected a readable JSON Lines file"),
        (["good.jsonl", "--runs", "images"], "metrics.jsonl"),
        (["good.jsonl", "--protocol", "loose"], "--protocol: expected one of strict, reference"),
        (["good.jsonl", "--runs", "steps"], "metrics.jsonl:1: step: expected a number"),
    ],
)
def test_a_mistake_is_one_sentence(
    folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    write_lines(folder / "steps" / "metrics.jsonl", [{"loss": 1.0}])
    with pytest.raises(SystemExit) as exit_:
        main(["report", *arguments, "--ground-truth", "gt.jsonl", "--out", "out.html"])
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not (folder / "out.html").exists()


def test_a_report_needs_no_torch() -> None:
    code = "import sys, r1sgg.viz.report; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
