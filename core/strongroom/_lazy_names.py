"""Names of a package that are imported at their first use (PEP 562), so that importing it loads little."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType


def lazy_names(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package. Type checkers read its imports for them instead.

    `__dir__` lists these names, and the submodules that are imported: nothing that the package itself uses.

    Args:
        package: the `__name__` of the package.
        modules: the names that each module provides, with spaces between them.
    """
    sources = {name: module for module, names in modules.items() for name in names.split()}

    def attribute(name: str) -> object:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(sources[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        own = vars(sys.modules[package]).items()
        kept = (name for name, value in own if name.startswith("__") or isinstance(value, ModuleType))
        return sorted({*kept, *sources})

    return attribute, names, sorted(sources)
