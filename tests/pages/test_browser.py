"""The report in Chromium: filters show the right images, the viewer's switches and keys work, nothing errs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from r1sgg.cli import main

from ..browser import OpenPage
from .scenes import ANSWERS, FRAME, NASTY, answer, report, small_set, truth_row, write_lines

pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install 'r1sgg[dev]')")
from playwright.sync_api import Locator, Page, expect

DEVICES = pytest.mark.parametrize("width", [375, 1280])


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two runs; in the other one the first image has another predicate, and none fails."""
    folder = small_set(tmp_path_factory.mktemp("set"))
    other = {**ANSWERS, "scene-0": answer(2, instead="near"), "scene-3": answer(1)}
    rows = [{"image_id": name, "completion": text, "frame": FRAME} for name, text in other.items()]
    write_lines(folder / "other.jsonl", rows)
    files = [str(folder / f"{name}.jsonl") for name in ("good", "other")]
    return report(folder, *files, "--runs", str(folder / "run"))


def shown(page: Page) -> list[str]:
    return page.locator("#grid .card .name").all_text_contents()  # also of a card that is not laid out yet


def is_drawn(parts: Locator) -> list[bool]:
    return [parts.nth(k).is_visible() for k in range(parts.count())]


def open_image(page: Page, name: str) -> None:
    page.locator("#grid .card", has_text=name).click()
    page.wait_for_selector(f'dialog[data-ready="{name}"]')


def test_images_come_worst_first_and_orders_change_it(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri())
    assert shown(page) == ["scene-3", "scene-4", "scene-1", "scene-2", "scene-0"]
    page.locator("#f-sort").select_option("best")
    assert shown(page) == ["scene-0", "scene-2", "scene-1", "scene-4", "scene-3"]
    page.locator("#f-sort").select_option("file")
    assert shown(page) == [f"scene-{k}" for k in range(5)]
    page.locator("#f-other").select_option("1")
    page.locator("#f-sort").select_option("behind")
    assert shown(page)[0] == "scene-3"  # failed here, half found there
    page.locator("#f-sort").select_option("ahead")
    assert shown(page)[0] == "scene-0"
    # what a card out of sight says is not its inner text
    assert page.locator("#grid .card").first.locator("> span").all_text_contents()[-2:] == [
        "goodrecall 100.0 · precision 100.0",
        "otherrecall 50.0 · precision 50.0",
    ]


def test_filters_show_the_right_images(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri())
    page.locator("#f-kind").select_option("failed")
    assert shown(page) == ["scene-3"]
    assert page.locator("#count").inner_text() == "1 of 5 images"
    page.locator("#f-kind").select_option("kind:no_json")
    assert shown(page) == ["scene-3"]
    page.locator("#f-kind").select_option("read")
    assert shown(page) == ["scene-4", "scene-1", "scene-2", "scene-0"]
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Predicate", exact=True).fill("wearing")
    page.locator("#f-ptype").select_option("missed")
    assert shown(page) == ["scene-3", "scene-4", "scene-1"]
    page.locator("#f-ptype").select_option("matched")
    assert shown(page) == ["scene-2", "scene-0"]
    page.locator("#f-ptype").select_option("spurious")
    assert shown(page) == []
    page.get_by_label("Predicate", exact=True).fill("on")
    assert shown(page) == ["scene-2"]
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Class", exact=True).fill("hat")
    page.locator("#f-ctype").select_option("missed")
    assert shown(page) == ["scene-3"]
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Image id").fill("SCENE-1")
    assert shown(page) == ["scene-1"]
    assert "find=SCENE-1" in page.url
    page.reload()
    assert shown(page) == ["scene-1"]  # the address holds the view


