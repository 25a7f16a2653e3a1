"""How the documentation is built: from Markdown, without the package, without a network."""

import tomllib
from pathlib import Path

project = "Flask-AuthX"
copyright = "the Flask-AuthX contributors"
_pyproject = Path(__file__).parent.parent / "pyproject.toml"
version = release = tomllib.loads(_pyproject.read_text("utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["_build"]

# "> [!NOTE]" is an admonition here and on code forges.
myst_enable_extensions = ["alert"]
# Links to a heading of another page, as code forges write them.
myst_heading_anchors = 4

# A block of code says what it is in; nothing is taken for Python silently.
highlight_language = "none"

html_theme = "furo"
html_title = f"Flask-AuthX {version}"
html_static_path = ["_static"]
html_search_scorer = str(Path(__file__).parent / "_ext" / "scorer.js")
html_copy_source = False
html_show_sphinx = False
