"""Uses one integration, or one extra, in an environment without anything else: `python integrations_alone.py NAME`.

`tests/integration/test_alone.py` makes the environments. Each function below is an environment: its requirements, the
modules of `strongroom.integrations` that it must import, and the servers that it needs.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, NamedTuple

URL = {"database/connection": {"url": "sqlite://"}}
KEY = {"api-keys/payments": {"key": "sk-4711"}}


class Environment(NamedTuple):
    """Packages beside the core of Strongroom, and a function that uses them.

    Attributes:
        requirements: as pip takes them. `strongroom[EXTRA]` is the wheel of this tree.
        modules: those of `strongroom.integrations`.
        servers: names of fixtures.
    """

    requirements: tuple[str, ...]
    modules: tuple[str, ...]
    servers: tuple[str, ...]
    use: Callable[[], None]


ENVIRONMENTS: dict[str, Environment] = {}


def environment(
    *requirements: str, modules: tuple[str, ...] = (), servers: tuple[str, ...] = ()
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Add the environment of a function. Its name is that of the function."""

    def add(use: Callable[[], None]) -> Callable[[], None]:
        ENVIRONMENTS[use.__name__.replace("_", "-")] = Environment(requirements, modules, servers, use)
        return use

    return add


def address(server: str) -> dict[str, Any]:
    """Return the secret of a server, with its address and an account."""
    return json.loads(os.environ["ALONE_SERVERS"])[server]


@contextmanager
def configured(text: str) -> Iterator[Any]:
    """Yield a manager of this configuration, whose files are in a new folder."""
    from strongroom import SecretsManager

    with TemporaryDirectory() as folder:
        file = Path(folder, "strongroom.toml")
        file.write_text(text)
        with SecretsManager.from_config(file) as manager:
            yield manager


def keeps(text: str) -> None:
    """Check that the chain of this configuration stores a secret and reads it."""
    with configured(text) as manager:
        manager.set_secret("app/config", {"password": "first"})
        manager.invalidate()
        assert manager.get_secret("app/config", "password") == "first"


def run(*command: str) -> str:
    """Return the output of a command that succeeds."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


# --- without a library ------------------------------------------------------------------------------------------------


@environment(
    modules=("credentials", "database", "django", "metrics", "readiness", "settings", "tls", "web", "workers"),
)
def core() -> None:
    import ssl
    from importlib import import_module

    from strongroom.integrations import credentials, database, readiness, tls
    from strongroom.integrations.django import database as settings
    from strongroom.testing import override

    with override({**URL, "tls/web": certificate()}):
        readiness.wait_ready(timeout=0)
        source = credentials.CredentialSource("database/connection")
        found, login = source.connect(database.url, database.is_refusal)
        assert found == "sqlite://"
        assert source.is_current(login)
        assert isinstance(tls.create_server_context("tls/web"), ssl.SSLContext)
    assert settings("database/connection")["ENGINE"] == "strongroom.integrations.django.postgresql"
    for package in ("metrics", "settings", "web", "workers"):
        import_module(f"strongroom.integrations.{package}")


def certificate() -> dict[str, str]:
    """Return a certificate that signs itself, as a secret."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "web.example.com")])
    now = datetime.now(UTC)
    unsigned = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    pem, secret = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return {
        "certificate": unsigned.sign(key, hashes.SHA256()).public_bytes(pem).decode(),
        "private_key": key.private_bytes(pem, secret, serialization.NoEncryption()).decode(),
    }


# --- connections ------------------------------------------------------------------------------------------------------


@environment("sqlalchemy", modules=("sqlalchemy",))
def sqlalchemy() -> None:
    """SQLAlchemy 2.1 installs no greenlet."""
    from sqlalchemy import text

    from strongroom.errors import ConfigurationError
    from strongroom.integrations.sqlalchemy import create_async_engine, create_engine
    from strongroom.testing import override

    with override(URL):
        with create_engine("database/connection").connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        try:
            create_async_engine("database/connection", drivername="sqlite+aiosqlite")
        except ConfigurationError as error:
            assert "pip install 'sqlalchemy[asyncio]'" in str(error), error  # noqa: PT017  # without pytest
        else:
            raise AssertionError("greenlet is installed")


