"""Plugins of a backend, such as the authentication methods of `strongroom_vault`, in a separate entry-point group.

The group's name begins with the backend's package, such as `strongroom_vault.auth`: `strongroom plugins` lists it.
Errors and output of an extension are contained as those of a store are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from strongroom._boundary.translation import AnswerError, contained
from strongroom._plugins import Opener, load
from strongroom._plugins.distributions import by_name, described, entry_point, missing
from strongroom.errors import PluginError
from strongroom.store._plugin_calls import plugin_code

_R = TypeVar("_R")
_OWN = "strongroom"


class Extension(NamedTuple):
    """A loaded extension.

    Attributes:
        group: the group of its entry point.
        name: the name of its entry point.
        distribution: the name and version of its distribution.
        own: it comes with Strongroom.
        target: the object that the entry point names.
    """

    group: str
    name: str
    distribution: str
    own: bool
    target: Opener

    def call(self, operation: Callable[[], _R], *given: object) -> _R:
        """Return the result of code of the extension.

        Args:
            operation: calls the extension.
            given: the values that the operation passes on, which no error shows.

        Raises:
            StrongroomError: the extension's own error, built anew.
            PluginError: a package that the extension needs is not installed.
            StoreError: any other exception, also SystemExit. Its hint names the extension, and no message is shown.
            BaseException: an exception that a signal handler raised.
        """

        def run() -> _R | ImportError:
            try:
                with plugin_code():
                    return operation()
            except ImportError as error:
                return error

        hint = f"This is a bug in the plugin {self.name} of {self.distribution}"
        result = contained(run, "", hint=hint, known=() if self.own else given)
        if isinstance(result, ImportError):
            raise PluginError(missing(entry_point(self.group, self.name), result))
        return result

    def wrong_answer(self, method: str, answer: object, expected: str) -> Exception:
        """Return the exception to raise within `call` for an answer of a wrong type. It shows no value."""
        return AnswerError(f"{method}() returned {type(answer).__name__}, expected {expected}")


def extension_names(group: str) -> list[str]:
    """Return the names of the installed extensions of a group. None of them is loaded."""
    return sorted(by_name(group))


def load_extension(group: str, name: str) -> Extension:
    """Return an installed extension.

    Raises:
        PluginError: it is not installed, is claimed by two distributions, or cannot be loaded.
    """
    target = load(group, name)
    point = entry_point(group, name)
    own = point.dist is not None and point.dist.name == _OWN
    return Extension(group, name, described(point), own, target)
