"""What vLLM runs, read where requests enter its engine: ids of the prompt, image features, the resized image.

vLLM expands image placeholders and resizes images itself, and what it returns tells neither the number of features nor
the image's size. Its engine takes both, with every request; this module reads them there and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from r1sgg.inference.parity import Ran


class EngineInputs:
    """Notes what a `vllm.LLM` is asked to run.

    Args:
        llm: the engine; its requests are noted within `noted` only.
        patch: side of a patch in pixels, for families whose images have many sizes; None for the others.
    """

    def __init__(self, llm: Any, patch: int | None) -> None:
        self._engine, self._patch = llm.llm_engine, patch
        self._sizes: dict[str, tuple[int, int]] = {}  # by vLLM's hash of an image, which it processes once

    @contextmanager
    def noted(self) -> Iterator[list[Ran]]:
        """Yield a list that gets one `Ran` per request of the block, in their order, without log-probabilities."""
        seen: list[Ran] = []
        plain = self._engine.add_request

        def add_request(request_id: str, prompt: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(self._ran(prompt))
            return plain(request_id, prompt, *args, **kwargs)

        self._engine.add_request = add_request
        try:
            yield seen
        finally:
            del self._engine.add_request

    def _ran(self, prompt: Any) -> Ran:
        """Read one of vLLM's `EngineInput`s."""
        ids = tuple(prompt["prompt_token_ids"])
        places = prompt.get("mm_placeholders", {}).get("image", [])
        if not places:
            return Ran(ids, 0)
        name, item = prompt["mm_hashes"]["image"][0], prompt["mm_kwargs"]["image"][0]
        if self._patch is not None and item and "image_grid_thw" in item:  # None or empty: processed before
            _, rows, columns = item["image_grid_thw"].data.flatten().tolist()
            self._sizes[name] = (columns * self._patch, rows * self._patch)
        return Ran(ids, sum(place.get_num_embeds() for place in places), self._sizes.get(name))


def patch_of(processor: Any) -> int | None:
    """Return the side of a patch in pixels, for families whose images have many sizes; None for the others."""
    images = processor.image_processor
    return int(images.patch_size) if hasattr(images, "merge_size") else None