def test_mistakes_lead_to_their_images(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri())
    outcomes = page.locator("[data-outcome]").all_inner_texts()
    assert [" ".join(text.split()) for text in outcomes] == [
        "Found 5 50.0 %",
        "Nothing between the objects 3 30.0 %",
        "No graph 2 20.0 %",
    ]
    page.locator('[data-outcome="unrelated"]').click()
    assert shown(page) == ["scene-4", "scene-1"]
    page.locator('[data-kind="no_json"]').click()
    assert shown(page) == ["scene-3"]
    page.locator("#f-run").select_option("1")
    rows = page.locator("#predicates tbody tr").all_inner_texts()
    assert [row.split()[:3] for row in rows] == [["riding", "5", "60.0"], ["wearing", "5", "40.0"]]
    page.get_by_role("button", name="near 1").click()
    assert shown(page) == ["scene-0"]
    assert "predicted as “near”" in page.locator("#count").inner_text()
    page.get_by_text("Confusion of predicates").click()
    table = page.locator("#confusion")
    assert [t.strip() for t in table.locator("thead th").all_inner_texts()] == [
        "riding", "wearing", "near", "other direction", "nothing", "object missing",
    ]  # fmt: skip
    assert [c.strip() for c in table.locator("tbody tr").first.locator("td").all_inner_texts()] == [
        "3",
        "",
        "1",
        "",
        "1",
        "",
    ]
    table.get_by_title("riding: nothing 1 of 5").click()
    assert shown(page) == ["scene-4"]


def test_the_viewer_shows_truth_and_prediction_and_switches_hide_them(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri())
    open_image(page, "scene-2")
    truth, made = page.locator('[data-panel="truth"]'), page.locator('[data-panel="0"]')
    assert truth.locator("g.box").count() == made.locator("g.box").count() == 3
    assert truth.locator("g.arrow.matched").count() == 2
    assert made.locator("g.arrow.matched").count() == 2
    assert made.locator("g.arrow.spurious").count() == 1
    assert made.locator("image").get_attribute("href").startswith("data:image/webp;base64,")
    for layer, parts in (
        ("boxes", ".box"),
        ("names", ".tag"),
        ("relations", ".arrow"),
        ("spurious", ".arrow.spurious"),
    ):
        button = page.locator(f'[data-layer="{layer}"]')
        assert any(is_drawn(made.locator(parts)))
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        assert not any(is_drawn(made.locator(parts)))
        button.click()
        assert any(is_drawn(made.locator(parts)))
    assert page.locator("#predictions li").count() == 3
    page.locator('[data-layer="matched"]').click()
    assert is_drawn(page.locator("#predictions li")) == [False, False, True]
    page.locator('[data-layer="matched"]').click()
    page.locator('[data-layer="truth"]').click()
    assert page.locator("[data-panel]").count() == 1
    page.locator('[data-layer="prediction"]').click()
    assert page.locator("[data-panel]").count() == 0
    page.locator('[data-layer="truth"]').click()
    page.locator('[data-layer="prediction"]').click()
    page.locator(".enlarge").first.click()
    assert page.locator("[data-panel]").count() == 1
    page.locator(".enlarge").first.click()
    assert page.locator("[data-panel]").count() == 2


def test_a_triplet_lights_its_parts_in_both_pictures(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri())
    open_image(page, "scene-2")
    page.locator(".triplet", has_text="wearing").click()
    for panel in ("truth", "0"):
        lit = page.locator(f'[data-panel="{panel}"] [data-k].on')
        assert sorted(set(lit.evaluate_all("all => all.map(e => e.dataset.k)"))) == ["b0", "b2", "r1"]
    page.locator(".triplet", has_text="wearing").click()
    page.locator("#viewer-name").hover()
    page.locator("#close").focus()
    assert page.locator("[data-k].on").count() == 0


def test_two_runs_are_side_by_side(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri() + "#other=1&image=scene-0")
    page.wait_for_selector('dialog[data-ready="scene-0"]')
    assert page.locator("#panels figcaption strong").all_inner_texts() == ["Truth", "good", "other"]
    assert page.locator('[data-panel="0"] g.arrow.matched').count() == 2
    assert page.locator('[data-panel="1"] g.arrow.spurious').count() == 1
    predictions = page.locator(".prediction")
    assert predictions.count() == 2
    assert "predicted: near" in predictions.nth(1).inner_text()
    lefts = [page.locator("#panels figure").nth(k).bounding_box()["x"] for k in range(3)]
    assert lefts == sorted(set(lefts))


def test_an_unreadable_completion_is_shown_as_it_is(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri())
    open_image(page, "scene-3")
    assert page.locator(".prediction pre").inner_text().startswith(f"I see {NASTY} a man")
    assert page.locator(".prediction pre").is_visible()
    assert "no json" in page.locator(".prediction .badge").inner_text()
    page.keyboard.press("Escape")
    open_image(page, "scene-4")
    assert "no image: no such file" in page.locator("#viewer-problem").inner_text()
    assert NASTY in page.locator("#predictions").inner_text()
    assert page.locator("g.predicate text", has_text="<script>").count() == 1


