"""Annotations for the options of a plugin's opener."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """What a hint cannot say of an option: written as `Annotated[str, Option(...)]` in the opener's signature.

    Attributes:
        help: one line for `strongroom stores`.
        ambient: environment variables that give it where nothing else does, the first one that is set.
        secret: its value is never shown.
        address: it holds the URL of a service, or a list of them. In production that is https, or loopback. An option
            that takes a list takes one text with commas between the URLs too.
        sent_to: for a credential, the option that holds the address it goes to. An ambient credential is refused where
            only a file found in the working directory gave that address.
        vouches_for: for a setting that says whom to trust at an address (authorities, a name, no verification), the
            option that holds the address. A credential is as ambient to it as it is to the address.
        location: the LOCATION of `PLUGIN:LOCATION` on a command line gives it. Where several options say so, each but
            the last one, in their order, takes one segment of it up to a slash.
        place: it says where the store's secrets are, as an address and a location do, such as a namespace or a region:
            a write names it first.
    """

    help: str = ""
    ambient: tuple[str, ...] = ()
    secret: bool = False
    address: bool = False
    sent_to: str | None = None
    vouches_for: str | None = None
    location: bool = False
    place: bool = False
