"""Families on real (tiny, random-weight) checkpoints of each: frames, loading, generation; and what is refused."""

import json
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from transformers import PreTrainedConfig

from r1sgg.bulk.run import fingerprint
from r1sgg.errors import ImageError, ModelError
from r1sgg.graph.frames import BoxFrame
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import parse, render
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import suppressed_token_ids
from r1sgg.inference.engine import Sampling
from r1sgg.inference.hf import TransformersEngine
from r1sgg.inference.layers import suits
from r1sgg.models.families import (
    LoadedModel,
    family_of,
    load_checkpoint,
    load_model,
    load_processor,
    resolve,
)
from r1sgg.models.family import ModelFamily
from r1sgg.models.finding import image_token_of
from r1sgg.models.prompts import AnswerSettings, with_image
from r1sgg.models.registry import FAMILIES

from .capabilities import BY_KEY, keys, parameters, shows
from .tiny_families import BUILDERS, SUITED, build_qwen2_5_vl

pytestmark = pytest.mark.matrix(loaded=6)
SIZES = [(112, 112), (640, 480), (333, 777), (31, 500), (2400, 1800)]


class Folders(dict[str, Path]):
    """Checkpoints, each made when it is first asked for."""

    def __init__(self, factory: pytest.TempPathFactory, **made: Path) -> None:
        super().__init__(made)
        self._factory = factory

    def __missing__(self, name: str) -> Path:
        self[name] = BUILDERS[name](self._factory.mktemp(name))
        return self[name]


@pytest.fixture(scope="module")
def folders(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory, qwen2_vl=tiny_checkpoint)


@pytest.fixture(scope="module", params=parameters("generate"))
def loaded(request: pytest.FixtureRequest, folders: Folders) -> LoadedModel:
    return load_model(folders[request.param], device="cpu")


@pytest.fixture
def key(loaded: LoadedModel) -> str:
    """The name of the checkpoint in `BUILDERS`."""
    own: str = loaded.model.config.model_type
    return own if own in keys(loaded.family) else keys(loaded.family)[0]


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def test_a_checkpoint_is_recognised_by_its_config_and_tokens(loaded: LoadedModel, key: str) -> None:
    assert loaded.family is BY_KEY[key] is family_of(loaded.path)
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training


@pytest.mark.parametrize("size", SIZES)
def test_the_frame_is_the_family_s(loaded: LoadedModel, size: tuple[int, int]) -> None:
    width, height = size
    if loaded.family.name == "Qwen2.5-VL":
        resizer = loaded.processor.image_processor
        _, rows, columns = resizer(noise(size), return_tensors="pt")["image_grid_thw"][0].tolist()
        assert loaded.frame(size) == (columns * resizer.patch_size, rows * resizer.patch_size)
    elif loaded.family.name.startswith("LLaVA"):
        assert loaded.frame(size) == (1000 * width / max(size), 1000 * height / max(size))
    else:
        assert loaded.frame(size) == ((999, 999) if loaded.family.name == "Rex-Omni" else (1000, 1000))


def test_the_view_is_where_the_frame_says(loaded: LoadedModel) -> None:
    image = noise((60, 90))
    view = loaded.view(image)
    if not loaded.family.name.startswith("LLaVA"):
        assert view is image
        return
    assert view.size == (90, 90)
    assert np.array_equal(np.asarray(view)[:, :60], np.asarray(image)), "at the top left"
    taught = loaded.family.view(image, loaded.processor, taught=True)
    assert np.array_equal(np.asarray(taught)[:, 15:75], np.asarray(image)), "in the middle, for the probe"
    assert loaded.view(view) is view


@pytest.mark.parametrize("size", SIZES)
def test_boxes_survive_text_to_half_a_unit(loaded: LoadedModel, size: tuple[int, int]) -> None:
    corners = np.sort(np.random.default_rng(1).uniform(0, 1, (20, 2, 2)), axis=1)
    corners[:, 1] = np.maximum(corners[:, 1], corners[:, 0] + 0.05).clip(max=1)
    corners[:, 0] = np.minimum(corners[:, 0], corners[:, 1] - 0.04)
    objects = [SceneObject(f"man.{k}", "man", tuple(c)) for k, c in enumerate(corners.reshape(-1, 4).tolist(), 1)]
    graph = SceneGraph.build(objects, [Relationship(0, "riding", 1), Relationship(3, "near", 2)])
    frame = loaded.frame(size)
    parsed = parse(render(graph, frame), frame)
    assert not parsed.issues
    assert parsed.graph.ids == graph.ids
    assert parsed.graph.relationships == graph.relationships
    cut = max(side - int(side) for side in frame)  # answers are whole numbers, LLaVA's frame need not be
    assert np.abs((parsed.graph.boxes - graph.boxes) * (*frame, *frame)).max() <= max(0.5, cut) + 1e-9


