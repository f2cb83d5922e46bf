"""How the documentation is built."""

from __future__ import annotations

from usher_pipeline import __version__

project = "usher_pipeline"
author = "usher_pipeline maintainers"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {release}"
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
# Attributes of a class are fields of its own text, not objects beside those of the source.
napoleon_use_ivar = True
# A name in single backticks is one of ours wherever there is one of that name.
default_role = "py:obj"
# Names of other projects lead nowhere without their inventories, which would have to be
# fetched; a full name of ours that leads nowhere is a mistake and fails the build.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!usher_pipeline\.).*"),
    # Type variables have no entry: a single capital, or a name that ends in T.
    (r"py:.*", r"usher_pipeline\.(?:\w+\.)*(?:[A-Z]|[A-Z]\w*T)"),
    # What a decorator with options returns is for type checkers alone.
    (r"py:.*", r"usher_pipeline\.decorator\._Decorator"),
]
