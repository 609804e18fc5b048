"""FastAPI, Starlette and Flask applications that use secrets."""

import threading
from typing import Annotated

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from flask import Flask, session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from strongroom import PermissionDeniedError, StoreUnavailableError
from strongroom.errors import InvalidPathError
from strongroom.integrations.web.fastapi import FromSecret
from strongroom.integrations.web.flask import Strongroom
from strongroom.integrations.web.starlette import lifespan, unavailable
from strongroom.testing import SimulatedFailure


def fastapi_app(**options) -> FastAPI:
    app = FastAPI(lifespan=lifespan(**options), exception_handlers={StoreUnavailableError: unavailable})

    @app.get("/length")
    async def length(key: Annotated[str, FromSecret("api-keys/payments#key")]) -> int:
        return len(key)

    @app.get("/keys")
    async def keys(secret: Annotated[dict[str, str], FromSecret("api-keys/payments")]) -> list[str]:
        return list(secret)

    return app


def test_a_path_operation_gets_a_key_or_a_whole_secret(application):
    with TestClient(fastapi_app()) as client:
        assert client.get("/length").json() == 7
        assert client.get("/keys").json() == ["key"]


def test_the_argument_is_not_one_of_the_request(application):
    """A client cannot set it, and the OpenAPI document does not have it."""
    app = fastapi_app()
    assert "parameters" not in app.openapi()["paths"]["/length"]["get"]
    with TestClient(app) as client:
        assert client.get("/length?key=mine").json() == 7


def test_a_reference_of_fastapi_is_checked_where_it_is_written():
    with pytest.raises(InvalidPathError):
        FromSecret("a//b#key")


def test_an_outage_is_503_and_a_denial_500(strongroom_override):
    """The answer names neither the store nor the path."""
    app = fastapi_app()
    strongroom_override({"api-keys/payments": SimulatedFailure.UNAVAILABLE})
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/length")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "payments" not in answer.text
        strongroom_override({"api-keys/payments": SimulatedFailure.DENIED})
        assert client.get("/length").status_code == 500


def test_starlette_waits_and_finds_the_manager_in_the_state(application, recovering):
    """The application starts when the store is back."""
    recovering()

    async def length(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.state.secrets.aget_secret("auth/app", "secret"))))

    with TestClient(Starlette(routes=[Route("/", length)], lifespan=lifespan())) as client:
        assert client.get("/").text == "5"


def test_an_application_without_its_secrets_does_not_start(application, store):
    store.fault = PermissionDeniedError()
    with pytest.raises(PermissionDeniedError), TestClient(fastapi_app(timeout=0)):
        pass


# --- Flask ------------------------------------------------------------------------------------------------------------


def flask_app() -> Flask:
    app = Flask(__name__)

    @app.get("/log-in")
    def log_in() -> str:
        session["user"] = "ada"
        return ""

    @app.get("/user")
    def user() -> str:
        return str(session.get("user"))

    return app


def test_sessions_survive_a_change_of_the_secret_key(application, store):
    """The new key signs, the key before it is still accepted, and one that is older is not."""
    app = flask_app()
    Strongroom(app, {"SECRET_KEY": "auth/app#secret"}, interval=0.05)
    updated = threading.Semaphore(0)
    application.watch(["auth/app"], lambda _: updated.release(), interval=0.05)  # called after the extension's
    client = app.test_client()
    client.get("/log-in")
    store.write("auth/app", {"secret": "second"})
    assert updated.acquire(timeout=30)
    assert app.secret_key == "second"
    assert client.get("/user").text == "ada"
    store.write("auth/app", {"secret": "third"})
    assert updated.acquire(timeout=30)
    assert app.config["SECRET_KEY_FALLBACKS"] == ["second"]
    assert client.get("/user").text == "None"


def test_an_outage_in_a_view_of_flask_is_503(application, store):
    app = flask_app()
    extension = Strongroom()
    extension.init_app(app)

    @app.get("/pay")
    def pay() -> str:
        return app.extensions["strongroom"].get_secret("api-keys/other", "key")

    store.fault = StoreUnavailableError()
    answer = app.test_client().get("/pay")
    assert (answer.status_code, answer.headers["Retry-After"], answer.json) == (503, "1", {"detail": "try again"})


def test_flask_without_its_secrets_does_not_start(application, store):
    store.fault = PermissionDeniedError()
    with pytest.raises(PermissionDeniedError):
        Strongroom(flask_app(), timeout=0)


def test_the_settings_of_flask_show_no_value(application):
    app = flask_app()
    Strongroom(app, {"SECRET_KEY": "auth/app#secret"})
    assert "first" not in repr(app.config)
