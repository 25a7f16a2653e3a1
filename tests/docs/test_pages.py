"""The documentation says what the code does: nothing loose, nothing made up, nothing left out."""

from __future__ import annotations

import configparser
import contextlib
import importlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import flask_authx
from flask_authx import AuthXException, ErrorType, cli
from flask_authx.settings.options import Settings
from tests.docs.support import DOCS, page
from tests.support import ROOT
from tests.support.corpus import check_all

PAGES = sorted(DOCS.glob("*.md"))
#: What is read on a code forge and in an editor as well.
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PACKAGE = ROOT / "flask_authx"
SOURCES = sorted(PACKAGE.rglob("*.py"))
SETTINGS = {"JWT_" + one.name.upper() for one in fields(Settings) if one.init}
#: Languages of code that nothing here can run; Python is not among them.
UNTESTED = {
    *("console", "css", "html", "html+jinja", "http", "ini", "javascript", "js", "json", "nginx"),
    *("sh", "sql", "text", "toml", "yaml"),
}
#: Names that AuthX has for settings of ours.
OTHER_NAMES = {"JWT_SESSION_TRACKING"}
#: What the page for troubleshooting shows the error of.
MISSPELT = {"JWT_ACCES_TOKEN_EXPIRES"}


def extension(name: str) -> ModuleType:
    """One of the modules that write parts of the pages."""
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def reference() -> Any:
    return extension("reference")


def by_name(files: list[Path]) -> dict[str, Path]:
    return {str(file.relative_to(ROOT)): file for file in files}


# Code


#: Signatures, which are no programs; and pages of several programs, which tests of their own run.
NO_PROGRAM = {"api", "migrating", "works-with"}


@pytest.mark.parametrize("name", [one.stem for one in PAGES if one.stem not in NO_PROGRAM])
def test_the_code_of_a_page_runs(name: str) -> None:
    """USERS 5 113: every snippet executes."""
    with page(name):
        pass


