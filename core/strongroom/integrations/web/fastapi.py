"""A dependency of FastAPI: the value of a secret as an argument of a path operation.

::

    @app.post("/webhook")
    async def webhook(secret: Annotated[str, FromSecret("webhooks/payments#secret")]) -> None: ...
"""

from __future__ import annotations

from typing import Any

from fastapi import Depends

from strongroom._manager import SecretsManager
from strongroom.paths import parse_reference
from strongroom.secrets_manager import default_manager


def FromSecret(reference: str, *, manager: SecretsManager | None = None) -> Any:  # noqa: N802  # as fastapi.Depends
    """Return a dependency that reads a secret for each request, from the cache without a thread.

    Args:
        reference: `PATH#KEY` gives a `SensitiveStr`; `PATH` gives the whole secret, a `SensitiveDict`.
        manager: None is the default manager of the process.

    Raises:
        InvalidPathError: the path or the key can never name a secret.
    """
    path, key = parse_reference(reference)

    async def read() -> object:
        secrets = manager or default_manager()
        return await (secrets.aget_secret(path) if key is None else secrets.aget_secret(path, key))

    return Depends(read)