def test_nothing_from_a_file_acts_on_the_page(browser_page: OpenPage, folder: Path) -> None:
    evil = '<img src=x onerror="window.hit=1">'
    rows = [truth_row(k) for k in range(2)]
    rows[0]["image_id"] = evil
    rows[0]["objects"][0]["id"] = f"{evil}.1"
    rows[0]["relationships"] = [{"subject": f"{evil}.1", "predicate": evil, "object": "hat.1"}]
    write_lines(folder / "gt.jsonl", rows)
    answers = [{"image_id": evil, "completion": f"</script>{evil}", "frame": FRAME}]
    answers.append({"image_id": "scene-1", "completion": answer(2, extra=evil), "frame": FRAME})
    write_lines(folder / "good.jsonl", answers)
    samples = [{"step": 1, "image_id": evil, "completion": evil, "terms": {evil: 1.0}, "total": 1}]
    write_lines(folder / "run" / "completions.jsonl", samples)
    out = report(folder, str(folder / "good.jsonl"), "--title", evil, "--runs", str(folder / "run"))
    page = browser_page(out.as_uri())
    for name in (evil, "scene-1"):
        page.locator("#grid .card", has_text=name).click()
        page.wait_for_selector("dialog[data-ready]")
        page.keyboard.press("Escape")
    page.get_by_text("Confusion of predicates").click()
    assert page.evaluate("window.hit") is None
    assert page.locator("#grid .name").first.text_content() == evil
    assert page.locator("img[src='x']").count() == 0


def test_keys_move_open_switch_and_close(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri())
    page.locator("#view-save").focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.querySelector('.name')?.textContent"
    assert page.evaluate(focused) == "scene-3"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # the focus is seen
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "scene-4"
    page.keyboard.press("End")
    assert page.evaluate(focused) == "scene-0"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector('dialog[data-ready="scene-4"]')
    page.keyboard.press("ArrowRight")
    page.wait_for_selector('dialog[data-ready="scene-1"]')
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector('dialog[data-ready="scene-3"]')
    page.keyboard.press("ArrowLeft")  # there is none before it
    assert page.locator("#viewer-place").inner_text() == "1 of 5"
    assert page.locator("#previous").is_disabled()
    page.keyboard.press("b")
    assert page.locator('[data-layer="boxes"]').get_attribute("aria-pressed") == "false"
    page.keyboard.press("3")
    assert page.locator('[data-layer="spurious"]').get_attribute("aria-pressed") == "false"
    page.keyboard.press("Escape")
    page.wait_for_selector(':focus .name:text-is("scene-3")')  # the image seen last, once the dialog has closed
    assert page.locator("dialog").is_hidden()
    assert "image=" not in page.url


def test_a_part_of_a_picture_marks_its_triplets_and_a_click_keeps_them(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri())
    open_image(page, "scene-2")
    page.locator('[data-panel="0"] .predicate', has_text="wearing").hover()
    (marked,) = page.locator(".triplet.hot").all_inner_texts()
    assert marked.endswith("man wearing hat")
    page.locator('[data-panel="0"] .predicate', has_text="wearing").click()
    assert page.locator('.triplet[aria-pressed="true"]').count() == 1
    # the inside of a box belongs to its object
    page.locator('[data-panel="truth"] .box[data-k="b2"] .edge').hover(position={"x": 70, "y": 40})
    assert all("hat" in text for text in page.locator(".triplet.hot").all_inner_texts())
    page.locator("#viewer-name").hover()
    assert page.locator(".triplet.hot").count() == 0


def test_thumbnails_show_the_true_boxes_and_whole_ids(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri())
    card = page.locator("#grid .card", has_text="scene-3")
    assert card.locator("rect.missed").count() == 3
    assert page.locator("#grid .card", has_text="scene-0").locator("rect.matched").count() == 3
    (x, width) = (float(card.locator("rect").first.get_attribute(name)) for name in ("x", "width"))
    assert abs(x - 10) <= 200 / 63 + 0.1  # of 200 pixels, in 64 steps
    assert abs(width - 50) <= 400 / 63 + 0.1


