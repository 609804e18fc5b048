"""Flask: settings of an application that follow their secrets, and 503 in an outage.

::

    Strongroom(app, {"SECRET_KEY": "auth/app#secret"})
"""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask

from strongroom._manager import SecretsManager
from strongroom.errors import StoreUnavailableError
from strongroom.integrations.readiness import wait_ready
from strongroom.integrations.web import OUTAGE, RETRY_AFTER
from strongroom.paths import parse_reference
from strongroom.secrets_manager import default_manager


class Strongroom:
    """Extension that reads settings from secrets, and replaces them when a secret changes.

    After a change of `SECRET_KEY` the key before it comes first in `SECRET_KEY_FALLBACKS`, so that sessions stay valid.
    A `StoreUnavailableError` of a view is answered with 503 and `Retry-After`.

    Args:
        app: the application; None waits for `init_app`.
        settings: names of settings, each with its `PATH#KEY`.
        manager: None is the default manager of the process. The extension does not close it.
        timeout: seconds to wait for the required secrets: see `strongroom.integrations.readiness.wait_ready`.
        interval: seconds between two looks for changes; None is `watch_interval` of each link.

    Raises:
        InvalidPathError: a path or key can never name a secret.
        StrongroomError: a required secret or a setting cannot be read.
    """

    def __init__(
        self,
        app: Flask | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        manager: SecretsManager | None = None,
        timeout: float = 60.0,
        interval: float | None = None,
    ) -> None:
        self._settings = {name: parse_reference(reference) for name, reference in (settings or {}).items()}
        self._manager = manager
        self._timeout = timeout
        self._interval = interval
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Wait for the required secrets, set the settings, and watch them."""
        manager = self._manager or default_manager()
        wait_ready(manager, timeout=self._timeout)
        app.extensions["strongroom"] = manager
        app.register_error_handler(StoreUnavailableError, _unavailable)

        fallbacks = app.config.get("SECRET_KEY_FALLBACKS") or []

        def update(_change: object = None) -> None:
            for name, (path, key) in self._settings.items():
                value = manager.get_secret(path) if key is None else manager.get_secret(path, key)
                before = app.config.get(name)
                if name == "SECRET_KEY" and before and before != value:
                    app.config["SECRET_KEY_FALLBACKS"] = [before, *fallbacks]
                app.config[name] = value

        update()
        if self._settings:
            manager.watch({path for path, _ in self._settings.values()}, update, interval=self._interval)


def _unavailable(_error: StoreUnavailableError) -> tuple[dict[str, str], int, dict[str, str]]:
    return OUTAGE, 503, {"Retry-After": str(RETRY_AFTER)}