@shows("generate", by_fixture=True)
def test_it_generates_for_images_of_unlike_sizes(loaded: LoadedModel) -> None:
    images = [noise((60, 90)), noise((150, 100))]
    engine = TransformersEngine(loaded)
    answers = engine.generate(images, [loaded.messages(i.size) for i in images], Sampling(max_new_tokens=5))
    assert [a.tokens <= 5 for a in answers] == [True, True]
    assert all(np.isfinite(a.logprobs.sum) for a in answers if a.logprobs)


@shows("guide", by_fixture=True)
def test_a_guided_completion_is_a_valid_graph(loaded: LoadedModel, key: str) -> None:
    images = [noise((60, 90)), noise((150, 100))]
    frames = [loaded.frame(image.size) for image in images]
    specs = [GuideSpec(frame, ("man", "horse"), ("riding",), 2, 2, minify=True) for frame in frames]
    sampling = Sampling(temperature=1.0, max_new_tokens=160)
    answers = TransformersEngine(loaded).generate(
        images, [loaded.messages(image.size) for image in images], sampling, guides=specs
    )
    for answer, frame in zip(answers, frames, strict=True):
        assert answer.finish_reason == "stop"
        assert parse(answer.text, frame).issues == ()
    assert suits(loaded.model) == (key in SUITED)


def test_the_image_is_the_tokens_that_the_row_names(loaded: LoadedModel) -> None:
    image, processor, family = noise((300, 200)), loaded.processor, loaded.family
    text = processor.apply_chat_template(
        with_image(loaded.messages(image.size)), add_generation_prompt=True, tokenize=False
    )
    ids = family.inputs(processor, [text], [loaded.view(image)])["input_ids"][0].tolist()
    token = loaded.model.config.image_token_id
    assert image_token_of(processor) == family.image_token
    assert processor.tokenizer.convert_tokens_to_ids(family.image_token) == token
    places = [k for k, one in enumerate(ids) if one == token]
    assert len(places) > 1
    assert (text.count(str(processor.image_token)) <= 1) == family.expands
    starts = sum(k == 0 or ids[k - 1] != token for k in places)
    assert starts == 1 if family.runs == "one" else starts > 1


def test_the_tower_and_its_merger_are_where_the_row_says(loaded: LoadedModel) -> None:
    names = [name for name, _ in loaded.model.named_parameters()]
    frozen = [name for name in names if re.fullmatch(loaded.family.vision, name)]
    assert frozen
    text = re.compile(r"language_model|text_model|lm_head")
    assert not any(text.search(name) for name in frozen)
    rest = [name for name in names if name not in frozen and not text.search(name)]
    between = r"merger|projector|projection|qformer|query|connector|embed_vision|image_newline"
    assert all(re.search(between, name) for name in rest)


def test_a_model_with_coordinate_tokens_is_not_read_as_its_base(folders: Folders, tmp_path: Path) -> None:
    """Rex-Omni has Qwen2.5-VL's `model_type`, and another frame."""
    rex = load_checkpoint(folders["rex_omni"])
    assert (rex.family.name, rex.frame((640, 480))) == ("Rex-Omni", (999, 999))
    assert load_checkpoint(folders["qwen2_5_vl"]).family.name == "Qwen2.5-VL"
    few = load_checkpoint(build_qwen2_5_vl(tmp_path / "few", ["<0>", "<1>"]))
    assert few.family.name == "Qwen2.5-VL", "all of the marks are needed"


def test_a_model_that_would_think_first_is_asked_for_its_answer(folders: Folders, tmp_path: Path) -> None:
    processor = load_processor(folders["qwen3_5"])
    chat = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert prompt.endswith("assistant\n<think>\n\n</think>\n\n")
    copy(folders["qwen3_5"], tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again = load_processor(tmp_path / "saved")
    assert again.chat_template == processor.chat_template, "a trained checkpoint is asked the same way"
    answered = [*chat, {"role": "assistant", "content": [{"type": "text", "text": "!"}]}]
    assert again.apply_chat_template(answered, tokenize=False).startswith(f"{prompt}!")


def test_a_family_that_only_grounds_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = copy(tiny_checkpoint, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "florence2"}))
    assert family_of(folder).name == "Florence-2"
    with pytest.raises(ModelError, match="Florence-2 cannot write graphs, because it is an encoder-decoder") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


