"""Label similarity: the embedded vectors, equality, the growing table."""

import sys
from pathlib import Path

import numpy as np
import pytest

from r1sgg.errors import ConfigError, MissingDependencyError
from r1sgg.graph.scene import normalize_name
from r1sgg.judging import labels, make_glove
from r1sgg.judging.labels import LabelTable, load_similarity

GLOVE = load_similarity("glove")


def cosine(a: str, b: str) -> float:
    return float(GLOVE.table([a], [b])[0, 0])


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [("bike", "bicycle", 0.92), ("man", "person", 0.79), ("wears", "wearing", 0.85), ("zebra", "laptop", -0.03)],
)
def test_cosines_are_those_of_the_full_vectors(a: str, b: str, value: float) -> None:
    assert cosine(a, b) == pytest.approx(value, abs=0.01)


def test_the_cut_is_small_and_holds_every_vg150_and_psg_word(shared: Path) -> None:
    path = Path(labels.__file__).with_name("glove.npz")
    assert path.stat().st_size <= 3_000_000
    _, _, rows = labels._glove()
    names = (shared / "data/vg_alias/object_list.txt").read_text() + (
        shared / "data/vg_alias/predicate_list.txt"
    ).read_text()
    assert [w for w in names.split() if w not in rows] == []


def test_equal_labels_give_exactly_1_and_unknown_words_only_themselves() -> None:
    names = ["man", "traffic light", "qwzx", "qwzx man", "hot dog", "dog hot", "zzqx"]
    table = GLOVE.table(names, names)
    assert (np.diag(table) == 1.0).all()
    assert np.allclose(table, table.T, atol=1e-12)
    assert (np.abs(table) <= 1).all()
    assert cosine("qwzx", "man") == cosine("qwzx", "zzqx") == 0.0
    assert 0 < cosine("qwzx man", "man") < cosine("old man", "man")
    assert cosine("qwzx man", "qwzx dog") > cosine("man", "dog")


def test_exact_is_equality() -> None:
    assert load_similarity("exact").table(["a", "b"], ["b", "c"]).tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("spec", ["glov", "spacy", "spacy:", ""])
def test_an_unknown_name_is_one_sentence(spec: str) -> None:
    with pytest.raises(ConfigError, match="expected one of glove, exact, spacy:MODEL"):
        load_similarity(spec)


def test_table_gives_the_similaritys_own_cosines_and_forgets_when_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "_MAX_COLUMNS", 40)
    table = LabelTable(GLOVE)
    _, _, rows = labels._glove()
    words = sorted(w for w in rows if normalize_name(w) == w)[:600]
    largest = 0
    for k in range(0, 600, 20):
        table.make_room()
        truth, other = words[k : k + 10], words[k + 5 : k + 30]
        a, b = table.numbers(truth), table.numbers(other)
        found = table.cosines(np.repeat(a, len(b)), np.tile(b, len(a))).reshape(len(a), len(b))
        assert np.allclose(found, GLOVE.table(truth, other), atol=1e-12)
        largest = max(largest, len(table))
    assert largest <= 40 + 35


def test_loading_reads_once() -> None:
    assert labels._glove() is labels._glove()


def test_the_recipe_keeps_names_first_then_frequent_words_within_the_budget() -> None:
    words = ["the", ",", "of", "rare-word", "zebra", "qx"]
    assert make_glove.choose(words, ["zebra", "unseen"], 50, budget=4096 + 2 * 60) == [0, 4]
    vectors = np.array([[1.0, -2.0, 0.5], [0.01, 0.02, 0.03]], dtype=np.float32)
    rows, scales = make_glove.quantise(vectors)
    assert rows.dtype == np.int8
    assert np.allclose(rows * scales[:, None].astype(np.float64), vectors, atol=0.01)


def test_the_recipe_reads_words_of_name_lists(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("traffic light,Lights\nzebra\n", encoding="utf-8")
    assert make_glove.name_words([path]) == ["traffic", "light", "lights", "zebra"]


def test_spacy_compares_by_the_vectors_of_a_pipeline(tmp_path):
    spacy = pytest.importorskip("spacy", reason="needs spaCy: pip install 'r1sgg[spacy]'")
    pipeline = spacy.blank("en")
    for word, vector in {"man": [1.0, 0.0], "guy": [0.6, 0.8], "tree": [0.0, -2.0]}.items():
        pipeline.vocab.set_vector(word, np.array(vector, dtype=np.float32))
    pipeline.to_disk(tmp_path / "pipeline")
    similarity = load_similarity(f"spacy:{tmp_path / 'pipeline'}")
    table = similarity.table(["man", "unheard"], ["man", "guy", "tree", "unheard"])
    np.testing.assert_allclose(table, [[1.0, 0.6, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]], atol=1e-6)


def test_without_spacy_one_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingDependencyError, match=r"needs the package 'spacy'.*pip install 'r1sgg\[spacy\]'"):
        load_similarity("spacy:en_core_web_md")
