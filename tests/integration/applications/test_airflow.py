"""A real Airflow that reads its connections, variables and options through a chain. `nox -s airflow` runs it.

Airflow has 150 dependencies, some of which exclude ours for development, so it has a separate environment.
"""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.testing import SimulatedFailure
from support.scenarios import page_blocks, pages

pytest.importorskip("airflow", reason="Airflow has a separate environment: nox -s airflow", exc_type=ImportError)

TEAM_NAMES = [None, "team-a", "team-b"]
BACKEND = "strongroom.integrations.airflow.StrongroomBackend"
SECRETS = {
    "connections/uri": {"conn_uri": "postgresql://ada:s3cret@db:5432/shop"},
    "connections/fields": {"conn_type": "http", "host": "api", "port": 8080, "password": "s3cret", "extra": {"a": 1}},
    "variables/text": {"value": "0123"},
    "variables/json": {"value": {"size": 20}},
    "config/fernet": {"value": "config-of-the-chain"},
}


@pytest.fixture(scope="module", autouse=True)
def airflow(tmp_path_factory):
    """Import Airflow with our backend, from a separate folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
        patch.setenv("AIRFLOW__SECRETS__BACKEND", BACKEND)
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        yield


@pytest.fixture
def chain(strongroom_override):
    return strongroom_override(SECRETS)


@pytest.mark.parametrize("first", ["import airflow", f"from {BACKEND.rpartition('.')[0]} import StrongroomBackend"])
def test_the_backend_may_be_the_first_import(first, tmp_path):
    """Airflow imports its backend while it is imported itself."""
    check = (
        f"{first}; from airflow.configuration import secrets_backend_list as used; "
        "from strongroom.integrations.airflow import StrongroomBackend; "
        "assert [one for one in used if type(one) is StrongroomBackend], used"
    )
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", check], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("chain")
def test_a_connection_is_a_uri_or_fields():
    from airflow.models import Connection

    found = Connection.get_connection_from_secrets("uri")
    assert (found.host, found.login, found.password, found.schema) == ("db", "ada", "s3cret", "shop")
    found = Connection.get_connection_from_secrets("fields")
    assert (found.conn_type, found.port, found.password, found.extra_dejson) == ("http", 8080, "s3cret", {"a": 1})


@pytest.mark.usefixtures("chain")
def test_a_variable_is_text_or_json():
    from airflow.models import Variable

    assert Variable.get_variable_from_secrets("text") == "0123"
    assert json.loads(Variable.get_variable_from_secrets("json")) == {"size": 20}
    assert type(Variable.get_variable_from_secrets("text")) is str


@pytest.mark.usefixtures("chain")
def test_a_task_reads_both(monkeypatch):
    """Through the interface of tasks, which has a separate lookup."""
    from airflow.sdk.execution_time import context, supervisor

    from strongroom.integrations.airflow import StrongroomBackend

    backend = StrongroomBackend()
    from airflow.sdk import Connection

    # Airflow calls these itself: there is no public way in without a running task.
    backend._set_connection_class(Connection)
    monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: [backend])
    assert context._get_connection("uri").password == "s3cret"
    assert context._get_variable("json", deserialize_json=True) == {"size": 20}


@pytest.mark.usefixtures("chain")
def test_an_option_of_the_configuration_is_a_secret(monkeypatch):
    from airflow.configuration import conf

    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY_SECRET", "fernet")
    monkeypatch.delenv("AIRFLOW__CORE__FERNET_KEY", raising=False)
    assert conf.get("core", "fernet_key") == "config-of-the-chain"


@pytest.mark.usefixtures("chain")
def test_an_absent_secret_is_left_to_the_other_backends(monkeypatch):
    """Such as the environment. An id that no path can be is absent too."""
    from airflow.exceptions import AirflowNotFoundException
    from airflow.models import Connection, Variable

    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "http://elsewhere")
    monkeypatch.setenv("AIRFLOW_VAR_OTHER", "elsewhere")
    assert Connection.get_connection_from_secrets("other").host == "elsewhere"
    assert Variable.get_variable_from_secrets("other") == "elsewhere"
    monkeypatch.setattr("airflow.secrets.metastore.MetastoreBackend.get_connection", lambda *_, **__: None)
    with pytest.raises(AirflowNotFoundException):
        Connection.get_connection_from_secrets("a//b")


@pytest.mark.parametrize("failure", [SimulatedFailure.DENIED, SimulatedFailure.UNAVAILABLE])
def test_a_denial_or_an_outage_is_no_absence(strongroom_override, monkeypatch, failure):
    """Airflow would ask its other backends, and use their secrets, or report the connection as undefined."""
    from airflow.configuration import conf
    from airflow.exceptions import AirflowConfigException
    from airflow.models import Connection, Variable
    from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied

    strongroom_override({"connections/other": failure, "variables/other": failure, "config/fernet": failure})
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "http://elsewhere")
    monkeypatch.setenv("AIRFLOW_VAR_OTHER", "elsewhere")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY_SECRET", "fernet")
    with pytest.raises(AirflowSecretsBackendAccessDenied, match="connections/other"):
        Connection.get_connection_from_secrets("other")
    with pytest.raises(AirflowSecretsBackendAccessDenied, match="variables/other"):
        Variable.get_variable_from_secrets("other")
    with pytest.raises(AirflowConfigException, match="config/fernet"):
        conf.get("core", "fernet_key")


def test_a_secret_that_is_no_connection_is_named(strongroom_override):
    """The message names the keys to set, and shows no value."""
    from airflow.models import Connection
    from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied

    strongroom_override({"connections/wrong": {"hostname": "s3cret"}})
    with pytest.raises(AirflowSecretsBackendAccessDenied, match="conn_type") as raised:
        Connection.get_connection_from_secrets("wrong")
    assert "s3cret" not in str(raised.value)


@pytest.mark.usefixtures("chain")
def test_a_folder_that_is_none_is_not_looked_up():
    from strongroom.integrations.airflow import StrongroomBackend

    backend = StrongroomBackend(connections_path=None, variables_path=None, config_path=None)
    assert [backend.get_conn_value("uri"), backend.get_variable("text"), backend.get_config("fernet")] == [None] * 3


TEAMS = {
    "connections/warehouse": {"conn_uri": "http://shared"},
    "connections/shared": {"conn_uri": "http://shared"},
    "teams/team-a/connections/warehouse": {"conn_uri": "http://of-a"},
    "teams/team-b/connections/warehouse": {"conn_uri": "http://of-b"},
    "teams/team-b/connections/own": {"conn_uri": "http://of-b"},
    "variables/size": {"value": "shared"},
    "teams/team-a/variables/size": {"value": "of-a"},
    "teams/team-b/variables/own": {"value": "of-b"},
}


@pytest.fixture
def teams(strongroom_override, monkeypatch):
    """An Airflow with teams. Its other backends have nothing."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    monkeypatch.setattr("airflow.secrets.metastore.MetastoreBackend.get_connection", lambda *_, **__: None)
    monkeypatch.setattr("airflow.secrets.metastore.MetastoreBackend.get_variable", lambda *_, **__: None)
    return strongroom_override(TEAMS)


