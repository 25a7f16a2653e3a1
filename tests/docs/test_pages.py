"""The documentation says what the code does: nothing loose, nothing made up, nothing left out."""

from __future__ import annotations

import configparser
import doctest
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import flask_authx
from flask_authx import AuthXException, ErrorType
from flask_authx.settings.options import Settings
from tests.support import ROOT
from tests.support.corpus import check_all

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.rst"))
PACKAGE = ROOT / "flask_authx"
SOURCES = sorted(PACKAGE.rglob("*.py"))
SETTINGS = {"JWT_" + one.name.upper() for one in fields(Settings) if one.init}
#: Languages of code that nothing here can run; Python is not among them.
UNTESTED = {"console", "http", "json", "text", "html+jinja"}
#: Names that AuthX has for settings of ours.
OTHER_NAMES = {"JWT_SESSION_TRACKING"}


def extension(name: str) -> ModuleType:
    """One of the modules that write the reference."""
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def reference() -> Any:
    return extension("authx_reference")


def directives(page: Path) -> Iterator[tuple[str, str, str]]:
    """Name, argument and following options of each directive on a page."""
    pattern = re.compile(r"^ *\.\. ([\w:-]+):: *(.*)\n((?: +:.*\n)*)", re.MULTILINE)
    yield from pattern.findall(page.read_text("utf-8"))


# Code


def test_code_comes_from_tested_files() -> None:
    """USERS 5 113: every snippet executes. The other tests in this folder run them."""
    check_all({page.stem: page for page in PAGES}, code_is_tested)


def code_is_tested(page: Path) -> None:
    text = page.read_text("utf-8")
    for name, argument, options in directives(page):
        if name in {"code-block", "code", "sourcecode", "highlight"}:
            assert argument in UNTESTED, f"loose code in {argument or 'no language'}"
        if name == "literalinclude":
            target = (DOCS / argument).resolve()
            assert target.is_file(), f"there is no {argument}"
            assert target.is_relative_to(ROOT / "examples"), f"{argument} is not tested"
            assert "python" in options or target.suffix != ".py", f"no language for {argument}"
            for marker in re.findall(r":(?:start-after|end-before): (.+)", options):
                count = target.read_text("utf-8").count(marker)
                assert count == 1, f"{marker} is {count} times in {argument}"
    # A paragraph that ends in two colons begins a block of code in no language.
    assert re.findall(r"^(?!\s*\.\. ).*\S::$", text, re.MULTILINE) == []
    failed, _ = doctest.testfile(str(page), module_relative=False)
    assert failed == 0, f"{failed} doctests failed"


def test_every_part_of_every_snippet_is_shown() -> None:
    shown = "\n".join(page.read_text("utf-8") for page in PAGES)
    markers = {
        f"{marker} of {file.name}": marker
        for file in (ROOT / "examples" / "snippets").glob("*.py")
        for marker in re.findall(r"^# (\[\w+\])$", file.read_text("utf-8"), re.MULTILINE)
    }
    assert markers
    assert [name for name, marker in markers.items() if marker not in shown] == []


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.rst").read_text("utf-8")
    listed = {"index", *re.findall(r"^   ([\w-]+)$", index, re.MULTILINE)}
    assert {page.stem for page in PAGES} - listed == set()


# Settings


def test_every_setting_is_in_the_table_with_its_comment(reference: Any) -> None:
    blocks = reference.blocks()
    shown = [comment for block in blocks.values() for comment in block]
    assert {reference.setting_name(comment.name) for comment in shown} == SETTINGS
    assert [comment.name for comment in shown if not comment.text.endswith(".")] == []
    page = [argument for name, argument, _ in directives(DOCS / "settings.rst") if "sett" in name]
    assert page == list(blocks)


def test_defaults_are_shown_readably_and_keys_have_none(reference: Any) -> None:
    assert reference.default_of("access_token_expires") == "15 minutes"
    assert reference.default_of("refresh_token_expires") == "20 days"
    assert reference.default_of("decode_leeway") == "10 seconds"
    assert reference.default_of("cache_size") == "10 MiB"
    assert reference.default_of("json_methods") == "``PATCH``, ``POST``, ``PUT``"
    assert reference.default_of("protect_all") == "``False``"
    assert reference.default_of("store_timeout") == "0.25 seconds"
    assert reference.default_of("clock_skew") == "1 second"
    assert reference.default_of("prune_on_write") == "``100``"
    assert reference.default_of("blocklist_on_error") == "``refuse``"
    assert reference.default_of("blocklist") == reference.default_of("audit") == "none"
    assert reference.default_of("session_details") == "none"
    assert reference.default_of("session_lifetime") == "90 days"
    secret = {one.name for one in fields(Settings) if not one.repr and one.init}
    assert secret >= {"secret_key", "private_key", "public_key"}
    assert {reference.default_of(name) for name in secret} == {"none"}


def mentioned(text: str) -> Iterator[str]:
    """Names of settings in a text; ``JWT_X_*`` stands for all that begin with ``JWT_X_``."""
    yield from re.findall(r"(?<![A-Z])JWT_(?:[A-Z_]*[A-Z])?(?:_?\*)?", text)


