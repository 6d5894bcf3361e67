"""Guided decoding: answers that are valid by construction, token by token, with any tokenizer."""
