"""Starlette and FastAPI: an application that serves when its secrets are there, and answers 503 in an outage.

::

    app = FastAPI(lifespan=lifespan(), exception_handlers={StoreUnavailableError: unavailable})
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from strongroom._manager import SecretsManager
from strongroom.integrations.readiness import await_ready
from strongroom.integrations.web import OUTAGE, RETRY_AFTER
from strongroom.secrets_manager import default_manager


def lifespan(
    manager: SecretsManager | None = None, *, timeout: float = 60.0
) -> Callable[[object], AbstractAsyncContextManager[dict[str, SecretsManager]]]:
    """Return a lifespan that waits for the required secrets: see `strongroom.integrations.readiness.wait_ready`.

    The application does not start if one does not resolve. Requests find the manager as `request.state.secrets`.

    Args:
        manager: None is the default manager of the process. The lifespan does not close it.
        timeout: seconds.
    """

    @asynccontextmanager
    async def ready(_app: object) -> AsyncIterator[dict[str, SecretsManager]]:
        secrets = manager or default_manager()
        await await_ready(secrets, timeout=timeout)
        yield {"secrets": secrets}

    return ready


async def unavailable(_request: Request, _error: Exception) -> Response:
    """Answer 503 with `Retry-After`: the handler for `StoreUnavailableError`. The answer names no store and no path."""
    return JSONResponse(OUTAGE, status_code=503, headers={"Retry-After": str(RETRY_AFTER)})