def exists(name: str) -> bool:
    if name.endswith("*"):
        return any(setting.startswith(name.rstrip("*")) for setting in SETTINGS)
    # The prefix alone, and what stands for any name in the parsers' messages.
    return name in SETTINGS | OTHER_NAMES or name in {"JWT_", "JWT_X"}


def test_every_setting_that_is_named_exists() -> None:
    # The guide for migrations names the settings of others, too.
    pages = [page for page in PAGES if page.stem != "migrating"]
    examples = (ROOT / "examples").rglob("*.py")
    files = [*pages, *SOURCES, ROOT / "README.md", *examples]

    def names_exist(file: Path) -> None:
        assert [name for name in mentioned(file.read_text("utf-8")) if not exists(name)] == []

    check_all({str(file.relative_to(ROOT)): file for file in files}, names_exist)


def test_names_of_settings_are_recognised() -> None:
    assert list(mentioned("JWT_REALMS, FLASK_JWT_REALM JWT_PREVIOUS_*, ``JWT_``")) == [
        "JWT_REALMS",
        "JWT_REALM",
        "JWT_PREVIOUS_*",
        "JWT_",
    ]
    assert not exists("JWT_REALMS")
    assert not exists("JWT_PREVIUS_*")


# Errors, names, modules


def test_every_error_is_in_the_reference(reference: Any) -> None:
    listed = list(reference.error_classes())
    public = {
        value
        for value in vars(flask_authx).values()
        if isinstance(value, type) and issubclass(value, AuthXException)
    }
    assert set(listed) == public
    assert all(error.__doc__ for error in listed)
    names = {name for name, _, _ in directives(DOCS / "errors.rst")}
    assert {"authx-errors", "authx-members", "py:exception"} <= names


def test_every_error_type_is_explained() -> None:
    comments = extension("comments").comments_of(flask_authx.errors, "ErrorType")
    assert {comment.name for comment in comments if comment.text} == set(ErrorType.__members__)


def test_example_responses_are_the_real_ones(reference: Any) -> None:
    assert reference.answer(flask_authx.MissingTokenError) == (
        "HTTP/1.1 401 Unauthorized\n"
        "Content-Type: application/json\n"
        "Cache-Control: no-store\n"
        'WWW-Authenticate: Bearer realm="api"\n'
        "\n"
        '{"msg": "A token is required", "error_type": "MissingTokenError"}'
    )


def test_every_public_name_is_in_the_api_reference() -> None:
    words = {*re.findall(r"\w+", (DOCS / "api.rst").read_text("utf-8"))}
    assert {*flask_authx.__all__} - words == set()


def test_every_module_is_in_the_picture_and_on_the_page() -> None:
    modules = {file.stem for file in SOURCES} - {"__init__"}
    packages = {file.parent.name for file in PACKAGE.rglob("__init__.py")} - {PACKAGE.name}
    rooms = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    rooms |= {file.stem for file in PACKAGE.glob("*.py")} - {"__init__"}
    picture = extension("picture")
    assert {*picture.rooms()} == rooms
    shown = picture.svg()
    page = (DOCS / "architecture.rst").read_text("utf-8")
    names = sorted(modules | packages)
    assert [name for name in names if f"``{name}``" not in page] == []
    assert [name for name in names if name not in shown] == []


def test_the_files_that_the_architecture_page_names_exist() -> None:
    """Also those in which the solutions of its guess test are."""
    page = (DOCS / "architecture.rst").read_text("utf-8")
    paths = re.findall(r"     - ``([a-z_/]+)``\n", page)
    paths += [module for _, module, _ in extension("picture").LINE]
    assert len(paths) >= 20
    files = {path: PACKAGE / path for path in paths}
    assert [
        path
        for path, file in files.items()
        if not file.with_suffix(".py").is_file() and not file.is_dir()
    ] == []


def test_the_picture_shows_the_order_of_the_import_contract() -> None:
    contract = configparser.ConfigParser()
    contract.read(ROOT / "setup.cfg")
    layers = contract["importlinter:contract:layers"]["layers"].strip().splitlines()
    layer = {
        name: place
        for place, line in enumerate(line for line in layers if not line.startswith("#"))
        for name in re.findall(r"\w+", line)
    }
    shown = extension("picture").rooms()
    assert [layer[name] for name in shown] == sorted(layer[name] for name in shown)


def test_every_command_is_described() -> None:
    from flask_authx import cli

    described = {
        argument for name, argument, _ in directives(DOCS / "cli.rst") if name == "authx-command"
    }
    assert described == set(cli.authx.commands)


def test_comments_are_read_in_order_and_blank_lines_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "commented.py").write_text(
        "class A:\n    #: One,\n    #: and more.\n    one: int = 1\n    two = 2\n"
        "\n    #: Three.\n    three = 3\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    module = importlib.import_module("commented")
    found = [
        (comment.name, comment.text, comment.after_blank)
        for comment in extension("comments").comments_of(module, "A")
    ]
    assert found == [
        ("one", "One, and more.", False),
        ("two", "", False),
        ("three", "Three.", True),
    ]
