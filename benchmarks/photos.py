"""What a photo costs on a CPU: CPU-seconds and peak memory of `r1sgg predict` with models of published shapes.

    python benchmarks/photos.py --work WORK --tokenizer ../shared/data/qwen2_tokenizer \
        --photo ../shared/data/vg_sample/images/1.jpg --shape 0.8b --shape 2b

The weights are random bfloat16, so the graphs mean nothing: time and memory do not depend on what a model has learnt.
The shapes are those of Qwen3.5-0.8B and Qwen2-VL-2B. Two processes are run for each, imports and loading included: one
that writes a single token, and one that writes `MORE` more; random weights never end an answer. The difference is the
price of a token, and what an answer costs is computed from both: 540 tokens are the mean of 49 Visual Genome graphs as
the paper's JSON, 271 of the same graphs as compact answers (`benchmarks/tokens.py`, boxes in thousandths). Both models
have Qwen2's tokenizer here. Writes photos.json. WORK needs 7 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ANSWERS = {"JSON": 540, "compact": 271}
PIXELS = 401408  # --max-pixels of all rows
_IMAGE, _VIDEO, _START, _END = "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"

QWEN3_5 = {
    "text_config": {
        "vocab_size": 248320,
        "hidden_size": 1024,
        "intermediate_size": 3584,
        "num_hidden_layers": 24,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 16,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e7,
            "partial_rotary_factor": 0.25,
            "mrope_interleaved": True,
            "mrope_section": [11, 11, 10],
        },
    },
    "vision_config": {
        "depth": 12,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_heads": 12,
        "out_hidden_size": 1024,
        "num_position_embeddings": 2304,
    },
    "tie_word_embeddings": True,
}
QWEN2_VL = {
    "text_config": {
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    "vision_config": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "hidden_size": 1536},
    "tie_word_embeddings": True,
}

MORE = 64


def build(shape: str, folder: Path, tokenizer_folder: Path) -> int:
    """Make a checkpoint with random weights, and return their number."""
    import torch
    import transformers
    from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessor

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer_folder / "tokenizer.json"), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    template = (tokenizer_folder / "qwen2_vl_chat_template.jinja").read_text()
    ids = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in (
            ("image_token_id", _IMAGE),
            ("video_token_id", _VIDEO),
            ("vision_start_token_id", _START),
            ("vision_end_token_id", _END),
        )
    }
    patch = 16 if shape == "0.8b" else 14
    images = Qwen2VLImageProcessor(
        patch_size=patch, size={"shortest_edge": 56 * 56, "longest_edge": 1280 * (2 * patch) ** 2}
    )
    if shape == "0.8b":
        config: Any = transformers.Qwen3_5Config(**QWEN3_5, **ids)
        kind: Any = transformers.Qwen3_5ForConditionalGeneration
        videos: Any = transformers.Qwen3VLVideoProcessor(patch_size=patch)
        processor: Any = transformers.Qwen3VLProcessor(images, tokenizer, videos, chat_template=template)
    else:
        config, kind = transformers.Qwen2VLConfig(**QWEN2_VL, **ids), transformers.Qwen2VLForConditionalGeneration
        videos = transformers.Qwen2VLVideoProcessor(patch_size=patch)
        processor = transformers.Qwen2VLProcessor(images, tokenizer, videos, chat_template=template)
    config.text_config.eos_token_id = tokenizer.eos_token_id
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = kind(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def measure(folder: Path, photo: Path, work: Path, tokens: int) -> dict[str, float]:
    """Run `r1sgg predict` for so many tokens and return its CPU-seconds, seconds and peak memory (resident set, GB)."""
    program = "from r1sgg.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        program,
        "predict",
        str(photo),
        "--model",
        str(folder),
        "--json",
        str(work / "out"),
    ]
    command += ["--dtype", "bfloat16", "--max-pixels", str(PIXELS), "--no-cut-loops", "--max-new-tokens", str(tokens)]
    begun = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"r1sgg predict failed: {' '.join(command)}")
    answer = json.loads((work / "out").read_text())
    return {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "seconds": round(time.perf_counter() - begun, 1),
        "GB": round(used.ru_maxrss * 1024 / 1e9, 2),
        "characters": len(answer["completion"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with tokenizer.json and a chat template")
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoints, which are kept")
    parser.add_argument("--shape", action="append", choices=("0.8b", "2b"))
    parser.add_argument("--json", type=Path, default=Path("photos.json"))
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for shape in options.shape or ["0.8b", "2b"]:
        folder = options.work / shape
        if not (folder / "processor_config.json").is_file():
            print(f"{shape}: {build(shape, folder, options.tokenizer):,} weights", flush=True)
        one = measure(folder, options.photo, options.work, 1)
        more = measure(folder, options.photo, options.work, 1 + MORE)
        token = (more["cpu_seconds"] - one["cpu_seconds"]) / MORE
        computed = {name: round(one["cpu_seconds"] + token * (count - 1), 1) for name, count in ANSWERS.items()}
        found[shape] = {"one": one, "more": more, "token": round(token, 3), **computed}
        cells = [shape, one["cpu_seconds"], round(token, 2), *computed.values(), max(one["GB"], more["GB"])]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
