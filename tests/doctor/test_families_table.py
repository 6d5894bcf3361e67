"""`r1sgg doctor --families`: the table in 100 columns, as JSON, and what it says of what cannot be done."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.models.family import CAPABILITIES
from r1sgg.models.registry import FAMILIES

ASKED = (
    *("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "gemma3", "gemma4", "internvl", "lfm2_vl", "glm4v", "glm46v"),
    *("paligemma", "minicpmv4_6", "smolvlm", "idefics3", "llava", "llava_next", "instructblip", "florence2"),
)


def test_the_table_is_readable_in_100_columns() -> None:
    done = CliRunner().invoke(app, ["doctor", "--families"], catch_exceptions=False)
    assert done.exit_code == 0
    tables, _, reasons = done.stdout.partition("generate: ")
    assert max(map(len, tables.splitlines())) <= 100
    assert "…" not in tables
    for family in FAMILIES:
        assert sum(line.startswith(f"{family.name} ") for line in tables.splitlines()) == 2
        assert all(f"because {reason}" in reasons for reason in family.cannot.values())


def test_every_family_and_capability_is_in_the_json() -> None:
    done = CliRunner().invoke(app, ["doctor", "--families", "--json", "-"], catch_exceptions=False)
    record = json.loads(done.stdout)
    rows = {kind: row for row in record["families"] for kind in row["model_types"] if not row["marks"]}
    assert set(ASKED) <= set(rows)
    assert record["capabilities"] == dict(CAPABILITIES)
    assert rows["gemma4"]["boxes"] == {"unit": "thousandths", "axes": "yx", "dialect": "gemini"}
    assert rows["paligemma"]["boxes"] == {"unit": "bins_1024", "axes": "yx", "dialect": "paligemma"}
    for row in record["families"]:
        for name, able in row["can"].items():
            assert able == (name not in row["cannot"] and name not in row["not_run"])
        assert row["source"]
        assert row["checked"]


def test_families_stand_alone() -> None:
    done = CliRunner().invoke(app, ["doctor", "--families", "--model", "tiny"])
    assert "--families: expected no --config and no --model" in str(done.exception)