@environment("sqlalchemy[asyncio]", "aiosqlite", modules=("sqlalchemy",))
def sqlalchemy_asyncio() -> None:
    from sqlalchemy import text

    from strongroom.integrations.sqlalchemy import create_async_engine
    from strongroom.testing import override

    async def select() -> None:
        engine = create_async_engine("database/connection", drivername="sqlite+aiosqlite")
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
        await engine.dispose()

    with override(URL):
        asyncio.run(select())


@environment("psycopg[binary,pool]", modules=("psycopg_pool",), servers=("postgres",))
def psycopg_pool() -> None:
    from strongroom.integrations.psycopg_pool import create_async_pool, create_pool
    from strongroom.testing import override

    async def select() -> None:
        async with create_async_pool("database/connection", min_size=1) as pool, pool.connection() as connection:
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)

    with override({"database/connection": address("postgres")}):
        with create_pool("database/connection", min_size=1) as pool, pool.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        asyncio.run(select())


@environment("asyncpg", modules=("asyncpg",), servers=("postgres",))
def asyncpg() -> None:
    from strongroom.integrations.asyncpg import create_pool
    from strongroom.testing import override

    async def select() -> None:
        async with create_pool("database/connection", min_size=1) as pool:
            assert await pool.fetchval("SELECT 1") == 1

    with override({"database/connection": address("postgres")}):
        asyncio.run(select())


@environment("django", modules=("django", "django.wrapper"))
def django() -> None:
    """Without a driver, Django names the missing one."""
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.db.utils import ConnectionHandler

    import strongroom.integrations.django.wrapper  # noqa: F401
    from strongroom.integrations.django import database

    settings.configure()
    for engine, driver in (("postgresql", "psycopg"), ("mysql", "mysqlclient")):
        try:
            _ = ConnectionHandler({"default": database("database/connection", engine=engine)})["default"]
        except ImproperlyConfigured as error:
            assert driver in str(error), error  # noqa: PT017  # without pytest
        else:
            raise AssertionError(f"{driver} is installed")


@environment(
    "django", "psycopg[binary]", modules=("django.postgresql", "django.postgresql.base"), servers=("postgres",)
)
def django_postgresql() -> None:
    select_with_django("postgresql", address("postgres"))


@environment("django", "pymysql", modules=("django.mysql", "django.mysql.base"), servers=("mariadb",))
def django_mysql() -> None:
    import pymysql

    pymysql.install_as_MySQLdb()
    select_with_django("mysql", address("mariadb"))


def select_with_django(engine: str, secret: dict[str, Any]) -> None:
    from django.conf import settings
    from django.db.utils import ConnectionHandler

    from strongroom.integrations.django import database
    from strongroom.testing import override

    settings.configure(USE_TZ=True)
    with override({"database/connection": secret}):
        connection = ConnectionHandler({"default": database("database/connection", engine=engine)})["default"]
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)
        connection.close()


@environment("redis", modules=("redis",), servers=("redis_server",))
def redis() -> None:
    from strongroom.integrations.redis import create_async_client, create_client
    from strongroom.testing import override

    secret = address("redis_server")
    where = {"host": secret.pop("host"), "port": secret.pop("port")}

    async def ping() -> None:
        async with create_async_client("cache/redis", **where) as client:
            assert await client.ping()

    with override({"cache/redis": secret}):
        with create_client("cache/redis", **where) as client:
            assert client.ping()
        asyncio.run(ping())


@environment("requests", modules=("requests",))
def requests() -> None:
    from requests import Session

    from strongroom.integrations.requests import TLSAdapter
    from strongroom.integrations.tls import create_client_context
    from strongroom.testing import override

    with override({"tls/client": certificate()}), Session() as session:
        session.mount("https://", TLSAdapter(create_client_context("tls/client")))
        try:
            session.get("https://127.0.0.1:1/", verify=False)
        except ValueError as error:
            assert "the context of the adapter verifies servers" in str(error)  # noqa: PT017  # without pytest
        else:
            raise AssertionError("verify=False was accepted")


@environment("botocore", modules=("botocore",))
def botocore() -> None:
    from strongroom.integrations.botocore import create_session
    from strongroom.testing import override

    with override({"aws/app": {"access_key": "AKID4711", "secret_key": "secret"}}):
        client = create_session("aws/app").create_client("sts", region_name="eu-west-1")
        assert "AKID4711" in client.generate_presigned_url("get_caller_identity")  # it is signed without a request


