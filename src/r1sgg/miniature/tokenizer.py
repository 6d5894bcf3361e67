"""The tokenizer of the embedded tiny model: byte-level, with a vocabulary that is listed here and not trained.

A minified completion consists of these tokens: pieces of the JSON scaffolding, class names and predicates of VG150,
object numbers (".1"), whole numbers 0..1000, commas. Words of the prompts are tokens too. All 256 bytes are tokens, so
any text can be encoded and `decode(encode(text)) == text`; other text takes one token per byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from r1sgg.graph.vocabulary import VG150
from r1sgg.models.prompts import AnswerSettings, build_messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_SCAFFOLD = (
    '{"objects":[{"id":"',
    '","bbox":[',
    ']},{"id":"',
    ']}],"relationships":[{"subject":"',
    ']}],"relationships":[]}',
    '{"objects":[],"relationships":[]}',
    '","predicate":"',
    '","object":"',
    '"},{"subject":"',
    '"}]}',
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    # layouts of other models (see r1sgg.miniature.instruct)
    '[{"bbox_2d":[',
    '],"label":"',
    '"},{"bbox_2d":[',
    '"}]',
    '{"nodes":[{"name":"',
    '","box":[',
    ']},{"name":"',
    ']}],"edges":[["',
    '","',
    '"],["',
    '"]]}',
)
_INSTRUCTION_WORDS = (
    "Detect all objects List the objects and their boxes Find everything in the image Where is the Locate the "
    "Is there a Yes No How many times is A a Describe the image Caption the image What happens in the image "
    "How does the at relate to the What is at Write the scene graph Which objects and relations are there"
)
_QUESTION_WORDS = "Analyze size bounding format Choose most appropriate following options an B C D"
"""More words of the instructions, after all other tokens, so that these keep their numbers."""
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NAMES = r'(?<=")\p{L}[\p{L} ]*(?=\.\p{N}+")|(?<="predicate":")\p{L}[\p{L} ]*(?=")|\.[1-9](?=")'


def _split() -> str:
    """Return the pre-tokenizer's pattern: scaffolding first, then names as JSON values, then Qwen2's own rule.

    Digits stay together (Qwen2 splits them), so a coordinate is one token.
    """
    return "|".join([*(re.escape(s) for s in sorted(_SCAFFOLD, key=len, reverse=True)), _NAMES, _QWEN2])


def _words() -> list[str]:
    """Return all tokens but single bytes as plain text, in the order of their ids."""
    words = [*_SCAFFOLD, *(str(n) for n in range(10, 1001)), *(f".{n}" for n in range(1, 10))]
    words += [*VG150.objects, *VG150.predicates]
    # names in sentences, and the words of the visual instructions of r1sgg.miniature.instruct
    words += [f" {word}" for name in (*VG150.objects, *VG150.predicates) for word in name.split()]
    words += sorted({word for name in (*VG150.objects, *VG150.predicates) for word in name.split()})
    words += [form for word in _INSTRUCTION_WORDS.split() for form in (word, f" {word}")]
    words += ["]?", " ["]
    words += ["\n\n", " {", ' "', '":', '",', " [", "},", " [{", '": "', "system", "user", "assistant"]
    pieces = re.compile(r" ?[A-Za-z]+")
    for settings in (AnswerSettings(prompt="short"), AnswerSettings(prompt="paper", think=True)):
        for message in build_messages(settings):
            words += pieces.findall(str(message["content"]))
    words += [form for word in _QUESTION_WORDS.split() for form in (word, f" {word}")]
    return list(dict.fromkeys(w for w in words if len(w) > 1))


def build_tokenizer(extra_words: Iterable[str] = (), *, max_length: int = 4096) -> PreTrainedTokenizerFast:
    """Make the tokenizer.

    Args:
        extra_words: more words that become single tokens, such as the names of another vocabulary.
        max_length: the model's number of positions.

    Returns:
        A fast tokenizer that pads on the left and ends a turn with <|im_end|>.
    """
    from transformers import PreTrainedTokenizerFast

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocabulary = {piece: k for k, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for word in (*_words(), *extra_words):
        ((piece, _),) = byte_level.pre_tokenize_str(word)
        vocabulary.setdefault(piece, len(vocabulary))
    # ignore_merges: a pre-token in the vocabulary is one token, any other becomes bytes, so that no merges are needed
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_split()), behavior="isolated"), byte_level]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
