"""A loader of dynaconf that reads settings from a chain.

::

    settings = Dynaconf(
        LOADERS_FOR_DYNACONF=["strongroom.integrations.settings.dynaconf", "dynaconf.loaders.env_loader"],
        STRONGROOM_FOR_DYNACONF={"API_KEY": "api-keys/payments#key", "DATABASE": "database/connection"},
    )
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from dynaconf.loaders.base import SourceMetadata
from dynaconf.utils.parse_conf import converters

from strongroom.errors import ConfigurationError, InvalidDataError, SecretNotFoundError
from strongroom.paths import parse_reference
from strongroom.required_secrets import read_row
from strongroom.secret import Value
from strongroom.secrets_manager import default_manager

if TYPE_CHECKING:
    from strongroom import SecretsManager
    from strongroom._chain.answer import Resolution

_SETTING = "STRONGROOM_FOR_DYNACONF"


def load(
    obj: Any,
    env: str | None = None,
    silent: bool = True,  # noqa: ARG001, FBT001, FBT002  # the signature of a loader
    key: str | None = None,
    validate: bool = False,  # noqa: FBT001, FBT002
) -> None:
    """Set each setting of `STRONGROOM_FOR_DYNACONF`, a mapping of names to `PATH#KEY` or `PATH`, from the chain.

    Without that setting, each row of `[secrets]` is one. A secret that no store has leaves the setting as it is. A
    denial or an outage is raised, also if dynaconf is silent. Text stays text, even if it looks like a number.

    Args:
        obj: the settings.
        env: the environment of dynaconf.
        silent: whether dynaconf wants no errors. It is not considered: see above.
        key: the only setting to load, such as one of `FRESH_VARS_FOR_DYNACONF`. None loads all.
        validate: whether dynaconf validates after each setting.

    Raises:
        ConfigurationError: `STRONGROOM_FOR_DYNACONF` is not a mapping of text.
        StoreError: a store that may have a secret denied access, did not answer, or failed.
        InvalidDataError: a value begins with a token of dynaconf, such as `@jinja`, which dynaconf would evaluate.
    """
    manager = default_manager()
    for name, (reference, read) in _reads(obj, manager).items():
        if key is not None and key.upper() != name.upper():
            continue
        try:
            value = read().value
        except SecretNotFoundError:
            continue
        if _has_token(value):
            value = None
            reason = f"the value of setting {name} begins with a token that dynaconf evaluates"
            raise InvalidDataError(parse_reference(reference)[0], reason, hint="Read it with get_secret")
        obj.set(name, value, loader_identifier=SourceMetadata("strongroom", reference, env or ""), validate=validate)


def _reads(obj: Any, manager: SecretsManager) -> Mapping[str, tuple[str, Callable[[], Resolution]]]:
    """Return the reference of each setting, and a function that reads its value."""
    references = obj.get(_SETTING)
    if references is None:
        return {
            name: (f"{row.path}#{row.key}", partial(read_row, name, row, manager.resolve))
            for name, row in manager.config.secrets.items()
        }
    if not isinstance(references, Mapping) or not all(isinstance(item, str) for item in references.values()):
        raise ConfigurationError(f"{_SETTING} is a mapping of names to PATH#KEY or PATH")
    return {name: (reference, partial(_read, manager, reference)) for name, reference in references.items()}


def _read(manager: SecretsManager, reference: str) -> Resolution:
    return manager.resolve(*parse_reference(reference))


def _has_token(value: Value) -> bool:
    if isinstance(value, str):
        return value.partition(" ")[0] in converters
    if isinstance(value, Mapping):
        return any(map(_has_token, value.values()))
    return isinstance(value, list) and any(map(_has_token, value))