# --- frameworks -------------------------------------------------------------------------------------------------------


async def served(app: Any, path: str) -> bytes:
    """Return the answer of an ASGI application to one request, within its lifespan."""
    state: dict[str, Any] = {}
    begun, asked = asyncio.Event(), asyncio.Event()
    body, failures = bytearray(), []

    async def lifespan_receive() -> dict[str, str]:
        if begun.is_set():
            await asked.wait()
            return {"type": "lifespan.shutdown"}
        return {"type": "lifespan.startup"}

    async def lifespan_send(message: dict[str, Any]) -> None:
        if message["type"].endswith("failed"):
            failures.append(message)
        begun.set()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200, message
        body.extend(message.get("body", b""))

    asgi = {"asgi": {"version": "3.0"}, "state": state}
    life = asyncio.create_task(app({"type": "lifespan", **asgi}, lifespan_receive, lifespan_send))
    await begun.wait()
    request = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], **asgi}
    await app(request, receive, send)
    asked.set()
    await life
    assert not failures, failures
    return bytes(body)


@environment("starlette", modules=("web", "web.starlette"))
def starlette() -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from strongroom import StoreUnavailableError
    from strongroom.integrations.web.starlette import lifespan, unavailable
    from strongroom.testing import override

    async def length(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.state.secrets.aget_secret("api-keys/payments", "key"))))

    handlers: Any = {StoreUnavailableError: unavailable}
    app = Starlette(routes=[Route("/length", length)], lifespan=lifespan(), exception_handlers=handlers)
    with override(KEY):
        assert asyncio.run(served(app, "/length")) == b"7"


@environment("fastapi", modules=("web", "web.fastapi", "web.starlette"))
def fastapi() -> None:
    from fastapi import FastAPI

    from strongroom.integrations.web.fastapi import FromSecret
    from strongroom.integrations.web.starlette import lifespan
    from strongroom.testing import override

    app = FastAPI(lifespan=lifespan())

    @app.get("/length")
    async def length(key: str = FromSecret("api-keys/payments#key")) -> int:
        return len(key)

    with override(KEY):
        assert asyncio.run(served(app, "/length")) == b"7"


@environment("flask", modules=("web", "web.flask"))
def flask() -> None:
    from flask import Flask

    from strongroom.integrations.web.flask import Strongroom
    from strongroom.testing import override

    app = Flask("shop")
    app.add_url_rule("/length", view_func=lambda: str(len(app.config["PAYMENTS_KEY"])))
    with override(KEY):
        Strongroom(app, {"PAYMENTS_KEY": "api-keys/payments#key"})
        assert app.test_client().get("/length").data == b"7"


WORKER = """
import os, signal
from pathlib import Path
from celery import Celery
from celery.signals import worker_ready
from strongroom import get_secret
from strongroom.integrations.workers.celery import connect_signals

app = Celery("shop", broker="memory://")
connect_signals(timeout=0)

@worker_ready.connect
def end(**_):
    Path("length").write_text(str(len(get_secret("api-keys/payments", "key"))))
    os.kill(os.getpid(), signal.SIGTERM)
"""

REQUIRED = 'chain = ["env"]\n[secrets]\nPAYMENTS_KEY = "api-keys/payments#key"\n'


@environment("celery", modules=("workers", "workers.celery"))
def celery() -> None:
    import strongroom.integrations.workers.celery  # noqa: F401

    Path("strongroom.toml").write_text(REQUIRED)
    Path("worker.py").write_text(WORKER)
    os.environ["PAYMENTS_KEY"] = "sk-4711"
    quiet = ("--without-mingle", "--without-gossip", "--without-heartbeat")
    run(sys.executable, "-m", "celery", "-A", "worker", "worker", "--pool", "solo", *quiet)
    assert Path("length").read_text() == "7"


SERVER = """
import os, signal
from strongroom.integrations.workers.gunicorn import on_starting

bind = "127.0.0.1:0"

def when_ready(server):
    os.kill(os.getpid(), signal.SIGTERM)
"""


