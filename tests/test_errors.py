"""The error tree, its drawing, and the sentence about a missing package."""

import errno
import inspect
import logging
import re

import pytest

from r1sgg import cli, errors
from r1sgg.errors import InputError, MissingDependencyError, R1SGGError, choices, nearest, require

CLASSES = {n: c for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, Exception)}


def test_docstring_draws_the_tree() -> None:
    """Each class stands once in the drawing, indented one step more than its parent."""
    drawn = re.findall(r"^    ([│ ]*)(?:[├└]── )?(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    assert sorted(name for _, name in drawn) == sorted(CLASSES)
    path: list[str] = []
    for indent, name in drawn:
        depth = 0 if name == "R1SGGError" else 1 + len(indent) // 4
        path = [*path[:depth], name]
        parent = path[depth - 1] if depth else "Exception"
        assert CLASSES[name].__bases__[0].__name__ == parent, name


def test_one_root_catches_all() -> None:
    assert all(issubclass(c, R1SGGError) for c in CLASSES.values())


def test_every_class_says_what_it_is_for() -> None:
    assert all(c.__doc__ and c.__doc__.endswith(".") for c in CLASSES.values())


def test_input_error_is_one_sentence() -> None:
    error = InputError("gt.jsonl:3: bbox", expected="four numbers", found="'x'", hint="boxes are corners")
    assert str(error) == "gt.jsonl:3: bbox: expected four numbers, found 'x'; boxes are corners"
    assert isinstance(error, ValueError)
    assert str(InputError("a", expected="b", found="c")) == "a: expected b, found c"


def test_choices_begin_with_the_nearest_and_are_few() -> None:
    known = [f"option{k}" for k in range(20)] + ["Threshold"]
    assert nearest("zzz", known) == []
    assert nearest("THRESHLD", known) == ["Threshold"]
    assert choices(known, "treshold") == "Threshold, " + ", ".join(known[:7]) + " and 13 more"
    assert choices(iter(("on", "under", "on")), "undr") == "on, under"  # a short list keeps its order


def test_require() -> None:
    assert require("json", "train") is __import__("json")
    with pytest.raises(MissingDependencyError, match=r"pip install 'r1sgg\[vllm\]'"):
        require("no_such_package_at_all", "vllm")


def test_require_does_not_hide_the_error_of_a_package_that_is_there(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "half_installed.py").write_text("import something_it_needs\n")
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ModuleNotFoundError, match="something_it_needs") as error:
        require("half_installed", "train")
    assert not isinstance(error.value, MissingDependencyError)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 500), f"{'a' * 200}: expected a usable file"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk: expected free space, found No space left"),
        (OSError(errno.ECONNREFUSED, "Connection refused"), None),
    ],
)
def test_a_place_that_cannot_be_used_is_one_sentence(
    error: OSError,
    said: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the operating system refuses is said like our own errors, and where it happened is logged for `--verbose`;
    what is no file's fault stays a traceback."""

    def app(args: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    caplog.set_level(logging.INFO)
    with pytest.raises(SystemExit if said else OSError) as left:
        cli.main([])
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == ([error] if said else [])
    assert getattr(left.value, "code", 2) == 2
    assert capsys.readouterr().err.startswith(f"r1sgg: {said}" if said else "")