def fences(text: str) -> Iterator[tuple[str, str]]:
    """Language and code of each block."""
    for found in re.finditer(r"^( *)```([^\n]*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        yield found[2], found[3]


def test_every_block_of_code_is_run_or_in_a_language_that_is_not() -> None:
    def check(file: Path) -> None:
        text = file.read_text("utf-8")
        found = [*fences(text)]
        assert text.count("```") == 2 * len(found), "a fence that is not closed"
        languages = {language for language, _ in found} - UNTESTED
        # The one directive, of Sphinx: the table of contents.
        assert languages - ({"{toctree}"} if file.name == "index.md" else set()) <= {"python"}
        # A file that gevent's worker reads would change this process.
        assert text.count("<!--- skip") == (file.name == "works-with.md"), "Python that is not run"

    check_all(by_name(TEXTS), check)


def test_blocks_are_copied_without_a_prompt() -> None:
    def check(file: Path) -> None:
        blocks = [code for _, code in fences(file.read_text("utf-8"))]
        assert [
            line for code in blocks for line in code.splitlines() if line.startswith("$ ")
        ] == []

    check_all(by_name(TEXTS), check)


# Text


def test_a_page_reads_whole_as_text() -> None:
    """No directives or roles, which only Sphinx understands."""

    def check(file: Path) -> None:
        text = file.read_text("utf-8")
        assert re.findall(r"\{[a-z:]+\}`|:[a-z:]+:`|^\.\. \w+|^:::", text, re.MULTILINE) == []

    check_all(by_name(TEXTS), check)
    assert [*DOCS.glob("*.rst")] == []


def anchors(text: str) -> set[str]:
    """Those of a page's headings, as code forges and MyST write them."""
    outside = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", outside, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def test_links_lead_to_files_and_headings() -> None:
    def check(file: Path) -> None:
        lost: list[str] = []
        text = re.sub(r"```.*?```", "", file.read_text("utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if re.match(r"https?:", target):
                continue
            to = (file.parent / path).resolve() if path else file
            if not to.exists() or (anchor and anchor not in anchors(to.read_text("utf-8"))):
                lost.append(target)
        assert lost == []

    check_all(by_name(TEXTS), check)


def test_the_anchors_of_headings_are_recognised() -> None:
    text = (
        "# JWT_SESSIONS\n```sh\n# no heading\n```\n## AuthX.login\n### Who? What!\n## AuthX.login\n"
    )
    assert anchors(text) == {"jwt_sessions", "authxlogin", "who-what", "authxlogin-1"}


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    toctrees = [code for language, code in fences(index) if language == "{toctree}"]
    listed = {
        line for code in toctrees for line in code.splitlines() if re.fullmatch(r"[\w-]+", line)
    }
    assert {one.stem for one in PAGES} == listed | {"index"}


def test_a_page_begins_with_its_title_and_what_the_reader_can_do() -> None:
    def check(file: Path) -> None:
        text = re.sub(r"<!--.*?-->\n*", "", file.read_text("utf-8"), flags=re.DOTALL)
        assert re.match(r"# \S.*\n\n[A-Z`*\[]", text), "no title, or no sentence after it"

    check_all(by_name(PAGES), check)


def test_what_is_written_from_the_code_is_as_the_code_says() -> None:
    """Otherwise: make tables."""
    # It has no types.
    cogapp: Any = importlib.import_module("cogapp")
    output = io.StringIO()
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            arguments = ["-p", "import reference", "--check", *map(str, PAGES)]
            result = cogapp.Cog().main(["cog", *arguments])
    finally:
        sys.path.pop(0)
    assert result == 0, f"make tables has not been run:\n{output.getvalue()}"
    picture = extension("picture")
    assert picture.FILE.read_text("utf-8") == picture.svg(), "make tables has not been run"


# Settings


def headings(name: str) -> list[str]:
    """The headings of a page, without their marks."""
    text = (DOCS / f"{name}.md").read_text("utf-8")
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def test_every_setting_has_a_heading_and_its_comment(reference: Any) -> None:
    blocks = reference.blocks()
    shown = [comment for block in blocks.values() for comment in block]
    names = [reference.setting_name(comment.name) for comment in shown]
    assert {*names} == SETTINGS
    assert [comment.name for comment in shown if not comment.text.endswith(".")] == []
    assert [one for one in headings("settings") if one.startswith("JWT_")] == names


def test_defaults_are_shown_readably_and_keys_have_none(reference: Any) -> None:
    assert reference.default_of("access_token_expires") == "15 minutes"
    assert reference.default_of("refresh_token_expires") == "20 days"
    assert reference.default_of("decode_leeway") == "10 seconds"
    assert reference.default_of("cache_size") == "10 MiB"
    assert reference.default_of("json_methods") == "`PATCH`, `POST`, `PUT`"
    assert reference.default_of("protect_all") == "`False`"
    assert reference.default_of("store_timeout") == "0.25 seconds"
    assert reference.default_of("clock_skew") == "none"
    assert reference.default_of("prune_on_write") == "`100`"
    assert reference.default_of("blocklist_on_error") == "`refuse`"
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
    return name in SETTINGS | OTHER_NAMES | MISSPELT or name in {"JWT_", "JWT_X"}


def test_every_setting_that_is_named_exists() -> None:
    # The guide for migrations names the settings of others, too.
    pages = [one for one in TEXTS if one.stem != "migrating"]
    files = [*pages, *SOURCES, *(ROOT / "examples").rglob("*.py")]

    def names_exist(file: Path) -> None:
        assert [name for name in mentioned(file.read_text("utf-8")) if not exists(name)] == []

    check_all(by_name(files), names_exist)


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
    names = {error.__name__ for error in listed} | {"BadConfigurationError"}
    assert names - {*headings("errors")} == set()


def test_every_error_type_is_explained() -> None:
    comments = extension("comments").comments_of(flask_authx.errors, "ErrorType")
    assert {comment.name for comment in comments if comment.text} == set(ErrorType.__members__)


def test_example_responses_are_the_real_ones(reference: Any) -> None:
    assert reference.answer("MissingTokenError") == (
        "```http\n"
        "HTTP/1.1 401 Unauthorized\n"
        "Content-Type: application/json\n"
        "Cache-Control: no-store\n"
        'WWW-Authenticate: Bearer realm="api"\n'
        "\n"
        '{"msg": "A token is required", "error_type": "MissingTokenError"}\n'
        "```"
    )


def test_docstrings_are_written_as_markdown(reference: Any) -> None:
    assert reference.markdown("``None``: see :meth:`~flask_authx.AuthX.login` or :exc:`X`.") == (
        "`None`: see `login()` or `X`."
    )


def test_every_public_name_is_in_the_api_reference() -> None:
    words = {*re.findall(r"\w+", (DOCS / "api.md").read_text("utf-8"))}
    assert {*flask_authx.__all__} - words == set()


def test_every_public_method_has_a_heading_with_its_signature() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    methods = [name for name in vars(flask_authx.AuthX) if not name.startswith("_")]
    assert methods
    assert [name for name in methods if f"### AuthX.{name}\n\n```python\n{name}(" not in text] == []
    # As written in the code, and without addresses.
    assert not re.search(r"TypeAliasForwardRef|\bself\b|Unpack|<\w+ \w+ at 0x|<built-in", text)


def test_every_module_is_in_the_picture_and_on_the_page() -> None:
    modules = {file.stem for file in SOURCES} - {"__init__"}
    packages = {file.parent.name for file in PACKAGE.rglob("__init__.py")} - {PACKAGE.name}
    rooms = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    rooms |= {file.stem for file in PACKAGE.glob("*.py")} - {"__init__"}
    picture = extension("picture")
    assert {*picture.rooms()} == rooms
    shown = picture.svg()
    text = (DOCS / "architecture.md").read_text("utf-8")
    names = sorted(modules | packages)
    assert [name for name in names if f"`{name}`" not in text] == []
    assert [name for name in names if name not in shown] == []


def test_the_files_that_the_architecture_page_names_exist() -> None:
    """Also those in which the solutions of its guess test are."""
    text = (DOCS / "architecture.md").read_text("utf-8")
    paths = re.findall(r"^\| .* \| `([a-z_/]+)` \|$", text, re.MULTILINE)
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
    assert {*cli.authx.commands} - {*headings("cli")} == set()


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
