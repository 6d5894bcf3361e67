"""An answer while it is written: the engine runs in a thread, and its text so far is handed over token by token."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Completion, Sampling, WatchedEngine
from r1sgg.models.prompts import Message


def partial_answers(
    engine: WatchedEngine, image: Image.Image, messages: list[Message], sampling: Sampling, guide: GuideSpec | None
) -> Iterator[str | Completion]:
    """The text so far, as often as somebody asks for it, then the completion; closing the iterator ends the answer.

    Where the model writes faster than it is listened to, texts in between are left out.

    Raises:
        ImageError, ConfigError, ModelError: what the engine raises.
    """
    texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    listening = threading.Event()
    listening.set()

    def hear(text: str) -> bool:
        texts.put(text)
        return listening.is_set()

    with ThreadPoolExecutor(1, "r1sgg-stream") as pool:
        answer = pool.submit(engine.watch, image, messages, sampling, hear, guide=guide, pieces=True)
        answer.add_done_callback(lambda _: texts.put(None))
        try:
            while (text := _newest(texts)) is not None:
                yield text
            yield answer.result()
        finally:
            listening.clear()


def _newest(texts: queue.SimpleQueue[str | None]) -> str | None:
    """The last text that is there, waiting for one; None once the answer is whole."""
    text = texts.get()
    while text is not None and not texts.empty():
        text = texts.get()
    return text
