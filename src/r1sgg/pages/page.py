"""Writing a page: a template of this folder, filled in and saved as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from r1sgg import __version__
from r1sgg.files import write_file


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
    write_file(out, text)
