"""The checkpoints inside the package: packed in a byte a weight, unpacked at their first use."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest
from safetensors.torch import load_file

from r1sgg.errors import InputError, ModelError
from r1sgg.miniature import shipped
from r1sgg.models.families import load_checkpoint, load_model, resolve

NAMES = sorted(point.name for point in entry_points(group="r1sgg.checkpoints"))


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_checkpoints_are_whole(name: str) -> None:
    checkpoint = load_checkpoint(name)
    assert checkpoint.settings.prompt == "short"
    assert checkpoint.frame((112, 112)) == (1000.0, 1000.0)


def test_together_they_stay_below_twelve_megabytes() -> None:
    folder = Path(shipped.__file__).parent / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 12_000_000


def test_packing_rounds_to_a_half_step_of_each_row(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "_FOLDER", tmp_path / "packed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shipped.pack(tiny_checkpoint, tmp_path / "packed" / "tiny")
    folder = shipped.unpack("tiny")
    assert folder.is_relative_to(tmp_path / "cache" / "r1sgg")
    before, after = load_file(tiny_checkpoint / "model.safetensors"), load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert value.shape == after[key].shape
        error = (value.float() - after[key].float()).abs()
        if value.ndim < 2:
            assert not error.any()
        else:
            half_step = value.float().flatten(1).abs().amax(1) / 254
            assert bool((error.flatten(1) <= half_step[:, None] * 1.01 + 1e-12).all()), key
    assert load_model(folder, device="cpu").model.num_parameters() > 1_000_000
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert shipped.unpack("tiny") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_a_folder_without_the_checkpoint_or_without_a_place_for_it(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="set XDG_CACHE_HOME"):
        resolve("tiny")
    monkeypatch.setattr(shipped, "_FOLDER", tmp_path)
    with pytest.raises(ModelError, match="has no tiny checkpoint"):
        resolve("tiny")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        shipped.pack(tmp_path, tmp_path / "out")
