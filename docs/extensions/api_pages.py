"""Parts of signatures and docstrings that the pages of the API leave out.

The fixtures of a contract's test are not arguments that an author passes, "Alias for field number 3" describes no field
of a tuple, and the checks of a configuration's fields are functions of this process.
"""

from __future__ import annotations

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def signature(
    _app: Sphinx, what: str, name: str, _object: object, _options: object, arguments: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Show a test of a contract without its fixtures, and a class without arguments that show functions."""
    if what in {"method", "function"} and name.rpartition(".")[2].startswith("test_"):
        return "()", None
    return ("", result) if " at 0x" in (arguments or "") else (arguments, result)


def docstring(_app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Drop the docstring that Python itself gives the field of a named tuple."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()
