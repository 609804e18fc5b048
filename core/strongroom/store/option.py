"""Annotations for the options of a plugin's opener. Separate from the protocols: stores do not need it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from strongroom.secret import Value

_LARGEST_FILE = 1 << 16
_VARIABLE = r"[A-Z][A-Z0-9_]+"

_O = TypeVar("_O", bound=Callable[..., object])


class Option(NamedTuple):
    """Details of an option that its type cannot express, as `Annotated[str, Option(...)]` in the opener's signature.

    A `TypedDict` that the opener unpacks, as `**options: Unpack[Options]`, may have the annotation too.

    Attributes:
        help: one line for `strongroom stores`.
        ambient: environment variables that set the option if nothing else does. The first one that is set counts.
        secret: the value is never shown.
        address: the value is the URL of a service, or a list of URLs. In production it must have one of `tls_schemes`,
            or a loopback host. A list option also accepts one text with commas between the URLs.
        tls_schemes: for an address, the URL schemes that mean TLS, in lower case, such as ("rediss",).
        sent_to: for a credential, or an option that chooses one: the option with the address that receives it, or a
            tuple of several, such as of a token server and of the service. An ambient credential is refused if only a
            file found in the working directory set such an address.
        verifies: for a setting that decides which server is trusted at an address (CA, server name, no
            verification): the option with the address. A file found in the working directory
            must not set it for another source's address, nor for an ambient credential.
        location: the LOCATION of `PLUGIN:LOCATION` on a command line sets the option. If several options do this, each
            but the last one takes one segment, up to a slash, in their order.
        locates: the value locates the secrets, such as an address, a namespace or a region. A write shows it first.
        recipients: the value decides who can read what is written, such as a KMS key.
        credential_variables: value -> the environment variables from which the store reads credentials because of this
            value, as `Traits.credential_variables`.
        identity: value -> the contents, beyond the value, that decide which secret a path is and who reads it, for the
            disk cache; None if only the service knows. By default these are the contents of the files and variables
            that the value names. It is called for an option that is not set too, with None.
        fault: value -> why no store can be opened with it, as a clause without the value; empty if one may be. It is
            called for each configured store when a manager is made, so it imports little.

    The command line uses an address, what locates secrets, recipients, and what is sent to or verifies an address, of
    a file that was found in the working directory, only after `strongroom trust`.
    """

    help: str = ""
    ambient: tuple[str, ...] = ()
    secret: bool = False
    address: bool = False
    sent_to: str | tuple[str, ...] | None = None
    verifies: str | None = None
    location: bool = False
    locates: bool = False
    recipients: bool = False
    credential_variables: Callable[[Any], Iterable[str]] | None = None
    tls_schemes: tuple[str, ...] = ("https",)
    identity: Callable[[Any], Mapping[str, Any] | None] | None = None
    fault: Callable[[Any], str] | None = None

    @property
    def receivers(self) -> tuple[str, ...]:
        """The names of `sent_to`."""
        return (self.sent_to,) if isinstance(self.sent_to, str) else self.sent_to or ()

    @property
    def needs_trust(self) -> bool:
        """Whether the value decides where secrets or credentials go, or who can read them."""
        linked = self.sent_to is not None or self.verifies is not None
        return linked or self.address or self.location or self.locates or self.recipients


def checked_by(check: Callable[..., object], *, removed: Mapping[str, str] | None = None) -> Callable[[_O], _O]:
    """Return a decorator that gives an opener its `check`: `opener.check = check`, which type checkers refuse.

    Args:
        check: takes the opener's options, and raises `ConfigurationError("OPTION: what is wrong")`. `strongroom config
            check` calls it. It must not open the store.
        removed: options that earlier releases of the plugin had, each with what takes its place, as the end of a
            message. The opener has them as its attribute `removed`.
    """

    def decorate(opener: _O) -> _O:
        opener.check = check  # type: ignore[attr-defined]
        opener.removed = dict(removed or {})  # type: ignore[attr-defined]
        return opener

    return decorate


def is_loopback(host: str) -> bool:
    """Return True if the host is `localhost` or an IP address of this machine's loopback interface."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def named_contents(value: Any) -> dict[str, Value]:
    """Return the contents of the files and variables that an option's value names, for `Option.identity`.

    Args:
        value: a value of the configuration, with texts in the place of paths.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return {name: content for item in value for name, content in named_contents(item).items()}
    if not isinstance(value, str):
        return {}
    if re.fullmatch(_VARIABLE, value) and value in os.environ:
        return {value: os.environ[value]}
    return _file_contents(value)  # a relative file too: services with equal options run in different folders


def _file_contents(name: str) -> dict[str, Value]:
    """Return the path of the file with its content; nothing if it cannot be read."""
    from pathlib import Path  # here, since every import of Strongroom loads this module

    from strongroom.files.bounded import read_bytes

    try:
        file = Path(name).expanduser()
        return {str(file): read_bytes(file, _LARGEST_FILE)[0]}
    except (OSError, ValueError, RuntimeError):
        return {}
