"""Writing a page: a template of this folder, filled in and saved as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from r1sgg import __version__
from r1sgg.errors import InputError


def write_page(out: Path, template: str, **values: Any) -> None:
    """Fill in a template, with every value escaped, and write it to `out`.

    Raises:
        InputError: the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template(template).render(version=__version__, **values)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        found = error.strerror or "an error"
        raise InputError(str(out), expected="a place to write a page", found=found, hint="choose another") from error