def test_tags_and_views_stay_in_the_browser(browser_page: OpenPage, page_file: Path, tmp_path: Path) -> None:
    page = browser_page(page_file.as_uri())
    open_image(page, "scene-1")
    page.locator("#viewer-tags").fill("hard, check the truth, hard")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    page.locator("#f-tag").select_option("hard")
    assert shown(page) == ["scene-1"]
    assert page.locator("#grid .card").first.inner_text().endswith("hard, check the truth")
    page.locator("#view-name").fill("hard ones")
    page.locator("#view-save").click()
    page.get_by_role("button", name="Reset").click()
    assert len(shown(page)) == 5
    page.reload()
    page.locator("#view").select_option("hard ones")
    expect(page.locator("#grid .card")).to_have_count(1)
    assert shown(page) == ["scene-1"]
    with page.expect_download() as download:
        page.locator("#tags-save").click()
    download.value.save_as(tmp_path / "tags.jsonl")
    assert json.loads((tmp_path / "tags.jsonl").read_text()) == {
        "image_id": "scene-1",
        "tags": ["hard", "check the truth"],
    }
    page.locator("#view-delete").click()
    assert page.locator("#view").count() == 0
    open_image(page, "scene-1")
    page.locator("#viewer-tags").fill("")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.locator("#tags-save")).to_have_count(0)


def test_runs_of_different_lengths_are_as_wide_on_the_axis_of_shares(browser_page: OpenPage, folder: Path) -> None:
    rows = [{"step": k, "R@50": 0.01 * k, "reward": 0.1} for k in (1, 10)]
    write_lines(folder / "short" / "metrics.jsonl", rows)
    write_lines(folder / "long" / "metrics.jsonl", [{"step": 100, "R@50": 0.4}, {"step": 200, "R@50": 0.5}])
    out = report(folder, "--runs", str(folder / "short"), "--runs", str(folder / "long"))
    page = browser_page(out.as_uri())
    chart = page.locator(".chart.figure", has_text="R@50")
    ends = lambda: [float(one.get_attribute("cx")) for one in chart.locator(".last").all()]  # noqa: E731
    left, right = 44, 320
    assert ends() == [left + (right - left) / 20, right]
    # a figure that only the short run has, on the same axis
    assert float(page.locator(".chart.reward .last").get_attribute("cx")) == ends()[0]
    page.locator("#axis").select_option("shares")
    assert ends() == pytest.approx([right, right], abs=0.5)
    assert chart.get_by_text("share of the run (%)").is_visible()
    assert not chart.get_by_text("training step").is_visible()
    labels = [one.bounding_box() for one in chart.locator(".end").all()]
    assert abs(labels[0]["y"] - labels[1]["y"]) > 10
    page.locator("#axis").select_option("steps")
    assert ends()[0] < 60


@DEVICES
def test_no_width_scrolls_sideways(browser_page: OpenPage, page_file: Path, width: int) -> None:
    page = browser_page(page_file.as_uri() + "#other=1", width=width, height=800, colour_scheme="dark")
    page.get_by_text("Confusion of predicates").click()
    page.get_by_text("Differences to good").click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    open_image(page, "scene-2")
    assert page.evaluate("document.getElementById('viewer').scrollWidth <= innerWidth")
    tops = [page.locator("#panels figure").nth(k).bounding_box()["y"] for k in range(3)]
    assert (len(set(tops)) == 3) == (width == 375)  # below each other on a phone


def test_samples_follow_the_slider(browser_page: OpenPage, page_file: Path) -> None:
    page = browser_page(page_file.as_uri())
    assert page.locator("output").inner_text() == "step 5"
    assert page.locator(".sample").count() == 2
    page.locator("#sample-step").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("output").inner_text() == "step 3"
    assert page.locator(".sample").first.locator("tbody td:nth-child(2)").all_inner_texts() == ["1", "0.3", "–"]
    assert json.loads(page.locator(".sample pre").first.inner_text())["step"] == 3