BOX = (0.25, 0.5, 0.75, 1.0)
TAUGHT = {
    "Qwen2-VL": (250, 500, 750, 1000),
    "Rex-Omni": (249.75, 499.5, 749.25, 999),
    "Qwen3-VL": (250, 500, 750, 1000),
    "Qwen3.5": (250, 500, 750, 1000),
    "Gemma 4": (500, 250, 1000, 750),
    "PaliGemma": (512, 256, 1024, 768),
    "InternVL": (250, 500, 750, 1000),
    "LFM2-VL": (0.25, 0.5, 0.75, 1.0),
    "MiniCPM-V 4.6": (250, 500, 750, 1000),
    "GLM-V": (250, 500, 750, 1000),
    "LLaVA-1.5": (0.25, 0.5, 0.75, 0.875),
    "LLaVA-NeXT": (0.25, 0.5, 0.75, 0.875),
    "Florence-2": (249.5, 499.5, 749.5, 999.5),
}
"""How the makers' boxes write `BOX` of a 640 x 480 image."""


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.dialect or f.coordinates == "padded_square"], ids=str)
def test_the_makers_boxes_are_read_where_they_are(family: ModelFamily, folders: Folders) -> None:
    processor = load_checkpoint(folders["qwen2_5_vl"]).processor
    frame = family.taught_frame((640, 480), processor)
    box = frame if isinstance(frame, BoxFrame) else BoxFrame(frame)
    written = box.written(np.array([BOX]))
    expected = TAUGHT.get(family.name, (161, 238, 483, 476))  # pixels of 644 x 476
    np.testing.assert_allclose(written[0], expected)
    np.testing.assert_allclose(box.fractions(written)[0], BOX)
    place = family.placement((640, 480), processor)  # what the VQA probe writes
    np.testing.assert_allclose(place.write(np.array([BOX]))[0], written[0], atol=0.5)


def test_the_worked_example_is_in_the_frame_of_the_image(folders: Folders) -> None:
    pixels = load_checkpoint(folders["qwen2_5_vl"])
    assert pixels.settings == AnswerSettings(), "a checkpoint without r1sgg.json gets the paper's prompt"
    assert "from 0 to 644, y from 0 to 476" in pixels.messages((640, 480))[-1]["content"]
    assert (
        "from 0 to 1000, y from 0 to 1000" in load_checkpoint(folders["qwen3_vl"]).messages((640, 480))[-1]["content"]
    )


