"""The paper's table in files and on the terminal."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from typer.testing import CliRunner

import r1sgg
from r1sgg.cli import app, main
from r1sgg.data.base import write_ground_truth
from r1sgg.graph.text import render
from r1sgg.metrics.table import EVERY, PAPER, comma_separated, latex, markdown

from .conftest import FRAME, example, scene

TRUTH = scene(("man", "horse", "tree"), ((0, "riding", 1), (1, "near", 2)))
OTHER = scene(("man", "horse", "tree"), ((0, "near", 1),))
MANY = scene(("man", "horse", "tree"), (*((0, f"relation {k}", 1) for k in range(25)), (1, "near", 2)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_ground_truth(tmp_path / "gt.jsonl", [example(TRUTH, name) for name in "abc"])
    for name, graphs in (("a_good", [TRUTH, TRUTH, OTHER]), ("bad", [OTHER, OTHER]), ("many", [TRUTH, MANY, OTHER])):
        rows = [{"image_id": i, "completion": render(g, FRAME), "frame": FRAME} for i, g in zip("abc", graphs)]  # noqa: B905
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def shown(*arguments):
    command = ["evaluate", *arguments, "--ground-truth", "gt.jsonl"]
    found = CliRunner().invoke(app, command, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def written(folder, *arguments):
    shown(*arguments, "--out", "t.md", "--out", "t.tex", "--out", "t.csv", "--json", "t.json")
    return [(folder / f"t.{ending}").read_text() for ending in ("md", "tex", "csv")]


def test_the_files_have_the_papers_columns_and_a_row_for_each_file(folder):
    in_markdown, in_latex, in_csv = written(folder, "a_good.jsonl", "bad.jsonl")
    assert in_markdown.splitlines()[:4] == [
        "| model | failure | AP@50 | R@50 | mR@50 |",
        "|---|---:|---:|---:|---:|",
        "| a_good | 0.00 | 100.00 | 66.67 | 66.67 |",
        "| bad | 33.33 | 66.34 | 0.00 | 0.00 |",
    ]
    assert in_markdown.splitlines()[-1].endswith(f"claims: completions; r1sgg {r1sgg.__version__}.")
    rows = list(csv.reader(io.StringIO(in_csv)))
    assert rows[0] == ["model", *PAPER, "images", "version"]
    assert rows[2][:3] == ["bad", "33.33", "66.34"]
    assert r"a\_good & 0.00 & 100.00 & 66.67 & 66.67 \\" in in_latex
    assert [line for line in in_latex.splitlines() if line.startswith("\\") and "rule" in line] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]


def test_intervals_are_in_the_cells_and_in_columns_of_their_own_in_csv(folder):
    in_markdown, in_latex, in_csv = written(folder, "a_good.jsonl", "bad.jsonl", "--bootstrap", "30", "--seed", "3")
    found = json.loads((folder / "t.json").read_text())
    low, high = (f"{100 * v:.1f}" for v in found["intervals"]["R@50"])
    assert f"66.67 [{low}, {high}]" in in_markdown
    assert f"66.67 {{\\scriptsize [{low}, {high}]}}" in in_latex
    row = next(csv.DictReader(io.StringIO(in_csv)))
    assert (row["R@50"], row["R@50_low"], row["R@50_high"], row["AP50_low"]) == ("66.67", low, high, "")
    assert "95 % intervals of 30 resamples, seed 3" in in_markdown
    assert (found["version"], found["resamples"], found["seed"]) == (r1sgg.__version__, 30, 3)


def test_all_writes_every_figure(folder):
    _, _, in_csv = written(folder, "a_good.jsonl", "--all")
    assert next(csv.reader(io.StringIO(in_csv)))[1:-2] == list(EVERY)


def test_open_vocabulary_columns_are_a_second_table_and_more_columns_in_csv(folder):
    options = ("a_good.jsonl", "bad.jsonl", "--vocabulary", "vg150", "--open-vocabulary", "ovd+r", "--bootstrap", "30")
    in_markdown, in_latex, in_csv = written(folder, *options, "--train", "gt.jsonl")
    found = json.loads((folder / "t.json").read_text())["open_vocabulary"]["parts"]
    other = json.loads((folder / "t.json").read_text())["against"][0]["result"]["open_vocabulary"]["parts"]
    assert list(found) == list(other) == ["Joint", "Novel Object", "Novel Relation"]
    _, table = in_markdown.split("\n| model | ovd+r | relations | R@20 | R@50 | R@100 | mR@20 | mR@50 | mR@100 |\n")
    rows = [[text.strip() for text in line.strip("|").split("|")] for line in table.splitlines()[1:7]]
    assert [row[:3] for row in rows] == [
        [name, part, str(of[part]["relations"])]
        for name, of in (("a_good", found), ("bad", other))
        for part in ("Joint", "Novel Object", "Novel Relation")
    ]
    low, high = (f"{100 * v:.1f}" for v in found["Novel Object"]["intervals"]["mR@50"])
    assert rows[1][7] == f"{100 * found['Novel Object']['mR@50']:.2f} [{low}, {high}]"
    assert in_latex.count(r"\toprule") == in_latex.count(r"\end{tabular}") == 2
    assert r"Model & ovd+r & relations & R@20 & R@50 & R@100 & mR@20 & mR@50 & mR@100 \\" in in_latex
    good, *_, baseline = csv.DictReader(io.StringIO(in_csv))
    assert good["Novel Object mR@50"] == f"{100 * found['Novel Object']['mR@50']:.2f}"
    assert (good["Novel Object mR@50_low"], good["Novel Object mR@50_high"]) == (low, high)
    assert baseline["model"].startswith("FREQ+OVERLAP")
    assert baseline["Novel Object mR@50"] == ""


def test_names_cannot_break_a_table():
    figures = dict.fromkeys(("failure_rate", "AP50", "R@50", "mR@50"))
    result = {**figures, "images": 1, "protocol": "strict", "vocabulary": "open", "mapping": "normal", "task": "sgdet"}
    result |= {"claims": {"convention": "none"}, "resamples": 0, "seed": 0, "version": "1", "intervals": None}
    name = 'a|b & 50 % of $x_1$ #2 {~^\\}, "q"\n'
    assert [len(re.split(r"(?<!\\)\|", line)) for line in markdown([name], [result]).splitlines()[:3]] == [7, 7, 7]
    row = latex([name], [result]).splitlines()[5]
    escaped = r"a|b \& 50 \% of \$x\_1\$ \#2 \{\textasciitilde{}\textasciicircum{}\textbackslash{}\}, "
    assert row == escaped + r'"q"  & -- & -- & -- & -- \\'
    assert list(csv.reader(io.StringIO(comma_separated([name], [result]))))[1] == [name, "", "", "", "", "1", "1"]


def test_the_terminal_says_once_what_is_the_same_at_every_k(folder):
    short = shown("a_good.jsonl", "--vocabulary", "vg150")
    assert re.search(r"^ +R@20/50/100 +66.67 *$", short, re.MULTILINE)
    assert "ngR" not in short
    many = shown("many.jsonl", "--claims", "none")
    assert re.search(r"^ +R@20/50/100 +50.00 *$", many, re.MULTILINE)  # one predicate a pair
    every = shown("many.jsonl", "--all")
    assert [re.search(rf"^ +ngR@{k} +(\S+) *$", every, re.MULTILINE)[1] for k in (20, 50)] == ["33.33", "50.00"]
    assert re.search(r"^ +R@100 +50.00 *$", every, re.MULTILINE)


@pytest.mark.parametrize("options", [[], ["--all"], ["--bootstrap", "20"], ["--all", "--bootstrap", "20", "--compare"]])
def test_the_terminal_is_under_100_columns_and_several_files_are_rows(folder, options):
    long = folder / "a-model-with-quite-a-long-name-as-checkpoints-have-it.jsonl"
    long.write_bytes((folder / "bad.jsonl").read_bytes())
    text = shown("a_good.jsonl", "bad.jsonl", "many.jsonl", long.name, "--train", "gt.jsonl", *options)
    assert max(map(len, text.splitlines())) < 100
    assert text.count("minus a_good, same images") == 3
    for figure in ("failure", "AP50", "mR@20/50/100" if not options else "mR@", "precision"):
        assert figure in text
    if "--all" not in options:
        assert re.search(r"^ +bad +33.33 +66.34 +0.00 +0.00 ", text, re.MULTILINE)
        if options:
            under = re.search(r"^ +bad +33.33 .*\n(.*)$", text, re.MULTILINE)
            assert under is not None
            assert len(re.findall(r"\d+\.\d-\d+\.\d", under[1])) == 5  # AP has none; no interval is cut off


def test_another_ending_is_one_sentence_before_the_work(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "missing.jsonl", "--ground-truth", "gt.jsonl", "--out", "table.pdf"])
    assert stop.value.code == 2
    assert "--out: expected a file that ends in .md, .tex, .csv, found 'table.pdf'" in capsys.readouterr().err
