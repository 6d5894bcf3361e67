"""A report says it where a model knows drawn scenes only."""

from pathlib import Path

import pytest
from PIL import Image

from r1sgg.cli import main

TRUTH = (
    '{"image_id": "1", "width": 100, "height": 100, "image": "1.png", "relationships": [], '
    '"objects": [{"id": "man.1", "bbox": [1, 1, 9, 9]}]}\n'
)
ANSWER = '{"image_id": "1", "frame": [100, 100], "completion": "", "model": "m"}\n'
SAID = "trained on drawn scenes alone, graphs of other images mean nothing"


@pytest.mark.parametrize(
    ("trained_on", "said"),
    [
        ('[{"name": "instruct:9,seed=1"}, {"name": "scenes:9,preset=small"}]', True),
        ('[{"name": "scenes:9"}, {"name": "vg150:VG,split=train"}]', False),
        ("[]", False),
    ],
)
def test_a_report_says_what_the_model_knows(
    trained_on: str, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (100, 100)).save("1.png")
    Path("gt.jsonl").write_text(TRUTH)
    Path("p.jsonl").write_text(ANSWER)
    Path("p.jsonl.run.json").write_text(f'{{"settings": {{"trained_on": {trained_on}}}}}')
    with pytest.raises(SystemExit) as left:
        main(["report", "p.jsonl", "--ground-truth", "gt.jsonl", "--out", "r.html", "--bootstrap", "0"])
    assert left.value.code == 0
    assert (SAID in Path("r.html").read_text()) is said
