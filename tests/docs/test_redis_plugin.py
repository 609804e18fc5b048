"""The larger example of the documentation: a whole distribution with a store in Redis, against a real server.

The nox session `build` installs it beside the wheel, in an environment that does not see the repository, and runs its
own tests, which keep the contract.
"""

import json
from pathlib import Path

import pytest

from support.programs import require
from support.services.database_servers import running_redis

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "strongroom-redis"

require("redis-server")


@pytest.fixture
def configured():
    """Start a Redis that `./strongroom.toml` names."""
    with running_redis() as server:
        Path("strongroom.toml").write_text(
            f'chain = ["redis"]\nstores.redis.url = "redis://127.0.0.1:{server.port}"\n', "utf-8"
        )
        yield server


def test_it_is_listed_with_its_options(run):
    """Without its SDK being imported."""
    done = run("strongroom", "stores", "redis", "--json")
    (plugin,) = json.loads(done.stdout)["plugins"]
    assert (plugin["distribution"], plugin["fault"]) == ("strongroom-redis 1.0", None)
    assert plugin["capabilities"] == ["checked", "listable", "probed", "versioned", "writable"]
    assert {option["name"] for option in plugin["options"]} >= {"url", "password", "ca_cert", "prefix"}


@pytest.mark.usefixtures("configured")
def test_it_works_by_configuration_alone(run):
    """Writes, reads, history, undelete and doctor, by commands that know nothing of Redis."""
    for value in ("first", "second"):
        assert run("strongroom", "set", "app/config", "password", piped=value).returncode == 0
    assert run("strongroom", "get", "app/config#password").stdout == "second"
    assert run("strongroom", "list", "--recursive").stdout == "app/config\n"
    assert [line.split("\t")[0] for line in run("strongroom", "history", "app/config").stdout.splitlines()] == [
        "1",
        "2",
    ]
    assert run("strongroom", "delete", "app/config", "--yes").returncode == 0
    assert run("strongroom", "get", "app/config#password").returncode == 3
    assert run("strongroom", "undelete", "app/config", "2").returncode == 0
    assert run("strongroom", "doctor").returncode == 0


@pytest.mark.usefixtures("configured")
def test_it_is_a_target_and_a_source_of_migrations(run):
    """The secrets of a file are copied there and back without a change, and the copy can be undone."""
    seed = {"app/config": {"password": "canary", "port": 5432, "tags": ["a", None]}, "app/other": {"key": "žluť"}}
    Path("seed.json").write_text(json.dumps(seed), "utf-8")
    there = run("strongroom", "migrate", "--from", "json:seed.json", "--to", "redis", "--yes")
    assert there.returncode == 0, there.stderr
    back = run("strongroom", "migrate", "--from", "redis", "--to", "json:back.json", "--yes")
    assert back.returncode == 0, back.stderr
    assert json.loads(Path("back.json").read_text("utf-8")) == seed
    Path("back.json").unlink()
    name = there.stderr.partition("migrate undo ")[2].partition("`")[0]
    undone = run("strongroom", "migrate", "undo", name, "--yes")
    assert undone.returncode == 0, undone.stderr
    assert run("strongroom", "list", "--recursive").stdout == ""


def test_production_accepts_tls_alone(run):
    """`rediss` is TLS under another name than https."""
    for scheme, code in (("redis", 7), ("rediss", 0)):
        Path("strongroom.toml").write_text(
            f'production = true\nchain = ["redis"]\nstores.redis.url = "{scheme}://redis.example:6379"\n', "utf-8"
        )
        assert run("strongroom", "config", "check").returncode == code


@pytest.mark.usefixtures("configured")
def test_server_that_is_gone_is_an_outage(run, configured):
    """One line, exit code 5."""
    configured.client().shutdown(nosave=True)
    done = run("strongroom", "get", "app/config#password")
    assert (done.returncode, done.stdout) == (5, "")
