"""The table `auth` of a store: the method that it names, whose parameters are the options of the table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from strongroom.errors import ConfigurationError, did_you_mean, shown
from strongroom.paths import check_option
from strongroom_vault.auth import Auth
from strongroom_vault.auth.approle import AppRole
from strongroom_vault.auth.aws import AWS
from strongroom_vault.auth.token import Agent, StaticToken, TokenFile
from strongroom_vault.auth.workload import JWT, Certificate, Kubernetes
from strongroom_vault.options import check_namespace

METHODS: Mapping[str, Callable[..., Auth]] = {
    "agent": Agent,
    "approle": AppRole,
    "aws": AWS,
    "cert": Certificate,
    "jwt": JWT,
    "kubernetes": Kubernetes,
    "token": StaticToken,
    "token-file": TokenFile,
}
"""The name of each method, and its class, whose fields are strings and paths."""


def read_auth(table: Mapping[str, str]) -> Auth:
    """Return the method that the table names, with its options.

    Raises:
        ConfigurationError: the method or an option is unknown, an option is missing, or a value cannot be right. Values
            are not shown: the method could be a token in the wrong place.
        VaultAuthenticationError: the method is `token`, and the token is empty.
        PluginError: a package that the method needs is not installed.
    """
    options = {option: value for option, value in table.items() if option != "method"}
    # The name that is shown is ours: the given text is redacted, and may be a token.
    name = next((name for name in METHODS if name == table.get("method")), None)
    if name is None:
        near = did_you_mean(table.get("method"), METHODS)
        raise ConfigurationError(f"auth.method: it must be one of {', '.join(METHODS)}{near}")
    known = inspect.signature(METHODS[name], eval_str=True).parameters
    for option in options:
        if option not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ConfigurationError(f"auth.{shown(option)}: the method '{name}' has no such option; {takes}")
    for option, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise ConfigurationError(f"auth.{option}: the method '{name}' needs it")
    return METHODS[name](**{option: _value(option, text, known[option].annotation) for option, text in options.items()})


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
