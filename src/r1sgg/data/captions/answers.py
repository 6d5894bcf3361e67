"""The answers of a language model, kept in a file, so that nothing is asked twice.

A line is {"key": ..., "answer": ...}; the key is of the engine's name, the question and the image's content
(`r1sgg.data.captions.asking.key_of`). Failed questions are not kept. Memory holds about 150 bytes an answer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import orjson

from r1sgg.data.captions.asking import Answer, Asker, Question, key_of
from r1sgg.data.jsonl import read_lines, record_of_line
from r1sgg.errors import InputError, os_errors
from r1sgg.files import append, refuse_inputs
from r1sgg.graph.text import Frame

_CHUNK = 64  # questions that are asked, and written, together


class KeptAnswers:
    """An asker that asks another only what is not in the file."""

    def __init__(self, inner: Asker, path: Path) -> None:
        """Read which answers there are; the end of a line that a killed process left is cut off.

        Raises:
            InputError: the file cannot be read, or is another one.
        """
        self.name = inner.name
        self._inner, self._path = inner, path
        self._places: dict[str, int] = {}
        self.asked = self.kept = 0
        refuse_inputs([path])
        if path.exists() and path.stat().st_size:
            whole = 0
            for number, offset, content in read_lines(path):
                if not content.endswith(b"\n"):
                    break
                row = record_of_line(content, f"{path}:{number}")
                if not isinstance(row.get("key"), str) or not isinstance(row.get("answer"), str):
                    hint = "choose another --out, or remove that file"
                    raise InputError(f"{path}:{number}", expected="a kept answer", found="another line", hint=hint)
                self._places[row["key"]] = offset
                whole = offset + len(content)
            with os_errors(path, "a file that can be written"):
                os.truncate(path, whole)

    def frame(self, size: tuple[int, int]) -> Frame:
        """See `Asker`."""
        return self._inner.frame(size)

    def close(self) -> None:
        """See `Asker`."""
        self._inner.close()

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """See `Asker`; equal questions are asked once."""
        keys = [key_of(self.name, question) for question in questions]
        new = {key: q for key, q in zip(keys, questions, strict=True) if key not in self._places}
        self.kept += len(questions) - len(new)
        failed: dict[str, Answer] = {}
        waiting = list(new)
        for start in range(0, len(waiting), _CHUNK):
            chunk = waiting[start : start + _CHUNK]
            answers = self._inner.ask([new[key] for key in chunk])
            self.asked += len(chunk)
            self._keep([(k, a) for k, a in zip(chunk, answers, strict=True) if not a.error])
            failed |= {key: a for key, a in zip(chunk, answers, strict=True) if a.error}
        return [failed[key] if key in failed else self._read(key) for key in keys]

    def _keep(self, answers: Sequence[tuple[str, Answer]]) -> None:
        place = self._path.stat().st_size if self._path.exists() else 0
        lines: list[bytes] = []
        for key, answer in answers:
            lines.append(orjson.dumps({"key": key, "answer": answer.text}) + b"\n")
            self._places[key] = place
            place += len(lines[-1])
        if lines:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            append(self._path, b"".join(lines))

    def _read(self, key: str) -> Answer:
        with self._path.open("rb") as handle:
            handle.seek(self._places[key])
            return Answer(str(orjson.loads(handle.readline())["answer"]))