@pytest.mark.usefixtures("teams")
def test_the_folder_of_a_team_precedes_the_shared_one():
    from airflow.models import Connection, Variable

    def hosts(conn_id):
        return [Connection.get_connection_from_secrets(conn_id, team_name=team).host for team in TEAM_NAMES]

    assert hosts("warehouse") == ["shared", "of-a", "of-b"]
    assert hosts("shared") == ["shared"] * 3
    found = [Variable.get_variable_from_secrets("size", team_name=team) for team in TEAM_NAMES]
    assert found == ["shared", "of-a", "shared"]


@pytest.mark.usefixtures("teams")
@pytest.mark.parametrize(
    "up", ["", "teams/team-b/{kind}/", "../teams/team-b/{kind}/", "../../team-b/{kind}/", "/teams/team-b/{kind}/"]
)
def test_no_id_leads_to_the_folder_of_another_team(up):
    from airflow.exceptions import AirflowNotFoundException
    from airflow.models import Connection, Variable

    for team in [None, "team-a"]:
        with pytest.raises(AirflowNotFoundException):
            Connection.get_connection_from_secrets(f"{up.format(kind='connections')}own", team_name=team)
        assert Variable.get_variable_from_secrets(f"{up.format(kind='variables')}own", team_name=team) is None
    assert Connection.get_connection_from_secrets("own", team_name="team-b").host == "of-b"
    assert Variable.get_variable_from_secrets("own", team_name="team-b") == "of-b"


