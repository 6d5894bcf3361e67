"""The known families, one row of facts each; what the fields mean is in `r1sgg.models.family`.

Adding one: a row here, its dialect if no other family writes so, and a tiny checkpoint in the tests
(docs/howto/family.md).
"""

from __future__ import annotations

from r1sgg.models.family import POLICY, Capability, ModelFamily

_LINES = (
    "{% for message in messages %}{{ '' if loop.first else '\n' }}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{{ eos_token if message['role'] == 'assistant' }}{% endfor %}"
)
"""The messages as lines; the processor puts the image before them."""

_QWEN_PAD = "<|image_pad|>"
_QFORMER = "TRL passes its model no qformer_input_ids"
_PREFIX_SFT = "TRL gives its processor completions without an image"
_PREFIX = "TRL marks completions as prompts, which it reads in both directions, so it would see what it is to write"
_SLICES = "TRL takes its slices for InternVL's tiles"
_SEVERAL = "TRL takes one run of image tokens per image"
_NO_ROLLOUTS: tuple[Capability, ...] = ("colocate", "server")
_NO_VLLM: tuple[Capability, ...] = ("vllm", "colocate", "server")
_CODE = "transformers 5.23"

FAMILIES = (
    ModelFamily(
        "Qwen2-VL",
        ("qwen2_vl",),
        "thousandths",
        dialect="qwen-tags",
        image_token=_QWEN_PAD,
        not_run=(),
        source=f"{_CODE}; arXiv 2409.12191",
        checked="2026-11-28",
    ),
    ModelFamily(
        "Qwen2.5-VL",
        ("qwen2_5_vl",),
        "resized_pixels",
        dialect="qwen-json",
        image_token=_QWEN_PAD,
        source=f"{_CODE}; arXiv 2502.13923",
        checked="2026-11-28",
    ),
    # Qwen2.5-VL with 1,000 more tokens, which are its coordinates
    ModelFamily(
        "Rex-Omni",
        ("qwen2_5_vl",),
        "up_to_999",
        marks=("<0>", "<999>"),
        dialect="qwen-tags",
        image_token=_QWEN_PAD,
        not_run=_NO_VLLM,
        source=f"{_CODE}; model card",
        checked="2026-11-28",
    ),
    ModelFamily(
        "Qwen3-VL",
        ("qwen3_vl", "qwen3_vl_moe"),
        "thousandths",
        max_pixels=1280 * 32 * 32,
        dialect="qwen-json",
        image_token=_QWEN_PAD,
        unserved={"qwen3_vl_moe": "vLLM 0.32 does not load its experts as transformers saves them"},
        source=f"{_CODE}; ms-swift 4",
        checked="2026-11-28",
    ),
    ModelFamily(
        "Qwen3.5",
        ("qwen3_5", "qwen3_5_moe"),
        "thousandths",
        max_pixels=1280 * 32 * 32,
        dialect="qwen-json",
        image_token=_QWEN_PAD,
        thinks=True,
        recurrent=True,
        not_run=_NO_VLLM,
        source=f"{_CODE}; ms-swift 4",
        checked="2026-11-28",
    ),
    ModelFamily(
        "Gemma 3",
        ("gemma3",),
        "thousandths",
        max_pixels=None,
        tower="vision_tower",
        images="one size",
        image_token="<image_soft_token>",
        served_tower="vision_tower.vision_model",
        not_run=_NO_VLLM,
        source=f"{_CODE}; model card",
        checked="2026-11-28",
    ),
    ModelFamily(
        "Gemma 4",
        ("gemma4",),
        "thousandths",
        max_pixels=None,
        tower="vision_tower",
        dialect="gemini",
        images="tokens",
        image_token="<|image|>",
        not_run=_NO_ROLLOUTS,
        source=f"{_CODE}; model card",
        checked="2026-11-28",
    ),
    ModelFamily(
        "PaliGemma",
        ("paligemma",),
        "bins_1024",
        answers="thousandths",
        max_pixels=None,
        tower="vision_tower",
        dialect="paligemma",
        images="one size",
        template=f"<image>{_LINES}",
        completion_type=1,
        cannot={"sft": _PREFIX_SFT, "grpo": _PREFIX, "colocate": _PREFIX, "server": _PREFIX},
        not_run=_NO_VLLM,
        source=f"{_CODE}; arXiv 2412.03555",
        checked="2026-11-28",
    ),
    ModelFamily(
        "InternVL",
        ("internvl",),
        "thousandths",
        max_pixels=None,
        tower="vision_tower",
        dialect="internvl",
        images="tiles",
        image_token="<IMG_CONTEXT>",
        not_run=_NO_ROLLOUTS,
        source=f"{_CODE}; ms-swift 4",
        checked="2026-11-28",
    ),
    ModelFamily(
        "LFM2-VL",
        ("lfm2_vl",),
        "fractions",  # since 2.5; of its frame no text was found: `r1sgg doctor --frame`
        answers="thousandths",
        max_pixels=None,
        tower="vision_tower",
        dialect="qwen-json",
        images="tiles",
        runs="several",
        cannot={"server": _SEVERAL},
        recurrent=True,
        not_run=_NO_VLLM,
        source=f"{_CODE}; frame unconfirmed",
        checked="2026-11-28",
    ),
    ModelFamily(
        "MiniCPM-V 4.6",
        ("minicpmv4_6",),
        "thousandths",
        max_pixels=None,
        tower="vision_tower",
        dialect="internvl",
        images="tiles",
        image_token="<|image_pad|>",
        runs="several",
        cannot={"grpo": _SLICES, "colocate": _SLICES, "server": _SLICES},
        recurrent=True,
        not_run=_NO_VLLM,
        source=f"{_CODE}; model card",
        checked="2026-11-28",
    ),
    ModelFamily(
        "GLM-V",
        ("glm4v", "glm46v"),
        "thousandths",
        dialect="qwen-json",
        image_token="<|image|>",
        frames=2,
        thinks=True,
        not_run=_NO_VLLM,
        source=f"{_CODE}; model card",
        checked="2026-11-28",
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
        not_run=("vllm", "server"),
        source=f"{_CODE}; arXiv 2310.03744",
        checked="2026-11-28",
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
        not_run=("vllm", "server"),
        source=f"{_CODE}; LLaVA's code",
        checked="2026-11-28",
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
        template=_LINES,
        nested=False,
        reader=("qformer_tokenizer", "qformer_"),
        speaker="language_model",
        hidden=False,
        cannot={"grpo": _QFORMER, "vllm": "it has no such model", "colocate": _QFORMER, "server": _QFORMER},
        source=f"{_CODE}; arXiv 2305.06500",
        checked="2026-11-28",
    ),
    # SmolVLM's first version uses the classes of Idefics3
    ModelFamily(
        "SmolVLM",
        ("smolvlm", "idefics3"),
        "thousandths",
        max_pixels=None,
        tower="vision_model",
        images="tiles",
        runs="several",
        cannot={"server": _SEVERAL},
        source=f"{_CODE}; arXiv 2504.05299",
        checked="2026-11-28",
    ),
    ModelFamily(
        "Florence-2",
        ("florence2",),
        "thousandths",
        max_pixels=None,
        tower="vision_tower",
        dialect="florence",
        images="one size",
        cannot=dict.fromkeys(POLICY, "it is an encoder-decoder that answers to task tokens, not to a prompt"),
        source=f"{_CODE}; arXiv 2311.06242",
        checked="2026-11-28",
    ),
)
