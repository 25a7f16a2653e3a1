"""How the documentation is built: no network, warnings are errors (see the Makefile)."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Flask-AuthX"
copyright = "the Flask-AuthX contributors"
version = release = version_of("flask-authx")

extensions = ["sphinx.ext.autodoc", "authx_reference", "picture"]
exclude_patterns = ["_build"]

# A block of code says what it is in; nothing is taken for Python silently.
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    name: name for name in ("TokenTypeName", "Locations", "Decorator", "Uid", "Expiry")
}
python_maximum_signature_line_length = 88

# What we name of our own must exist. What belongs to others is not looked up: that needs a network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!flask_authx\.).*"),
    # Type variables: a view or a callback, which comes back as what it was.
    (r"py:class", r"flask_authx\.extension\.[CFT]"),
    # What the package hands to its own store, and no app has to make.
    (r"py:class", r"flask_authx\.stores\.sql\.uncommitted_writes\.Transaction"),
]

html_theme = "furo"
html_title = f"Flask-AuthX {version}"
html_static_path = ["_static"]
html_css_files = ["authx.css"]
html_copy_source = False
html_show_sphinx = False
