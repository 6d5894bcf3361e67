"""Which weights are trained: adapters, a frozen tower, bits; and what cannot be."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers.quantizers.quantizers_utils import should_convert_module
from transformers.training_args import OptimizerNames

from r1sgg.errors import ConfigError, MissingDependencyError, ModelError
from r1sgg.models.families import Checkpoint, family_of, load_checkpoint, load_model
from r1sgg.training.parts import PartOptions, Parts, kept_whole, prepare_parts
from r1sgg.training.sft import pad_reader_right

from ..models.tiny_families import BUILDERS, build_instructblip

BITS = {name.value for name in OptimizerNames if "8bit" in name.value or "bnb" in name.value or "paged" in name.value}
BITS = (BITS - {"adamw_torch_8bit"}) | {"lion_32bit", "ademamix"}


@pytest.fixture(scope="module")
def checkpoint(mini: Path) -> Checkpoint:
    return load_checkpoint(mini)


def adapted(mini: Path, checkpoint: Checkpoint, **options: Any) -> set[str]:
    """The layers that get an adapter."""
    parts = prepare_parts(PartOptions(use_peft=True, **options), checkpoint, "adamw_torch")
    model = get_peft_model(load_model(mini, device="cpu").model, parts.arguments["peft_config"])
    return {name.split(".lora_")[0] for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_an_adapter_goes_where_the_options_say(mini: Path, checkpoint: Checkpoint) -> None:
    everywhere = adapted(mini, checkpoint)
    assert any("visual.blocks" in name for name in everywhere)
    assert not any("lm_head" in name for name in everywhere), "TRL's GRPO would not train one there"
    frozen = adapted(mini, checkpoint, freeze_vision=True)
    assert everywhere - frozen == {name for name in everywhere if "visual.blocks" in name}
    assert any("visual.merger" in name for name in frozen)
    assert {name.rpartition(".")[2] for name in adapted(mini, checkpoint, lora_target_modules=["q_proj"])} == {"q_proj"}


def test_the_adapter_s_numbers_reach_peft(checkpoint: Checkpoint) -> None:
    options = PartOptions(use_peft=True, lora_r=8, lora_alpha=4, lora_dropout=0.25)
    config = prepare_parts(options, checkpoint, "adamw_torch").arguments["peft_config"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 4, 0.25)
    assert prepare_parts(PartOptions(), checkpoint, "adamw_torch").arguments == {}


def test_freezing_stops_the_gradient_at_the_tower_and_not_behind_it(mini: Path, checkpoint: Checkpoint) -> None:
    model = load_model(mini, device="cpu").model.requires_grad_(True)
    prepare_parts(PartOptions(freeze_vision=True), checkpoint, "adamw_torch").freeze(model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert any("merger" in name for name in trained)
    assert any("language_model" in name for name in trained)
    assert not any("visual.blocks" in name or "visual.patch_embed" in name for name in trained)
    with pytest.raises(ModelError, match="found none in Linear"):
        Parts({}, checkpoint.family.vision).freeze(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "llava", "instructblip", "idefics3"])
def test_the_vision_tower_stays_out_of_the_bits(name: str, tmp_path: Path) -> None:
    loaded = load_model(BUILDERS[name](tmp_path / "model"), device="cpu")
    layers = [n for n, module in loaded.model.named_modules() if isinstance(module, torch.nn.Linear)]
    in_bits = {n for n in layers if should_convert_module(n, kept_whole(loaded.family))}
    assert in_bits
    assert in_bits == {n for n in layers if loaded.family.tower not in n.split(".") and "lm_head" not in n}


@pytest.mark.parametrize("name", sorted(name.value for name in OptimizerNames))
def test_optimizers_in_bits_need_bitsandbytes_and_no_others(
    name: str, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    if name in BITS:
        with pytest.raises(MissingDependencyError, match="bitsandbytes"):
            prepare_parts(PartOptions(), checkpoint, name)
    else:
        prepare_parts(PartOptions(), checkpoint, name)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (PartOptions(load_in_4bit=True), "expected use_peft: true, found false"),
        (PartOptions(use_peft=True, lora_r=0), "lora_r: expected 1 or more, found 0"),
    ],
)
def test_options_that_contradict_each_other(checkpoint: Checkpoint, options: PartOptions, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        prepare_parts(options, checkpoint, "adamw_torch")


def test_training_an_adapter_further_asks_for_a_whole_model(checkpoint: Checkpoint) -> None:
    adapter = dataclasses.replace(checkpoint, base="somewhere")
    with pytest.raises(ModelError, match=f"r1sgg publish {checkpoint.path} --out FOLDER"):
        prepare_parts(PartOptions(), adapter, "adamw_torch")


def test_the_q_former_s_tokens_begin_at_the_left(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(build_instructblip(tmp_path / "model"))
    processor, family = checkpoint.processor, checkpoint.family

    def plain(texts: list[Any]) -> dict[str, Any]:  # as TRL's collator calls it
        return dict(processor(text=texts, padding=True, padding_side="left", return_tensors="pt"))

    texts = ["a b c", "a b c d e f"]
    before, after = plain(texts), pad_reader_right(plain, family)(texts)
    assert before["qformer_attention_mask"][0, 0] == 0
    assert after["qformer_attention_mask"].tolist()[0] == sorted(before["qformer_attention_mask"].tolist()[0])[::-1]
    alone = plain(texts[:1])["qformer_input_ids"][0]
    assert after["qformer_input_ids"][0, : len(alone)].tolist() == alone.tolist()
    assert torch.equal(after["input_ids"], before["input_ids"])
    assert pad_reader_right(plain, family_of("tiny")) is plain, "of a family with one tokenizer"
