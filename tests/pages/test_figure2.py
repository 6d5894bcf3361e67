"""Fig. 2 from run folders: seeds become a mean and a band, the control is drawn beside RL and nowhere else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.errors import InputError
from r1sgg.pages.figure2 import band, figure_2

VALUES = st.floats(0, 1)


def run(folder: Path, stage: str, rows: Sequence[Mapping[str, float]]) -> Path:
    folder.mkdir(parents=True)
    lines = [orjson.dumps({"stage": stage, **row}) for row in rows]
    (folder / "metrics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def evaluated(*values: float, every: int = 10) -> list[dict[str, float]]:
    return [{"step": k * every, "failure_rate": 1 - v, "AP50": v, "R@50": v / 2} for k, v in enumerate(values)]


def rewarded(term: str) -> list[dict[str, float]]:
    return [{"step": 5, "rewards/format/mean": 0.4, f"rewards/{term}/mean": 0.3}]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [
        run(tmp_path / "sft", "sft", evaluated(0.0, 0.5, 0.9, every=100)),
        *(run(tmp_path / f"sft-rl-s{s}", "grpo", [*evaluated(0.5, 0.5 + s / 10), *rewarded("edge")]) for s in (0, 1)),
        run(tmp_path / "zero-rl-s0", "grpo", [*evaluated(0.0, 0.2), *rewarded("triplet_f1")]),
        *(run(tmp_path / f"control-s{s}", "sft", evaluated(0.5, 0.55, every=700)) for s in (0, 1, 2)),
    ]


def panels(svg: str) -> dict[str, list[ET.Element]]:
    found = {}
    for group in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}g"):
        title = next(group.iter("{http://www.w3.org/2000/svg}text")).text or ""
        found[title] = [p for p in group.iter("{http://www.w3.org/2000/svg}path") if p.get("fill") == "none"]
    return found


def test_a_row_without_runs_takes_no_room(folders: list[Path]) -> None:
    def places(svg: str) -> list[float]:
        return sorted({float(y) for y in re.findall(r'<g transform="translate\([\d.]+ ([\d.]+)\)', svg)})

    whole, without = places(figure_2(folders)), places(figure_2(folders[1:]))
    assert len(whole) == 3
    assert without == whole[:2]


def test_each_panel_shows_its_runs(folders: list[Path]) -> None:
    drawn = panels(figure_2(folders))
    assert [title[:3] for title in drawn] == [f"({letter})" for letter in "abcdefgi"], "no run has a term of objects"
    assert [len(lines) for lines in drawn.values()] == [1, 1, 1, 3, 3, 3, 2, 2]
    for title, lines in drawn.items():
        dashed = [line for line in lines if line.get("stroke-dasharray")]
        assert len(dashed) == (title[1] in "def"), "the control, beside RL alone"
        ends = {re.findall(r"[\d.]+", str(line.get("d")))[-2] for line in lines}
        assert len(ends) == 1, "all lines end at the same step, the control's 700 at RL's 10"


def test_the_order_of_seeds_changes_nothing_but_the_colours(folders: list[Path]) -> None:
    one, two, *_ = folders[1:]
    assert figure_2([one, two]) == figure_2([two, one])
    svg = figure_2(folders)
    assert "sft-rl (2 seeds)" in svg
    assert "control (3 seeds): SFT for the same compute" in svg
    assert "zero-rl</text>" in svg


@given(st.lists(st.dictionaries(st.sampled_from((0.0, 10.0, 20.0)), VALUES, min_size=1), min_size=1, max_size=4))
def test_a_band_holds_every_seed_at_the_steps_that_all_have(tables: list[dict[float, float]]) -> None:
    runs = [sorted(t.items()) for t in tables]
    common = set.intersection(*(set(t) for t in tables))
    if not common:
        with pytest.raises(InputError, match="no step in common"):
            band("x", runs)
        return
    made = band("x", runs)
    assert list(made.steps) == sorted(common)
    for k, step in enumerate(made.steps):
        values = [t[step] for t in tables]
        assert (made.low[k], made.high[k]) == (min(values), max(values))
        assert made.low[k] - 1e-12 <= made.mean[k] <= made.high[k] + 1e-12


def test_runs_without_an_evaluation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train with validation"):
        figure_2([run(tmp_path / "a", "grpo", rewarded("edge"))])


def test_the_command_writes_it_and_writes_it_again(folders: list[Path], tmp_path: Path) -> None:
    named = [word for folder in folders for word in ("--runs", str(folder))]
    arguments = ["report", *named, "--figure", str(tmp_path / "f.svg"), "--out", str(tmp_path / "r.html")]
    for _ in range(2):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    assert len(panels((tmp_path / "f.svg").read_text())) == 8


def test_a_figure_that_cannot_be_drawn_is_refused_before_the_page(folders: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    for said, *arguments in (
        ("--figure: expected a file name that ends in .svg, found f.png", "--runs", str(folders[0]), "--figure=f.png"),
        ("--runs: expected an evaluation during training", "--figure=f.svg"),
        (f"with metrics.jsonl, found none; a run in it: --runs {sorted(folders)[0]}", "--runs", str(tmp_path)),
        (f"{tmp_path / 'empty'}: expected the folder of a run", "--runs", str(tmp_path / "empty")),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        result = CliRunner().invoke(app, ["report", *arguments, "--out", str(page)])
        assert said in str(result.exception)
        assert not page.exists()
