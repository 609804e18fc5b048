"""A database URL out of one secret: the one that is stored, or one composed of its parts. Pure."""

from __future__ import annotations

from strongroom.model import SensitiveDict, SensitiveStr, Value, as_text
from strongroom.outcome import MISSING, Missing

DATABASE_PATH = "database/connection"
WANTED = "key 'url', nor all of host, user, password and name"


def database_url(data: SensitiveDict, scheme: str) -> SensitiveStr | Missing:
    """The `url` of the secret; else `scheme://user:password@host[:port]/name`, each part quoted.

    A part that is null or empty counts as missing. `MISSING` where neither is whole.
    """
    from urllib.parse import quote

    if url := _part(data, "url"):
        return url
    host, user, password, name = (_part(data, key) for key in ("host", "user", "password", "name"))
    if not (host and user and password and name):
        return MISSING
    address = f"[{host}]" if ":" in host and not host.startswith("[") else host
    port = _part(data, "port")
    where = f"{address}:{port}" if port else address
    return SensitiveStr(f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{where}/{quote(name, safe='')}")


def _part(data: SensitiveDict, key: str) -> SensitiveStr | None:
    value: Value = data.get(key)
    return None if value is None else as_text(value, DATABASE_PATH, key)
