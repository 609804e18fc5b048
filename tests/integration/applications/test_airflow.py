"""A real Airflow that reads its connections, variables and options through a chain. `nox -s airflow` runs it.

Airflow has 150 dependencies, some of which exclude ours for development, so it has a separate environment.
"""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.testing import SimulatedFailure

pytest.importorskip("airflow", reason="Airflow has a separate environment: nox -s airflow", exc_type=ImportError)

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"
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


def write_files(page: str, folder: Path) -> None:
    """Write the blocks of a how-to that are files."""
    text = (HOW_TO / page).read_text("utf-8").replace("/tmp/airflow.db", str(folder / "airflow.db"))
    for name, block in re.findall(r"^```(?:ini|toml|python)\n# (\S+\.\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.touch(0o600)
        file.write_text(block, "utf-8")


@pytest.fixture
def moved(tmp_path, monkeypatch):
    """The folder of a reader who has moved the variables of Airflow to a file, as the how-to says."""
    from strongroom.cli.app import run

    write_files("moving/from-airflow.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIRFLOW__SECRETS__BACKEND")  # the configuration of Airflow is the old one
    monkeypatch.setenv("STRONGROOM_TRUSTED_PATHS", str(tmp_path))
    files = ["--env-file", "airflow.env", "--mapping-file", "mapping.toml", "--to", "json:secrets.json"]
    assert run(["migrate", *files, "--yes"]) == 0
    for line in Path("airflow.env").read_text("utf-8").splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    return tmp_path


@pytest.mark.usefixtures("moved")
def test_a_moved_secret_is_the_one_of_the_environment():
    """The script of the how-to compares both backends, and notices a change."""
    compare = [sys.executable, "compare.py"]
    done = subprocess.run(compare, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["both backends agree"]), done.stderr
    secrets = Path("secrets.json")
    secrets.write_text(secrets.read_text("utf-8").replace("s%40cret", "other"), "utf-8")
    done = subprocess.run(compare, check=False, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "AssertionError: warehouse"


def test_a_connection_that_the_database_exported_is_read(strongroom_override):
    """The how-to copies the fields that `airflow connections export` writes."""
    from airflow.models import Connection

    text = (HOW_TO / "moving" / "from-airflow.md").read_text("utf-8")
    [line] = re.findall(r"^payments = (.*)$", text, re.MULTILINE)
    fields = ast.literal_eval(line)
    assert set(fields) <= {"conn_type", "description", "login", "password", "host", "port", "schema", "extra"}
    strongroom_override({"connections/payments": {k: v for k, v in fields.items() if v is not None}})
    found = Connection.get_connection_from_secrets("payments")
    assert (found.conn_type, found.login, found.password, found.port) == ("http", "app", "hunter2", 8080)
    assert found.extra_dejson == {}


@pytest.mark.timeout(900)
def test_the_dag_of_the_how_to_runs(tmp_path, monkeypatch):
    """With the files of the page, in a database that the chain leads to."""
    write_files("integrations/airflow.md", tmp_path)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.delenv("AIRFLOW__SECRETS__BACKEND")
    airflow = [sys.executable, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], cwd=tmp_path, check=True, capture_output=True)
    command = [*airflow, "dags", "test", "report"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "20 rows from localhost as report" in done.stdout + done.stderr
