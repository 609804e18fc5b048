"""The table `auth` of a store: the method that it names, whose parameters are the options of the table.

A method is an entry point of the group `strongroom_vault.auth`: a class or a function that returns an `Auth`, and whose
parameters are strings and paths. The methods of this package are registered like those of other distributions.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from strongroom.errors import ConfigurationError, PluginError, shown
from strongroom.extensions import Extension, extension_names, load_extension
from strongroom.paths import check_option, check_prefix
from strongroom_vault.auth import Auth
from strongroom_vault.auth.third_party import contain

GROUP = "strongroom_vault.auth"
"""The entry-point group of the methods."""

_NAMED = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


def read_auth(table: Mapping[str, str]) -> Auth:
    """Return the method that the table names, with its options.

    Raises:
        ConfigurationError: the method or an option is unknown, an option is missing, or a value cannot be right. Values
            are not shown: the method could be a token in the wrong place.
        VaultAuthenticationError: the method is `token`, and the token is empty.
        PluginError: the method's plugin is broken, or a package that it needs is not installed.
        StoreError: the method's plugin raised another exception.
    """
    options = {option: value for option, value in table.items() if option != "method"}
    extension = _extension(table.get("method"))
    name, known = extension.name, _parameters(extension)
    for option in options:
        if option not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ConfigurationError(f"auth.{shown(option)}: the method '{name}' has no such option; {takes}")
    for option, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise ConfigurationError(f"auth.{option}: the method '{name}' needs it")
    given = {option: _value(option, text, known[option].annotation) for option, text in options.items()}
    if not extension.own:
        return contain(extension, given)
    auth: Auth = extension.target(**given)  # type: ignore[assignment]  # of this package
    return auth


def credential_variables(method: str) -> tuple[str, ...]:
    """Return the environment variables from which a method reads credentials, as its class says.

    `strongroom run` withholds them from its command. A method that cannot be loaded has none.
    """
    try:
        names = getattr(_extension(method).target, "credential_variables", ())
    except (ConfigurationError, PluginError):
        return ()
    return names if isinstance(names, tuple) and all(isinstance(name, str) for name in names) else ()


def _extension(method: str | None) -> Extension:
    names = extension_names(GROUP)
    # The name that is loaded and shown is the installed one: the given text is redacted, and may be a token.
    found = next((name for name in names if name == method), None)
    if found is None:
        raise ConfigurationError(f"auth.method: it must be one of {', '.join(names)}")
    return load_extension(GROUP, found)


def _parameters(extension: Extension) -> Mapping[str, inspect.Parameter]:
    """Return the options of a method by name, each with its type as the annotation.

    Raises:
        PluginError: they cannot be read, or one has a type that the table cannot give.
    """
    about = f"The plugin {extension.name} of {extension.distribution} is broken"
    try:
        parameters = inspect.signature(extension.target, eval_str=True).parameters
    except (NameError, TypeError, ValueError, AttributeError) as error:
        fault = type(error).__name__
    else:
        for name, parameter in parameters.items():
            types = {parameter.annotation, *get_args(parameter.annotation)} - {type(None)}
            if parameter.kind not in _NAMED or not types & {str, Path}:
                raise PluginError(f"{about}: its option {name} is neither a string nor a path")
        return parameters
    raise PluginError(f"{about}: its signature cannot be read ({fault})")


def _value(option: str, text: str, hint: Any) -> Any:
    """Return the value of an option: a path, a mount, a namespace, or the text."""
    if Path in {hint, *get_args(hint)}:
        return _path(option, text)
    if option == "mount":
        return str(check_option("auth.mount", text.strip("/").removeprefix("auth/")))
    if option == "namespace":
        return check_namespace(text, "auth.namespace")
    if not text and option != "token":
        raise ConfigurationError(f"auth.{option}: it is empty")
    return text


def _path(option: str, text: str) -> Path:
    """Return an absolute path: a workload's credentials do not depend on its working directory."""
    if fault := _path_fault(text):
        raise ConfigurationError(f"auth.{option}: {fault}")
    return Path(text).expanduser()


def _path_fault(text: str) -> str:
    """Return the fault of the path, or the empty string. The text is not shown: it may be a credential by mistake."""
    if "\0" in text:
        return "it has a NUL"
    try:
        absolute = Path(text).expanduser().is_absolute()
    except RuntimeError:
        return "it is below a home folder that is not known"
    return "" if absolute else "it must be an absolute path, or begin with ~"


def check_namespace(text: str, option: str) -> str:
    """Return the namespace without surrounding slashes, `""` for the root.

    Raises:
        ConfigurationError: no header can hold it, or a segment of it is empty, `.` or `..`.
    """
    if not text.isascii() or not text.isprintable():
        raise ConfigurationError(f"{option}: it has a character that no namespace has")
    return check_option(option, str(text).strip("/"), check_prefix)
