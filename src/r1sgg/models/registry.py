"""The known families, one row of facts each; what the fields mean is in `r1sgg.models.family`.

Adding one: a row here, its dialect if no other family writes so, and a tiny checkpoint in the tests
(docs/howto/family.md).
"""

from __future__ import annotations

from r1sgg.models.family import ModelFamily

FAMILIES = (
    ModelFamily("Qwen2-VL", ("qwen2_vl",), "thousandths", dialect="qwen-tags", image_token="<|image_pad|>"),
    ModelFamily("Qwen2.5-VL", ("qwen2_5_vl",), "resized_pixels", dialect="qwen-json", image_token="<|image_pad|>"),
    ModelFamily(
        "Rex-Omni",
        ("qwen2_5_vl",),
        "up_to_999",
        marks=("<0>", "<999>"),
        dialect="qwen-tags",
        image_token="<|image_pad|>",
    ),
    ModelFamily(
        "Qwen3-VL",
        ("qwen3_vl", "qwen3_vl_moe"),
        "thousandths",
        max_pixels=1280 * 32 * 32,
        dialect="qwen-json",
        image_token="<|image_pad|>",
    ),
    ModelFamily(
        "LLaVA-1.5",
        ("llava",),
        "padded_square",
        answers="square_thousandths",
        max_pixels=None,
        tower="vision_tower",
        images="one size",
        served_tower="vision_tower.vision_model",
    ),
    ModelFamily(
        "LLaVA-NeXT",
        ("llava_next",),
        "padded_square",
        answers="square_thousandths",
        max_pixels=None,
        tower="vision_tower",
        images="tiles",
        served_tower="vision_tower.vision_model",
    ),
    # trained without coordinates: the probe gives pixels of the image, whose size its prompt states
    ModelFamily(
        "InstructBLIP",
        ("instructblip",),
        "image_pixels",
        answers="thousandths",
        max_pixels=None,
        tower="vision_model",
        images="one size",
        chat=False,
        reader="qformer_tokenizer",
        speaker="language_model",
        hidden=False,
        cannot={
            "grpo": "TRL passes its model no qformer_input_ids",
            "colocate": "TRL passes its model no qformer_input_ids",
            "server": "TRL passes its model no qformer_input_ids",
            "vllm": "not run",
        },
    ),
    # SmolVLM's first version uses the classes of Idefics3
    ModelFamily(
        "SmolVLM",
        ("smolvlm", "idefics3"),
        "thousandths",
        max_pixels=None,
        tower="vision_model",
        images="tiles",
        cannot={"server": "TRL takes one run of image tokens per image"},
    ),
)