@environment("gunicorn", modules=("workers", "workers.gunicorn"))
def gunicorn() -> None:
    import strongroom.integrations.workers.gunicorn  # noqa: F401

    Path("strongroom.toml").write_text(REQUIRED)
    Path("gunicorn.conf.py").write_text(SERVER)
    Path("shop.py").write_text("def app(environ, start_response): ...\n")
    os.environ["PAYMENTS_KEY"] = "sk-4711"
    run(sys.executable, "-m", "gunicorn", "shop:app")


@environment("pydantic-settings", modules=("settings", "settings.pydantic"))
def pydantic_settings() -> None:
    from typing import Annotated

    from pydantic import SecretStr, create_model
    from pydantic_settings import BaseSettings

    from strongroom.integrations.settings.pydantic import FromSecret, StrongroomSettingsSource
    from strongroom.testing import override

    class Settings(BaseSettings):
        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, **sources: Any) -> Any:
            return *sources.values(), StrongroomSettingsSource(settings_cls)

    field: Any = Annotated[SecretStr, FromSecret("api-keys/payments#key")]
    shop = create_model("Shop", __base__=Settings, key=(field, ...))
    with override(KEY):
        assert shop().key.get_secret_value() == "sk-4711"  # type: ignore[attr-defined]


@environment("dynaconf", modules=("settings", "settings.dynaconf"))
def dynaconf() -> None:
    from dynaconf import Dynaconf

    from strongroom.testing import override

    loader = "strongroom.integrations.settings.dynaconf"
    with override(KEY):
        settings = Dynaconf(LOADERS_FOR_DYNACONF=[loader], STRONGROOM_FOR_DYNACONF={"API_KEY": "api-keys/payments#key"})
        assert settings.API_KEY == "sk-4711"


@environment("prometheus-client", modules=("metrics", "metrics.prometheus"))
def prometheus() -> None:
    from prometheus_client import REGISTRY, generate_latest

    from strongroom import get_secret
    from strongroom.integrations.metrics.prometheus import StrongroomCollector
    from strongroom.testing import override

    REGISTRY.register(StrongroomCollector())
    with override(KEY):
        get_secret("api-keys/payments")
    assert b"strongroom_events_total{" in generate_latest()


@environment("opentelemetry-api", modules=("metrics", "metrics.opentelemetry"))
def opentelemetry() -> None:
    """Without an SDK, the instruments of the API record nothing."""
    from strongroom import get_secret
    from strongroom.integrations.metrics.opentelemetry import instrument
    from strongroom.testing import override

    end = instrument(paths=True)
    with override(KEY):
        get_secret("api-keys/payments")
    end()


@environment("ipython", modules=("ipython",))
def ipython() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    from strongroom.testing import override

    shell: Any = InteractiveShell.instance()
    with override(KEY):
        shell.run_line_magic("load_ext", "strongroom.integrations.ipython")
        assert shell.run_line_magic("secret", "api-keys/payments#key") == "sk-4711"
        shell.run_line_magic("unload_ext", "strongroom.integrations.ipython")


@environment("keyring", modules=("keyring",))
def keyring() -> None:
    import keyring

    from strongroom.integrations.keyring import StrongroomKeyring
    from strongroom.testing import override

    keyring.set_keyring(StrongroomKeyring())
    with override({}):
        keyring.set_password("shop", "ada", "first")
        assert keyring.get_password("shop", "ada") == "first"
        keyring.delete_password("shop", "ada")
        assert keyring.get_password("shop", "ada") is None


@environment("apache-airflow-core>=3.2.2", modules=("airflow", "airflow._backend"))
def airflow() -> None:
    os.environ["AIRFLOW_HOME"] = str(Path("airflow").absolute())
    os.environ["AIRFLOW__SECRETS__BACKEND"] = "strongroom.integrations.airflow.StrongroomBackend"
    from airflow.models import Variable

    from strongroom.testing import override

    with override({"variables/size": {"value": "20"}}):
        assert Variable.get_variable_from_secrets("size") == "20"


# --- extras -----------------------------------------------------------------------------------------------------------


@environment("strongroom[vault]", servers=("openbao",))
def extra_vault() -> None:
    import pycurl  # noqa: F401

    read_from_vault()


@environment("strongroom[vault-pure]", servers=("openbao",))
def extra_vault_pure() -> None:
    from importlib.util import find_spec

    assert find_spec("pycurl") is None
    read_from_vault()


