"""The rules that hold between options: which addresses a store may have, and which credentials may go there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from strongroom._config import DOTENV, Setting, StoreConfig
from strongroom._config.trust import require_trusted
from strongroom._plugins.option_schema import OptionSchema, Schema
from strongroom.errors import ConfigurationError
from strongroom.store.option import is_loopback


def check(
    store: StoreConfig,
    schema: Schema,
    settings: Mapping[str, Setting],
    *,
    production: bool,
    untrusted: Sequence[str] = (),
) -> None:
    """Refuse settings that are valid by themselves and wrong together, in production, or in an untrusted file.

    Args:
        store: the store, for messages.
        schema: the options of its plugin.
        settings: the options that some source gives.
        production: whether the rules of production apply.
        untrusted: the found files that `strongroom trust` has not recorded.

    Raises:
        ConfigurationError: an address is not allowed; a file that was found in the working directory would redirect a
            credential, or weaken TLS for an address, that another source gave; an untrusted file decides where
            secrets or credentials go, or who can read them; or production would read `./.env`.
    """
    for name, setting in settings.items():
        option = schema.options[name].option
        if option.needs_trust:
            require_trusted(setting.found_file, untrusted, f"sets {name} of store {store.name}")
        if option.address:
            _check_addresses(setting, option.tls_schemes, production=production)
            _check_identity(store, schema, settings, name)
        if option.verifies and not _is_default(schema.options[name], setting):
            _check_trust_setting(name, setting, settings.get(option.verifies))
        for address in option.receivers:
            _check_credential(store, name, setting, settings.get(address), "an address that only {} gives")
            for other, trust in settings.items():
                about = schema.options[other]
                if about.option.verifies == address and not _is_default(about, trust):
                    _check_credential(store, name, setting, trust, f"a server that only {other} of {{}} trusts")
    if production and store.plugin == DOTENV and ("file" in settings or "file" not in store.options):
        _check_dotenv(store, settings.get("file"))


def _check_addresses(setting: Setting, tls_schemes: Sequence[str], *, production: bool) -> None:
    """Refuse an address with a password in it, and in production one that is neither TLS nor loopback."""
    addresses = setting.value if isinstance(setting.value, list) else [setting.value]
    fault = next(
        (fault for item in addresses if isinstance(item, str) and (fault := _fault(item, tls_schemes, production))),
        None,
    )
    if fault:
        raise ConfigurationError(f"{setting.origin}: {fault}")


def _check_credential(store: StoreConfig, name: str, credential: Setting, other: Setting | None, target: str) -> None:
    """Refuse a credential that a found file would redirect: whoever wrote the folder must not receive it.

    A found file may give a credential for its own address, or name the variable or file that holds it.

    Args:
        store: the store that authenticates with it.
        name: the credential's option.
        credential: the credential.
        other: the address that it is sent to, or a setting that decides which server is trusted there.
        target: the server that would receive it, in words, with `{}` for the found file.
    """
    if other is None or not other.found_file or other.found_file in {credential.found_file, credential.declared}:
        return
    raise ConfigurationError(
        f"The store {store.name} has its {name} from {credential.origin}, which is not sent to "
        f"{target.format(other.found_file)}: give both in the same place"
    )


def _check_identity(store: StoreConfig, schema: Schema, settings: Mapping[str, Setting], address: str) -> None:
    """Refuse a found file's address for a plugin that finds its credentials itself, such as boto3.

    None of its options is a secret then. The options that choose the credentials, such as a profile, can be given in
    the same file.
    """
    found = settings[address].found_file
    choosing = [name for name, option in schema.options.items() if address in option.option.receivers]
    if not found or not choosing or any(schema.options[name].option.secret for name in choosing):
        return
    # Not `settings`, which lacks references when another environment is checked.
    if not any(store.options[name].found_file == found for name in choosing if name in store.options):
        raise ConfigurationError(
            f"The store {store.name} has its credentials from the process, which are not sent to an address that only "
            f"{found} gives: set {' or '.join(choosing)} there, or name the file with STRONGROOM_CONFIG"
        )


def _is_default(option: OptionSchema, setting: Setting) -> bool:
    """Return True for the default, which a found file may set. Another empty value can weaken TLS, too."""
    return setting.value == option.default


def _check_trust_setting(name: str, setting: Setting, address: Setting | None) -> None:
    """Refuse a TLS or proxy setting of a found file for an address that another source gave.

    A file that names a variable of the process chooses the value: `skip_verify = { env = "CI" }`.
    """
    if (setting.found_file or setting.declared) and address is not None and not address.found_file:
        raise ConfigurationError(
            f"{setting.origin}: {name} does not apply to the address from {address.origin}: give both in the same place"
        )


def _check_dotenv(store: StoreConfig, file: Setting | None) -> None:
    """In production a `.env` file is read only where another one is written down: `./.env` is a developer's."""
    default = Path(".env").absolute()
    if file is None or (isinstance(file.value, Path) and file.value.absolute() == default):
        raise ConfigurationError(
            f"{store.origin}: production reads no ./.env: leave the store {store.name} out, or name another `file`"
        )


def _fault(address: str, tls_schemes: Sequence[str], production: bool) -> str | None:  # noqa: FBT001  # the only other thing that matters
    """Return the fault of the address, or None. Messages show its scheme and host alone."""
    from urllib.parse import urlsplit

    example = f"must be a URL such as {'https://vault.example:8200' if 'https' in tls_schemes else f'{tls_schemes[0]}://host'}"
    try:
        parts = urlsplit(address)
        host = parts.hostname
        _ = parts.port  # raises if it is not a number
    except ValueError:
        return example
    if not parts.scheme or not host:
        return example
    if "@" in parts.netloc:
        return "a URL holds no user or password here"
    if production and parts.scheme not in tls_schemes and not is_loopback(host):
        shown = f"{parts.scheme}://{host} is not {' or '.join(tls_schemes)}"
        return f"{shown}, and production talks in the clear to loopback alone"
    return None
