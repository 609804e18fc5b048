"""Opening a session, where what it stands on may not be installed."""

from __future__ import annotations

from typing import Any

from strongroom.errors import PluginError
from strongroom_vault.session.session import Session


def connect(**options: Any) -> Session:
    """A session for these options of the store `vault`.

    Raises:
        PluginError: a package is not installed. The message names the extra that brings it.
        ConfigurationError: as `open_session` does.
    """
    missing = ""
    try:
        from strongroom_vault.plugin import open_session

        return open_session(**options)
    except ImportError as error:
        missing = error.name or "a package"
    raise PluginError(f'It needs {missing}, which is not installed: pip install "strongroom[vault]"')
