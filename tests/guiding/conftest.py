"""Token tables of real tokenizers."""

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from r1sgg.guiding.table import TokenTable
from r1sgg.miniature.tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    return build_tokenizer()


@pytest.fixture(scope="session")
def tiny_table(tiny_tokenizer: Any) -> TokenTable:
    return TokenTable.of(tiny_tokenizer)


@pytest.fixture(scope="session")
def qwen2_tokenizer(shared: Path) -> Any:
    """151,643 tokens and a few special ones."""
    file = shared / "data" / "qwen2_tokenizer" / "tokenizer.json"
    return PreTrainedTokenizerFast(tokenizer_file=str(file), eos_token="<|im_end|>", clean_up_tokenization_spaces=False)


@pytest.fixture(scope="session")
def qwen2_table(qwen2_tokenizer: Any) -> TokenTable:
    return TokenTable.of(qwen2_tokenizer)
