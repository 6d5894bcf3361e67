"""The leak rule: no graphs for VG150 without a policy, and no test image whichever data set's id it has."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from r1sgg.data.captions.leaks import LeakPolicy, policy_identity, read_policy
from r1sgg.data.captions.records import Caption, Captioned
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.vocabulary import load_vocabulary

from ..annotation_files import examples, write_vg150


def record(image_id: str, **ids: str | None) -> Captioned:
    return Captioned(image_id, 10, 10, (Caption("a man"),), **ids)


@pytest.mark.parametrize("vocabulary", ["vg150", "psg"])
def test_a_policy_must_be_stated(vocabulary: str) -> None:
    with pytest.raises(ConfigError, match="--leak"):
        read_policy(None, vocabulary)
    assert read_policy("none", vocabulary) == LeakPolicy()
    assert read_policy(None, "open") == LeakPolicy()


def test_the_test_split_of_vg150_and_its_coco_twins(tmp_path: Path) -> None:
    items = examples(6)
    write_vg150(tmp_path, items, [0, 0, 0, 2, 2, 2])
    path = tmp_path / "image_data.json"
    rows = json.loads(path.read_text())
    test = [item.image_id for item in items[3:]]
    for row in rows:
        row["coco_id"] = {test[0]: 391895, test[1]: None, items[0].image_id: 5}.get(str(row["image_id"]))
    path.write_text(json.dumps(rows))
    policy = read_policy(f"vg150-test:{tmp_path}", "vg150")
    assert policy.vg == frozenset(test)
    assert policy.coco == {"391895"}
    vg = [record(name, vg_id=name) for name in (test[0], items[0].image_id)]
    assert [policy.leaks(r) for r in vg] == ["test image", ""]
    coco = [record(name, coco_id=name) for name in ("391895", "5", test[1])]
    assert [policy.leaks(r) for r in coco] == ["COCO twin of a test image", "", ""]
    unknown = [record(name) for name in ("000000391895", test[2], "77")]
    assert [policy.leaks(r) for r in unknown] == ["COCO twin of a test image", "test image", ""]
    neither = record("391895", coco_id="", vg_id="")  # Flickr30k, say
    assert policy.leaks(neither) == ""


def test_a_policy_for_vg150_needs_its_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vg150-test:DIR"):
        read_policy("vg150-test", "vg150")
    with pytest.raises(InputError):
        read_policy(f"vg150-test:{tmp_path}", "vg150")
    with pytest.raises(InputError, match="leak"):
        policy_identity(str(tmp_path / "none.txt"))


def test_a_file_of_ids_or_of_ground_truth(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text('12\n\n{"image_id": "a", "coco_id": 7}\n{"image_id": "b", "meta": {"coco_id": "0009"}}\n')
    policy = read_policy(str(path), "vg150")
    assert policy.vg == {"12", "a", "b"}
    assert policy.coco == {"12", "7", "9"}


@pytest.mark.parametrize(
    "text", ["two words\n", "1,foo\n", "[1, 2]\n", '"12"\n', '{"id": 1}\n', '{"image_id": null}\n', "", "\n\n"]
)
def test_a_file_of_something_else_is_no_policy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"ids\.txt"):
        read_policy(str(path), "vg150")


@pytest.mark.parametrize("known", [None, "unknown", "none of Visual Genome"])
@pytest.mark.parametrize(
    "written",
    [
        *("391895", "000000391895", "000000391895.jpg", "391895.JPG", "COCO_val2014_000000391895"),
        *("COCO_val2014_000000391895.jpg", "val2017/000000391895.jpg", "coco\\train2017\\391895.jpg", " 391895 "),
    ],
)
def test_an_id_is_compared_however_it_is_written(written: str, known: str | None) -> None:
    policy = LeakPolicy("x", frozenset(("2345",)), frozenset(("391895",)))
    if known is None:
        assert policy.leaks(record("a", coco_id=written)) == "COCO twin of a test image"
    else:
        said: dict[str, str | None] = {} if known == "unknown" else {"vg_id": ""}
        assert policy.leaks(record(written, **said)) == "COCO twin of a test image"
    assert policy.leaks(record("VG_100K/2345.jpg")) == "test image"
    assert policy.leaks(record("x", vg_id="0002345")) == "test image"


def test_the_name_of_an_image_s_file_counts_and_an_id_of_coco_hides_no_other() -> None:
    policy = LeakPolicy("x", frozenset(("2345",)), frozenset(("391895",)))
    for name in ("VG_100K/2345.jpg", "train2017/000000391895.jpg"):
        assert policy.leaks(replace(record("mine-1"), image=Path("photos") / name))
    assert policy.leaks(record("2345", coco_id="77")) == "test image", "77 is of COCO, 2345 of somebody else"
    assert policy.leaks(record("2345", coco_id="2345")) == ""
    assert policy.leaks(record("2345", coco_id="2345", vg_id="7")) == ""


def test_ground_truth_of_psg_holds_ids_of_coco(tmp_path: Path) -> None:
    path = tmp_path / "psg.jsonl"
    path.write_text('{"image_id": "439180"}\n{"image_id": "5", "coco_id": null}\n')
    policy = read_policy(str(path), "psg")
    assert policy.leaks(record("439180", coco_id="439180")) == "COCO twin of a test image"
    assert policy.leaks(record("5", coco_id="5")) == "", "a row that says that it is not of COCO"


def test_names_of_vg150_need_a_policy_however_they_are_given(tmp_path: Path) -> None:
    vg150 = load_vocabulary("vg150")
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"objects": vg150.objects[:100], "predicates": vg150.predicates[:20]}))
    for name in ("VG150", "vg150-ovd", "vg150-ovd+r", str(mine)):
        with pytest.raises(ConfigError, match="--leak: expected a policy"):
            read_policy(None, name)
    mine.write_text(json.dumps({"objects": ["man", "a thing of mine"], "predicates": ["on"]}))
    assert read_policy(None, str(mine)) == LeakPolicy()


def test_a_run_with_other_ids_is_another_run(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    seen = set()
    for text in ("1\n", "2\n"):
        path.write_text(text)
        seen.add(policy_identity(str(path)))
    write_vg150(tmp_path, examples(6), [0, 0, 0, 2, 2, 2])
    seen.add(policy_identity(f"vg150-test:{tmp_path}"))
    (tmp_path / "image_data.json").write_text("[]")
    seen.add(policy_identity(f"vg150-test:{tmp_path}"))
    assert len(seen) == 4