@pytest.mark.usefixtures("teams")
@pytest.mark.parametrize("team", ["../x", "..", ".", "team-a/connections/x", "/team-a", "team-a/", "a\\b", "a\nb"])
def test_a_team_whose_name_cannot_be_a_folder_gets_no_secret(team, monkeypatch):
    """Neither the shared one, nor one of another backend."""
    from airflow.models import Connection, Variable
    from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied

    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "http://elsewhere")
    monkeypatch.setenv("AIRFLOW_VAR_SIZE", "elsewhere")
    with pytest.raises(AirflowSecretsBackendAccessDenied, match=re.escape(f"The team {team!r} has no folder")):
        Connection.get_connection_from_secrets("warehouse", team_name=team)
    with pytest.raises(AirflowSecretsBackendAccessDenied, match=re.escape(f"The team {team!r} has no folder")):
        Variable.get_variable_from_secrets("size", team_name=team)


@pytest.mark.usefixtures("teams")
@pytest.mark.parametrize("failure", [SimulatedFailure.DENIED, SimulatedFailure.UNAVAILABLE])
def test_a_team_whose_folder_does_not_answer_gets_no_shared_secret(strongroom_override, failure):
    from airflow.models import Connection, Variable
    from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied

    strongroom_override(
        {**TEAMS, "teams/team-a/connections/warehouse": failure, "teams/team-a/variables/size": failure}
    )
    with pytest.raises(AirflowSecretsBackendAccessDenied, match="teams/team-a/connections/warehouse"):
        Connection.get_connection_from_secrets("warehouse", team_name="team-a")
    with pytest.raises(AirflowSecretsBackendAccessDenied, match="teams/team-a/variables/size"):
        Variable.get_variable_from_secrets("size", team_name="team-a")


@pytest.mark.parametrize("option", ["connections_path", "variables_path", "config_path"])
def test_a_folder_among_those_of_the_teams_is_refused(option):
    """An id below it would be a path of a team."""
    from strongroom.integrations.airflow import StrongroomBackend

    with pytest.raises(ValueError, match="teams"):
        StrongroomBackend(**{option: "teams/team-a"})


@pytest.fixture
def reader(monkeypatch):
    """A reader with an Airflow that has no configuration yet."""
    monkeypatch.delenv("AIRFLOW__SECRETS__BACKEND")
    with page_blocks.reading(monkeypatch):
        yield


def run(name: str, folder: Path) -> None:
    """Run the blocks of a page, whose database is put into the folder."""
    page = folder / "page.md"
    text = pages.page(name).read_text("utf-8")
    page.write_text(text.replace("/tmp/airflow.db", str(folder / "airflow.db")), "utf-8")
    page_blocks.run_page(page)


@pytest.mark.usefixtures("reader")
@pytest.mark.timeout(900)
def test_the_blocks_of_the_how_to_run(tmp_path):
    """Its DAG reads a connection and a variable, with a database that the chain leads to."""
    run("integrations/airflow.md", tmp_path)


@pytest.mark.usefixtures("reader")
@pytest.mark.timeout(900)
def test_the_blocks_about_moving_run(tmp_path, monkeypatch):
    """The new backend answers as that of the environment for the secrets that the page has moved."""
    from airflow.secrets.environment_variables import EnvironmentVariablesBackend

    from strongroom.integrations.airflow import StrongroomBackend

    run("moving/from-airflow.md", tmp_path)
    moved = Path("moved.toml")
    moved.write_text('chain = ["moved"]\nstores.moved = { plugin = "json", file = "secrets.json" }\n', "utf-8")
    monkeypatch.setenv("STRONGROOM_CONFIG", str(moved.absolute()))
    for name, value in re.findall(r"^(\w+)=(.*)$", Path("airflow.env").read_text("utf-8"), re.MULTILINE):
        monkeypatch.setenv(name, value)
    old, new = EnvironmentVariablesBackend(), StrongroomBackend()
    assert old.get_conn_value("warehouse") == new.get_conn_value("warehouse")
    assert old.get_variable("page_size") == new.get_variable("page_size") == "20"


def test_a_connection_that_the_database_exported_is_read(strongroom_override):
    """The how-to copies the fields that `airflow connections export` writes."""
    from airflow.models import Connection

    text = pages.page("moving/from-airflow.md").read_text("utf-8")
    [line] = re.findall(r"^payments = (.*)$", text, re.MULTILINE)
    fields = ast.literal_eval(line)
    assert set(fields) <= {"conn_type", "description", "login", "password", "host", "port", "schema", "extra"}
    strongroom_override({"connections/payments": {k: v for k, v in fields.items() if v is not None}})
    found = Connection.get_connection_from_secrets("payments")
    assert (found.conn_type, found.login, found.password, found.port) == ("http", "app", "hunter2", 8080)
    assert found.extra_dejson == {}
