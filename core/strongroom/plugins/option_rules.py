"""The rules that hold between options: which addresses a store may have, and which credentials may go there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from strongroom.config import DOTENV, Rank, StoreConfig
from strongroom.errors import ConfigurationError
from strongroom.plugins.option_schema import Schema
from strongroom.plugins.setting import Setting


def check(store: StoreConfig, schema: Schema, settings: Mapping[str, Setting], *, production: bool) -> None:
    """Refuses settings that are each right, and wrong together or in production.

    Raises:
        ConfigurationError: an address is not allowed, an ambient credential would go to an address that only a file
            found in the working directory gave, or to whom only such a file trusts there, or production would read
            `./.env`.
    """
    for name, setting in settings.items():
        option = schema.options[name].option
        if option.address:
            _check_addresses(setting, production=production)
        if option.sent_to:
            _check_ambient(store, name, setting, settings.get(option.sent_to), "an address that only {} gives")
            for other, trust in settings.items():
                if trust.value and schema.options[other].option.vouches_for == option.sent_to:
                    _check_ambient(store, name, setting, trust, f"whomever {other} of {{}} trusts")
    if production and store.plugin == DOTENV and ("file" in settings or "file" not in store.options):
        _check_dotenv(store, settings.get("file"))


def _check_addresses(setting: Setting, *, production: bool) -> None:
    """Refuses an address with a password in it, and in production one that is neither https nor loopback."""
    addresses = setting.value if isinstance(setting.value, list) else [setting.value]
    fault = next((fault for item in addresses if isinstance(item, str) and (fault := _fault(item, production))), None)
    if fault:
        raise ConfigurationError(f"{setting.origin}: {fault}")


def _check_ambient(store: StoreConfig, name: str, credential: Setting, setting: Setting | None, whom: str) -> None:
    """Refuses a credential that nobody meant for whom a setting says: a stranger's folder must not be able to ask.

    Args:
        store: whose credential it is.
        name: the credential's option.
        credential: the credential.
        setting: the address that it goes to, or what says whom to trust there.
        whom: those whom it would reach, in words, with `{}` for the file.
    """
    if credential.rank > Rank.PROCESS or setting is None or not setting.found or credential.found == setting.found:
        return
    raise ConfigurationError(
        f"The store {store.name} has its {name} from {credential.origin}, which does not go to "
        f"{whom.format(setting.found)}: name the {name}'s source there too, or say this where the {name} comes from"
    )


def _check_dotenv(store: StoreConfig, file: Setting | None) -> None:
    """In production a `.env` file is read only where another one is written down: `./.env` is a developer's."""
    default = Path(".env").absolute()
    if file is None or (isinstance(file.value, Path) and file.value.absolute() == default):
        raise ConfigurationError(
            f"{store.origin}: production reads no ./.env: leave the store {store.name} out, or name another `file`"
        )


def _fault(address: str, production: bool) -> str | None:  # noqa: FBT001  # the only other thing that matters
    """What is wrong with the address; of the address itself its scheme and host alone are shown."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        host = parts.hostname
        _ = parts.port  # one that is no port is only found out here
    except ValueError:
        return "must be a URL such as https://vault.example:8200"
    if not parts.scheme or not host:
        return "must be a URL such as https://vault.example:8200"
    if "@" in parts.netloc:
        return "a URL holds no user or password here"
    if production and parts.scheme != "https" and not _is_loopback(host):
        return f"{parts.scheme}://{host} is not https, and production talks in the clear to loopback alone"
    return None


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