def graded(folder: Path) -> Path:
    """A run whose completions have truth, weights, advantage and picture; in step 2 the group is uneven."""
    run = folder / "graded"
    picture = "samples/0123456789ab.webp"
    (run / "samples").mkdir(parents=True)
    Image.new("RGB", (200, 100), (40, 120, 90)).save(run / picture)
    rows = []
    for step in (1, 2, 3):
        totals = [3.0, 0.5] if step == 2 else [2.0 + 0.1 * step] * 2
        spread = 1.25 if step == 2 else 0.0
        for k, total in enumerate(totals):
            row = {"step": step, "image_id": f"scene-{step}", "picture": picture, "frame": FRAME, "total": total}
            row |= {"completion": answer(0) if k == 0 else "no", "advantage": spread * (1 - 2 * k)}
            row |= {"terms": {"format": 0.5, "edge": total / 5}, "weights": {"format": 1, "edge": 5}}
            row |= {"group": {"number": 0, "size": 2, "mean": sum(totals) / 2, "spread": spread}}
            rows.append({**row, "truth": {key: v for key, v in truth_row(0).items() if key != "image"}})
    write_lines(run / "metrics.jsonl", [{"step": step, "reward": 1.0} for step in (1, 2, 3)])
    write_lines(run / "completions.jsonl", rows)
    return run


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_completions_show_both_graphs_the_points_and_the_advantage(
    browser_page: OpenPage, folder: Path, width: int, scheme: str
) -> None:
    out = folder / "graded.html"
    with pytest.raises(SystemExit):
        main(["report", "--runs", str(graded(folder)), "--out", str(out)])
    page = browser_page(out.as_uri(), width=width, colour_scheme=scheme)
    assert page.locator(".sample").count() == 2
    first = page.locator(".sample").first
    assert first.locator("figure svg image").count() == 2
    assert first.locator("figure").nth(1).locator(".box.matched").count() > 0
    assert first.locator("tbody tr").nth(1).locator("td").all_inner_texts() == ["0.46", "× 5", "2.3"]
    page.select_option("#sample-way", "spread")
    assert "advantage +1.25 · group of 2: mean 1.75, spread 1.25" in first.inner_text()
    assert page.locator(".sample").nth(1).locator(".badge").inner_text() == "no json"
    assert page.locator(".step-choice").is_hidden()
    for way, total in (("lowest", "0.5"), ("highest", "3")):
        page.select_option("#sample-way", way)
        assert page.locator(".sample tfoot td:last-child").first.inner_text() == total
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_large_report_reads_its_folder_from_a_file_address(browser_page: OpenPage, folder: Path) -> None:
    count = 130
    write_lines(folder / "gt.jsonl", [{**truth_row(k), "image": f"images/{k % 4}.png"} for k in range(count)])
    rows = [{"image_id": f"scene-{k}", "completion": answer(k % 3), "frame": FRAME} for k in range(count)]
    write_lines(folder / "good.jsonl", rows)
    out = report(folder, str(folder / "good.jsonl"), "--no-embed")
    moved = folder / "moved #1 ünï" / "report.html"
    out.parent.rename(moved.parent)
    page = browser_page(moved.as_uri() + "#sort=file")
    assert page.locator("#grid .card").count() == 60
    for number in (120, 130):
        page.locator("#more").scroll_into_view_if_needed()
        expect(page.locator("#grid .card")).to_have_count(number)
    expect(page.locator("#more")).to_be_hidden()
    assert page.locator("#grid img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 200
    page.locator("#grid .card").last.click()
    page.wait_for_selector('dialog[data-ready="scene-129"]')
    assert page.locator('[data-panel="0"] g.box').count() == 3
    assert page.locator("script[src]").count() == 1  # only the shard that was needed
    (moved.parent / "report_files" / "s0.js").unlink()
    page = browser_page(moved.as_uri(), errors_allowed=("ERR_FILE_NOT_FOUND",))
    page.locator("#grid .card", has_text="scene-0").first.click()
    expect(page.locator("#viewer-problem")).to_contain_text("report_files/s0.js cannot be read")


def test_a_wide_photo_fits_whatever_the_window(browser_page: OpenPage, folder: Path) -> None:
    row = {**truth_row(0), "width": 2000, "height": 100}
    Image.new("RGB", (2000, 100)).save(folder / "images" / "0.png")
    write_lines(folder / "gt.jsonl", [row])
    write_lines(folder / "good.jsonl", [{"image_id": "scene-0", "completion": answer(2), "frame": FRAME}])
    page = browser_page(report(folder, str(folder / "good.jsonl")).as_uri(), width=900)
    open_image(page, "scene-0")
    sizes = [page.locator("#panels svg").nth(k).bounding_box() for k in range(2)]
    assert all(box["width"] <= 450 for box in sizes)
    page.set_viewport_size({"width": 500, "height": 700})
    expect(page.locator("#panels svg").first).to_have_attribute("width", re.compile(r"4[3-9]\d"))  # below each other
    assert page.evaluate("document.getElementById('viewer').scrollWidth <= innerWidth")