def test_the_vocabulary_of_the_settings_reaches_the_prompt(tiny_checkpoint: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    shutil.copytree(tiny_checkpoint, closed)
    AnswerSettings(prompt="short", vocabulary="vg150").write(closed)
    assert "zebra" in load_checkpoint(closed).messages((100, 100))[-1]["content"]


def test_images_are_limited_to_the_family_s_or_the_caller_s_pixels(folders: Folders) -> None:
    checkpoint = load_checkpoint(folders["qwen2_5_vl"], max_pixels=100 * 28 * 28)
    width, height = checkpoint.frame((4000, 3000))
    assert width * height <= 100 * 28 * 28
    width, height = load_checkpoint(folders["qwen2_5_vl"]).frame((4000, 3000))
    assert 100 * 28 * 28 < width * height <= 1280 * 28 * 28
    assert load_checkpoint(folders["qwen2_5_vl"], max_pixels=0).frame((4000, 3000)) == (width, height)
    assert load_checkpoint(folders["llava"], max_pixels=0).image_pixels is None
    assert load_processor(folders["qwen2_vl"]).image_processor.size["longest_edge"] == 336 * 336, "its own is lower"


def test_a_very_long_image_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(ImageError, match="5000x10"):
        loaded.frame((5000, 10))


def test_vision_tokens_and_unused_rows_are_suppressed(loaded: LoadedModel) -> None:
    tokenizer = loaded.processor.tokenizer
    suppressed = suppressed_token_ids(loaded.model.config, tokenizer)
    config = loaded.model.config
    named = re.compile(r"(image|video|audio|vision|bo[ia]|eo[ia])(_start|_end)?_token_(id|index)")
    media = {key: value for key, value in config.to_dict().items() if named.fullmatch(key)}
    assert config.image_token_id in media.values()
    assert set(filter(None, media.values())) <= set(suppressed)
    assert tokenizer.eos_token_id not in suppressed
    assert loaded.model.get_input_embeddings().num_embeddings - len(tokenizer) == sum(
        i >= len(tokenizer) for i in suppressed
    )


# ---------------------------------------------------------------- adapters


@pytest.fixture(scope="module")
def adapter(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter with weights that change something, as training saves it."""
    folder = tmp_path_factory.mktemp("adapter")
    base = load_model(folders["qwen3_vl"], device="cpu")
    torch.manual_seed(0)
    with warnings.catch_warnings():  # transformers warns of what peft asks
        warnings.simplefilter("ignore", FutureWarning)
        adapted = get_peft_model(base.model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(folder)
    base.processor.save_pretrained(folder)
    AnswerSettings(think=True).write(folder)
    return folder


def logits(loaded: LoadedModel) -> torch.Tensor:
    with torch.no_grad():
        return loaded.model(input_ids=torch.arange(8)[None]).logits


def test_an_adapter_is_a_checkpoint(adapter: Path, folders: Folders) -> None:
    loaded, base = load_model(adapter, device="cpu"), load_model(folders["qwen3_vl"], device="cpu")
    assert (loaded.path, loaded.base) == (str(adapter), str(folders["qwen3_vl"]))
    assert loaded.settings.think
    assert type(loaded.model) is type(base.model)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)
        adapted = PeftModel.from_pretrained(base.model, adapter).eval()
        wanted = adapted(input_ids=torch.arange(8)[None]).logits
    torch.testing.assert_close(logits(loaded), wanted, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(logits(loaded), logits(load_model(folders["qwen3_vl"], device="cpu")), atol=1e-2)
    answers = TransformersEngine(loaded).generate([noise((60, 90))], [loaded.messages((60, 90))], Sampling())
    assert answers[0].tokens


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"base_model_name_or_path": None}, "expected base_model_name_or_path, the model that the adapter changes"),
        ({"base_model_name_or_path": "./gone"}, "the base model of this adapter is missing"),
        ({"target_modules": ["nothing"]}, "found none that loads"),
    ],
)
def test_an_adapter_that_fits_nothing_is_one_sentence(
    adapter: Path, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    folder = copy(adapter, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelError, match=says) as caught:
        load_model(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_model_and_an_adapter_in_one_folder_are_refused(adapter: Path, tmp_path: Path) -> None:
    folder = copy(adapter, tmp_path / "both")
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="found both"):
        load_model(folder)
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="found broken JSON"):
        load_model(folder)


# ---------------------------------------------------------------- what is refused


def copy(folder: Path, to: Path, without: str = "") -> Path:
    shutil.copytree(folder, to, ignore=lambda _, names: [n for n in names if without and n.startswith(without)])
    return to


def test_an_unknown_family_lists_the_known_ones(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = copy(tiny_checkpoint, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "kosmos-2"}))
    with pytest.raises(ModelError, match=r"Qwen2-VL.*Qwen2\.5-VL.*Qwen3-VL.*found model_type 'kosmos-2'"):
        load_model(folder)
    with pytest.raises(ModelError, match="model_type None"):
        family_of(PreTrainedConfig().to_dict() | {"model_type": None})


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("processor_config", "expected a checkpoint with its processor"),
        ("tokenizer", "expected a tokenizer in which"),
        ("config.json", r"found no config\.json"),
        ("model.safetensors", r"expected weights \(model\.safetensors\)"),
    ],
)
def test_a_missing_file_is_one_sentence(tiny_checkpoint: Path, tmp_path: Path, without: str, message: str) -> None:
    folder = copy(tiny_checkpoint, tmp_path / "model", without)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_weights_that_are_not_safetensors_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = copy(tiny_checkpoint, tmp_path / "model", "model.safetensors")
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"expected weights \(model\.safetensors\)"):
        load_model(folder)


def test_names_that_stand_for_nothing(tmp_path: Path) -> None:
    for name in ("no-such-folder", "./no/such", tmp_path / "gone", "a/b/c", "~/gone"):
        with pytest.raises(ModelError, match="no such checkpoint folder"):
            resolve(name)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="found a file"):
        resolve(tmp_path / "file")


def test_a_name_on_the_hub_without_a_network_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="owner/no-such-model: no such folder here") as caught:
        family_of("owner/no-such-model")
    assert "\n" not in str(caught.value)


def test_a_name_on_the_hub_loads_from_the_cache_with_its_settings(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--owner--model"
    shutil.copytree(tiny_checkpoint, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    loaded = load_model("owner/model", device="cpu")
    assert (loaded.name, loaded.path, loaded.settings.prompt) == ("owner/model", "owner/model", "short")
    (repository / "snapshots" / "abc" / "r1sgg.json").unlink()
    assert load_checkpoint("owner/model").settings == AnswerSettings()


@pytest.mark.parametrize("device", ["cuda:99", "toaster"])
def test_a_device_that_is_not_there(tiny_checkpoint: Path, device: str) -> None:
    with pytest.raises(ModelError, match="device"):
        load_model(tiny_checkpoint, device=device)


def test_a_precision_that_is_none(tiny_checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"dtype: expected one of float32, .* found 'float8'"):
        load_model(tiny_checkpoint, dtype="float8")
    assert load_model(tiny_checkpoint, device="cpu", dtype="auto").model.dtype == torch.bfloat16


def test_the_fingerprint_follows_weights_and_settings(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = copy(tiny_checkpoint, tmp_path / "model")
    first = fingerprint(str(folder))
    assert first == fingerprint(str(tiny_checkpoint))
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    second = fingerprint(str(folder))
    AnswerSettings(think=True).write(folder)
    assert len({first, second, fingerprint(str(folder)), fingerprint("owner/name")}) == 4
