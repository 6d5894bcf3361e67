"""`r1sgg web` as a process: what it leaves behind, what it tells of the machine, and which files it opens."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from r1sgg.cli import main
from r1sgg.miniature.scenes import SMALL, scene

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n0 0 20 20 rectfill\n"


class Web:
    """A running page, whose temporary folder is its own."""

    def __init__(self, folder: Path, *options: str, tokens: int = 100) -> None:
        self.temporary, self.called, commands = folder / "tmp", folder / "called", folder / "bin"
        self.temporary.mkdir()
        commands.mkdir()
        (commands / "gs").write_text(f'#!/bin/sh\necho "$@" >> {self.called}\nexit 0\n')
        (commands / "gs").chmod(0o755)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        program = "import warnings; warnings.simplefilter('ignore'); from r1sgg.cli import main; main()"
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "web", "--port", str(self.port), "--max-new-tokens", str(tokens), *options],
            env={
                **{name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"},
                "HF_HUB_OFFLINE": "1",
                "OMP_NUM_THREADS": "1",
                "TMPDIR": str(self.temporary),
                "PATH": f"{commands}:{os.environ['PATH']}",
            },
            stdout=self.log,
            stderr=self.log,
        )
        self.url = f"http://127.0.0.1:{self.port}"
        for _ in range(1200):
            assert self.process.poll() is None, "r1sgg web ended"
            try:
                httpx.get(self.url, timeout=20, trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)

    def files(self) -> list[Path]:
        return [path for path in self.temporary.rglob("*") if path.is_file()]

    def said(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()

    def end(self, by: signal.Signals) -> int:
        self.process.send_signal(by)
        return self.process.wait(30)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    running = Web(tmp_path)
    yield running
    running.close()


def _read(client: Client, image: Path, model: str = "tiny") -> str:
    return read_all(client, image, model)[-1]


def read_all(client: Client, image: Path, model: str) -> list[str]:
    """Everything that the page shows then; the completion last."""
    options = (model, "as the model was trained", "", True, 0, 0, "json")
    return [str(part) for part in client.predict(handle_file(image), *options, api_name="/read")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("drawn_only", "listed", "said"), [
    (True, None, "writes object classes and predicates of drawn scenes."),
    (False, None, "writes object classes and predicates of any name."),
    (True, "psg", "writes 133 object classes and 56 predicates (psg)"),
])  # fmt: skip
def test_what_the_page_says_of_names_fits_what_the_model_knows(drawn_only: bool, listed: str | None, said: str) -> None:
    from r1sgg.pages.web import reads

    notice = "m knows drawn scenes only" if drawn_only else None
    checkpoint = {"name": "m", "drawn_scenes_only": drawn_only, "notice": notice}
    settings = SimpleNamespace(vocabulary="open")
    reader = SimpleNamespace(checkpoint=SimpleNamespace(**checkpoint, settings=settings), guide_vocabulary=listed)
    assert said in reads(reader)  # type: ignore[arg-type]
    assert ("drawn scenes only" in reads(reader)) is drawn_only  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_leaves_nothing_and_tells_nothing(web: Web, tmp_path: Path) -> None:
    picture = tmp_path / "scene.png"
    scene(5, SMALL).image.save(picture)
    client = Client(web.url, verbose=False)

    assert "objects" in _read(client, picture)
    before = picture.read_bytes()
    assert any(path.read_bytes() == before for path in web.files())

    with picture.open("rb") as file:  # one that is never read
        answer = httpx.post(f"{web.url}/gradio_api/upload", files={"files": file}, timeout=60, trust_env=False)
    assert Path(answer.json()[0]).is_relative_to(web.temporary)

    # the default model knows drawn scenes only: a photo is refused, unless somebody chose a model
    photo = tmp_path / "photo.jpg"
    Image.effect_noise((90, 60), 90).convert("RGB").save(photo)
    assert any("tiny knows drawn scenes only" in part for part in read_all(client, picture, "tiny"))
    with pytest.raises(AppError, match=r"expected a drawn scene.*use the model photo \(`r1sgg web --model photo`\)"):
        _read(client, photo)
    *shown, completion = read_all(client, photo, "tiny-sft")
    assert any("not a drawn scene, and tiny-sft knows nothing else: this graph means nothing" in part for part in shown)
    assert "objects" in completion
    assert web.said().count("tiny knows drawn scenes only") == 1

    # PostScript is refused, whatever it is called, and no interpreter sees it
    for name in ("scene.eps", "scene.png.jpg"):
        (tmp_path / name).write_bytes(EPS)
        with pytest.raises(AppError, match=r"the image: expected an image .*found a file of another kind"):
            _read(client, tmp_path / name)
    assert not web.called.exists()

    # the answer about a folder is the same whether there is one
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    sentences = set()
    for name in ("there", "not-there", "file", "there/not"):
        with pytest.raises(AppError) as caught:
            _read(client, picture, str(tmp_path / name))
        sentences.add(str(caught.value).replace(str(tmp_path / name), "X"))
    assert len(sentences) == 1, sentences
    assert re.search(
        "model: expected tiny, photo, a checkpoint folder .*found 'X', which does not load", sentences.pop()
    )
    assert "found no config.json" in web.said()  # which the person at the terminal may know

    assert web.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert web.files() == []


def test_the_model_is_loaded_without_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import logging

    def build(*_: object) -> None:
        raise SystemExit(0 if not logging.is_progress_bar_enabled() else 1)

    logging.enable_progress_bar()
    monkeypatch.setattr("r1sgg.pages.web.build_demo", build)
    with pytest.raises(SystemExit) as left:
        main(["web"])
    assert left.value.code == 0