def read_from_vault() -> None:
    server = address("openbao")
    keeps('chain = ["vault"]\n[stores.vault]\n' + "".join(f"{name} = {json.dumps(server[name])}\n" for name in server))


@environment("strongroom[agents]")
def extra_agents() -> None:
    rule = '[agents.rules.a]\nsecret = "api-keys/payments#key"\nvariable = "KEY"\nhosts = ["api.example.com"]\n'
    with TemporaryDirectory() as folder:
        file = Path(folder, "strongroom.toml")
        file.write_text(f'chain = ["env"]\n{rule}', "utf-8")
        command = [
            str(Path(sys.executable).parent / "strongroom"),
            f"--config={file}",
            "agent",
            "run",
            "printenv",
            "KEY",
        ]
        environ = {**os.environ, "PAYMENTS_KEY": "sk-4711-4711"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if sys.version_info < (3, 12):
        assert "needs Python 3.12" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("sk-")
        assert "4711" not in done.stdout


@environment("strongroom[aws]", servers=("moto",))
def extra_aws() -> None:
    for store in ("aws-secretsmanager", "aws-ssm"):
        keeps(f'chain = ["{store}"]\n')


@environment("strongroom[azure]", servers=("azure",))
def extra_azure() -> None:
    keeps(f'chain = ["azure-keyvault"]\n[stores.azure-keyvault]\nvault = "{address("azure")["vault"]}"\n')


@environment("strongroom[etcd]", servers=("etcd",))
def extra_etcd() -> None:
    url = address("etcd")["url"]
    keeps(f'chain = ["etcd"]\n[stores.etcd]\nendpoints = ["{url}"]\n')


@environment("strongroom[google]", servers=("secret_manager",))
def extra_google() -> None:
    url = address("secret_manager")["url"]
    keeps(
        f'chain = ["google-secretmanager"]\n[stores.google-secretmanager]\nproject = "alone"\nendpoint_url = "{url}"\n'
    )


@environment("strongroom[keepass]")
def extra_keepass() -> None:
    from pykeepass import create_database

    with TemporaryDirectory() as folder:
        file = f"{folder}/secrets.kdbx"
        create_database(file, password="alone")
        keeps(f'chain = ["keepass"]\n[stores.keepass]\nfile = "{file}"\npassword = "alone"\n')


@environment("strongroom[mcp]")
def extra_mcp() -> None:
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    async def names() -> set[str]:
        server = StdioServerParameters(command=str(Path(sys.executable).parent / "strongroom"), args=["mcp"])
        async with Client(stdio_client(server)) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    assert {"http_request", "run_command"} <= asyncio.run(names())


@environment("strongroom[yaml]")
def extra_yaml() -> None:
    keeps('chain = ["yaml"]\n[stores.yaml]\nfile = "secrets.yaml"\n')


@environment("strongroom[kubernetes]")
def extra_kubernetes() -> None:
    options = 'file = "secrets.yaml"\nnamespace = "shop"\n'
    with configured(f'chain = ["kubernetes"]\n[stores.kubernetes]\n{options}') as manager:
        manager.set_secret("payments", {"key": "sk-4711"})
        manager.invalidate()
        assert manager.get_secret("payments", "key") == "sk-4711"


@environment("strongroom[kubernetes-api]", servers=("kubernetes_api",))
def extra_kubernetes_api() -> None:
    kubeconfig = json.dumps(address("kubernetes_api")["kubeconfig"])
    keeps(f'chain = ["kubernetes-api"]\n[stores.kubernetes-api]\nkubeconfig = {kubeconfig}\n')


@environment("strongroom[age]")
def extra_age() -> None:
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    file = Path("identity").absolute()
    file.touch(0o600)
    file.write_text(f"{identity}\n")
    options = f'encrypt_to = ["{identity.to_public()}"]\nidentity = "{file}"\n'
    keeps(f'chain = ["json"]\n[stores.json]\nfile = "secrets.json"\n{options}')


@environment("strongroom[github]")
def extra_github() -> None:
    """The app's signature is made, and the connection is refused."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    from strongroom.errors import StoreUnavailableError

    form, encryption = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    file = Path("app.pem").absolute()
    file.touch(0o600)
    key = rsa.generate_private_key(65537, 2048)
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    options = f'app = "a"\nurl = "http://127.0.0.1:1"\nprivate_key = {{ file = "{file}" }}\n'
    text = f'chain = ["github-app"]\n[stores.github-app]\n{options}paths."github/shop" = {{ installation = 7 }}\n'
    with configured(text) as manager, suppress(StoreUnavailableError):
        manager.get_secret("github/shop")
        raise AssertionError


@environment("strongroom[sops]", servers=("age_key",))
def extra_sops() -> None:
    key = address("age_key")
    options = f'encrypt_to = ["{key["recipient"]}"]\nidentity = "{key["file"]}"\n'
    keeps(f'chain = ["sops"]\n[stores.sops]\nfile = "secrets.yaml"\n{options}')


@environment("strongroom[keyring]")
def extra_keyring() -> None:
    """The keyring of a desktop session is the subject of `nox -s keyring`."""
    import keyring
    from keyring.backend import KeyringBackend

    class Memory(KeyringBackend):
        priority = 1  # type: ignore[assignment]
        passwords: ClassVar[dict[tuple[str, str], str]] = {}  # the store makes an instance for each call

        def get_password(self, service: str, username: str) -> str | None:
            return self.passwords.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.passwords[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del self.passwords[service, username]

    keyring.set_keyring(Memory())
    keeps('chain = ["keyring"]\n[stores.keyring]\nservice = "shop"\n')


@environment("strongroom[postgres]", servers=("postgres",))
def extra_postgres() -> None:
    rotates("postgres", address("postgres"))


@environment("strongroom[mysql]", servers=("mariadb",))
def extra_mysql() -> None:
    rotates("mysql", address("mariadb"))


@environment("strongroom[redis]", servers=("redis_server",))
def extra_redis() -> None:
    rotates("redis-acl", address("redis_server"))


def rotates(rotator: str, secret: dict[str, Any]) -> None:
    """Check that the rotator gives the user of a server a new password."""
    with configured(f'chain = ["memory"]\n[rotation."database/app"]\nrotator = "{rotator}"\n') as manager:
        manager.set_secret("database/app", secret)
        assert manager.rotations.rotate("database/app").state == "done"
        assert manager.get_secret("database/app", "password") != secret["password"]


@environment("strongroom[dev-server]")
def extra_dev_server() -> None:
    strongroom = str(Path(sys.executable).with_name("strongroom"))
    program = "from strongroom import *; set_secret('a/b', {'c': 'd'}); print(get_secret('a/b', 'c').reveal())"
    assert run(strongroom, "dev", "--", sys.executable, "-c", program).endswith("d\n")


CONTRACT = """
import pytest
from strongroom import get_secret
from strongroom.store.memory import open_memory
from strongroom.testing import StoreContract

class TestMemory(StoreContract):
    capabilities = frozenset({"bulk", "checked", "listable", "local", "probed", "versioned", "writable"})
    impossible = frozenset({"denied", "unreachable"})

    @pytest.fixture
    def store(self):
        return open_memory()

def test_override(strongroom_override):
    strongroom_override({"a/b": {"c": "d"}})
    assert get_secret("a/b", "c") == "d"
"""


@environment("strongroom[testing]")
def extra_testing() -> None:
    Path("test_memory.py").write_text(CONTRACT)
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_memory.py")


@environment("strongroom[typed]")
def extra_typed() -> None:
    from pydantic import create_model

    from strongroom import get_secret
    from strongroom.testing import override

    payments = create_model("Payments", key=(str, ...), limit=(int, ...))
    with override({"api-keys/payments": {"key": "sk-4711", "limit": "20"}}):
        assert get_secret("api-keys/payments", as_=payments).limit == 20  # type: ignore[attr-defined]


@environment("strongroom[all]", servers=("openbao", "moto", "etcd", "age_key", "postgres", "mariadb", "redis_server"))
def extra_all() -> None:
    extra_vault()
    for name, each in list(ENVIRONMENTS.items()):
        if name.startswith("extra-") and name not in {"extra-all", "extra-vault", "extra-vault-pure"}:
            each.use()


if __name__ == "__main__":
    asked = ENVIRONMENTS[sys.argv[1]]
    asked.use()
    unused = [name for name in asked.modules if f"strongroom.integrations.{name}" not in sys.modules]
    assert not unused, unused
