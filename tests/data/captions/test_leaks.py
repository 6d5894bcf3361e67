"""The leak rule: no graphs for VG150 without a policy, and no test image whichever data set's id it has."""

import json
from pathlib import Path

import pytest

from r1sgg.data.captions.leaks import LeakPolicy, read_policy
from r1sgg.data.captions.records import Caption, Captioned
from r1sgg.errors import ConfigError, InputError

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
        read_policy(str(tmp_path / "none.txt"), "vg150")


def test_a_file_of_ids_or_of_ground_truth(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text('12\n\n{"image_id": "a", "coco_id": 7}\n{"image_id": "b", "meta": {"coco_id": "0009"}}\n')
    policy = read_policy(str(path), "vg150")
    assert policy.vg == {"12", "a", "b"}
    assert policy.coco == {"12", "7", "9"}
    path.write_text("two words\n")
    with pytest.raises(InputError, match=r"ids\.txt:1"):
        read_policy(str(path), "vg150")
