"""The rules that hold between options: which addresses a store may have, and which credentials may go there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from strongroom.config import DOTENV, Rank, StoreConfig
from strongroom.errors import ConfigurationError
from strongroom.plugins.options import Schema
from strongroom.plugins.setting import Setting


def check(store: StoreConfig, schema: Schema, settings: Mapping[str, Setting], *, production: bool) -> None:
    """Refuses settings that are each right, and wrong together or in production.

    Raises:
        ConfigurationError: an address is not allowed, an ambient credential would go to an address that only a file
            found in the working directory gave, or production would read `./.env`.
    """
    for name, setting in settings.items():
        option = schema.options[name].option
        if option.address:
            _check_addresses(setting, production=production)
        if option.sent_to:
            _check_ambient(store, name, setting, settings.get(option.sent_to))
    if production and store.plugin == DOTENV:
        _check_dotenv(store, settings.get("file"))


def _check_addresses(setting: Setting, *, production: bool) -> None:
    value = setting.value
    for address in value if isinstance(value, list) else [value]:
        if address is not None:
            _check_address(str(address), setting.origin, production=production)


def _check_ambient(store: StoreConfig, name: str, credential: Setting, address: Setting | None) -> None:
    """Refuses a credential that nobody meant for the address: a stranger's folder must not be able to ask for it."""
    if credential.rank > Rank.PROCESS or address is None or not address.found or credential.found == address.found:
        return
    raise ConfigurationError(
        f"The store {store.name} has its {name} from {credential.origin}, which does not go to an address that only "
        f"{address.found} gives: name the {name}'s source there too, or give the address where the {name} comes from"
    )


def _check_dotenv(store: StoreConfig, file: Setting | None) -> None:
    """In production a `.env` file is read only where another one is written down: `./.env` is a developer's."""
    default = Path(".env").absolute()
    if file is None or (isinstance(file.value, Path) and file.value.absolute() == default):
        raise ConfigurationError(
            f"{store.origin}: production reads no ./.env: leave the store {store.name} out, or name another `file`"
        )


def _check_address(address: str, origin: str, *, production: bool) -> None:
    """Refuses an address with a password in it, and in production one that is neither https nor loopback.

    Raises:
        ConfigurationError: names the source, and of the address its scheme and host alone.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        parts, host = None, None
    # Outside the `except`, whose error quotes the address.
    if parts is None or not parts.scheme or not host:
        raise ConfigurationError(f"{origin}: must be a URL such as https://vault.example:8200")
    if "@" in parts.netloc:
        raise ConfigurationError(f"{origin}: a URL holds no user or password here")
    if production and parts.scheme != "https" and not _is_loopback(host):
        raise ConfigurationError(
            f"{origin}: {parts.scheme}://{host} is not https, and production talks in the clear to loopback alone"
        )


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
