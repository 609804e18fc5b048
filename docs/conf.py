"""How Sphinx builds the documentation: `nox -s docs`."""

import sys
from importlib.metadata import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

_project = metadata("strongroom")

project = "Strongroom"
author = copyright = "The Strongroom maintainers"
release = version = _project["Version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "api_pages",
    "command_pages",
    "descriptions",
    "option_pages",
]
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
exclude_patterns = ["_build", "examples", "reference/command-line/help", "**/_*.md"]  # examples' own pages, and parts
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "py:obj"  # in docstrings, `name` is a link if the name is public, and code otherwise
autodoc_typehints = "signature"
napoleon_use_ivar = True  # a directive for each attribute would describe it twice
autodoc_member_order = "bysource"
strip_signature_backslash = True  # a parameter such as `as_` keeps its underscore

# Docstrings name many classes of Python and of ours that no page of this site has.
nitpick_ignore_regex = [("py:.*", r"[\s\S]*")]

suppress_warnings = ["misc.highlighting_failure"]  # Pygments expects Terraform in a block of HCL

html_theme = "furo"
html_title = f"Strongroom {release}"
html_static_path = ["static"]
html_css_files = ["strongroom.css"]
html_favicon = "static/favicon.svg"
html_search_scorer = str(Path(__file__).parent / "static" / "scorer.js")
html_copy_source = False
