"""Django databases whose connections survive a rotation of the credential.

In `settings.py`::

    from strongroom.integrations.django import database

    DATABASES = {"default": database("database/connection")}
"""

from __future__ import annotations

from typing import Any


def database(path: str, *, engine: str = "postgresql", **settings: Any) -> dict[str, Any]:
    """Return the settings of one database. Nothing is read yet: each new connection reads the credential.

    Args:
        path: a secret with the key `url`, or with `host`, `user`, `password`, `name` and perhaps `port`.
        engine: `postgresql` or `mysql`.
        settings: further settings of Django, such as `CONN_MAX_AGE`. A `NAME` here replaces that of the secret.

    Raises:
        ValueError: there is no such engine.
    """
    if engine not in {"postgresql", "mysql"}:
        raise ValueError(f"engine is postgresql or mysql, not {engine}")
    return {"ENGINE": f"strongroom.integrations.django.{engine}", "SECRET": path, **settings}
