"""Rotations that a service carries out: a database engine on a real OpenBao, and AWS on moto."""

import io
import json
import secrets
import threading
import uuid
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from botocore.config import Config

from strongroom import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.errors import (
    ConfigurationError,
    PermissionDeniedError,
    UnsupportedOperationError,
)
from strongroom.rotate import service
from strongroom.rotate.rotations import Rotations
from strongroom.rotate.runner import Runner
from strongroom.rotate.state import pending_path
from strongroom_aws.plugin import open_secrets_manager
from strongroom_aws.secrets_manager.rotator import open_secrets_manager_rotator
from strongroom_vault.dynamic.rotator import VaultDatabaseRotator
from support.scenarios.load import wait_until
from support.scenarios.rotating import Killed, Time, process_killed
from support.services.aws import REGION

PATH = "database/app"


# --- a database engine ------------------------------------------------------------------------------------------------


@pytest.fixture
def openbao(audited_openbao):
    """A server that counts requests."""
    return audited_openbao


class Engine:
    """A database engine with a static role for a user of PostgreSQL."""

    def __init__(self, openbao, postgres, folder):
        self.openbao = openbao
        self.postgres = postgres
        self.mount = f"db-{secrets.token_hex(4)}"
        self.user = f"static_{secrets.token_hex(4)}"
        self.admin = f"engine_{secrets.token_hex(4)}"
        self.file = folder / "strongroom.toml"
        postgres.run(f"CREATE ROLE {self.user} LOGIN PASSWORD 'first'")
        postgres.run(f"CREATE ROLE {self.admin} SUPERUSER LOGIN PASSWORD 'engine-first'")
        openbao.call("POST", f"sys/mounts/{self.mount}", {"type": "database"})
        connection = {
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": ["*"],
            "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{postgres.port}/postgres",
            "username": self.admin,
            "password": "engine-first",
        }
        openbao.call("POST", f"{self.mount}/config/pg", connection)
        role = {"db_name": "pg", "username": self.user, "rotation_period": "24h"}
        openbao.call("POST", f"{self.mount}/static-roles/app", role)
        self.kv = openbao.fresh_mount(version=2)

    @property
    def rotations(self):
        """How often the engine was asked to rotate."""
        paths = (f"{self.mount}/rotate-role/app", f"{self.mount}/rotate-root/pg")
        return sum(self.openbao.requests(path, operation="update") for path in paths)

    def configure(self, settings, token=None, *, chain=("db", "kv")):
        """Return a manager whose rotation has these settings."""
        self.file.write_text(
            f'chain = {json.dumps(chain)}\n[stores.kv]\nplugin = "vault"\nurl = "{self.openbao.url}"\n'
            f'token = "{token or self.openbao.token}"\nmount = "{self.kv}"\n'
            f'[stores.db]\nplugin = "vault-dynamic"\nurl = "{self.openbao.url}"\n'
            f'token = "{token or self.openbao.token}"\nmount = "{self.mount}"\n'
            f'paths = {{ "{PATH}" = "static-creds/app" }}\n'
            f'[rotation."{PATH}"]\nrotator = "vault-database"\nstore = "db"\nmount = "{self.mount}"\n{settings}'
        )
        return SecretsManager.from_config(self.file)


@pytest.fixture
def engine(openbao, postgres, tmp_path):
    return Engine(openbao, postgres, tmp_path)


def test_a_static_role_is_rotated_by_the_engine(engine):
    with engine.configure('role = "app"\nevery = "30d"\n') as manager:
        before = manager.get_secret(PATH, "password")
        assert engine.postgres.lets_in(engine.user, before)
        status = manager.rotations.rotate(PATH)
        after = manager.get_secret(PATH, "password")
        assert (status.state, status.store, status.unfinished) == ("done", "db", False)
        assert (status.due - status.last_success).days == 30
        assert Runner(manager.rotations).run_once() == []
    assert after != before
    assert engine.postgres.lets_in(engine.user, after)
    assert not engine.postgres.lets_in(engine.user, before)


def test_the_root_credential_of_a_connection_is_rotated(engine):
    with engine.configure('root = "pg"\n', chain=["db"]) as manager:
        assert engine.postgres.lets_in(engine.admin, "engine-first")
        manager.rotations.rotate(PATH)
        assert not engine.postgres.lets_in(engine.admin, "engine-first")


def scheduler(manager, time):
    """A scheduler whose clock is moved by hand."""
    return Runner(Rotations(parts_of(manager).chain, parts_of(manager).threads, manager.config, clock=time))


@pytest.mark.parametrize("settings", ['role = "app"\n', 'root = "pg"\n'], ids=["static role", "root"])
def test_of_two_schedulers_that_look_at_one_moment_one_rotates(engine, settings, monkeypatch):
    """Both have seen that the secret is due before either of them asks the engine."""
    time = Time(datetime.now(UTC).isoformat())
    time.move(days=31)
    seen, looks = threading.Barrier(2), Counter()
    last_rotation = VaultDatabaseRotator.last_rotation

    def wait_for_the_other(rotator, store, path):
        last = last_rotation(rotator, store, path)
        looks[rotator] += 1
        if looks[rotator] == 2 and not engine.rotations:  # the look that the first write is checked against
            seen.wait(60)
        return last

    monkeypatch.setattr(VaultDatabaseRotator, "last_rotation", wait_for_the_other)
    settings += 'every = "30d"\n'
    with engine.configure(settings) as one, engine.configure(settings) as other:
        schedulers = [scheduler(one, time), scheduler(other, time)]
        with ThreadPoolExecutor(2) as executor:
            outcomes = [outcome for found in executor.map(Runner.run_once, schedulers) for outcome in found]
        assert engine.rotations == 1
        assert [(outcome.error, outcome.status.state) for outcome in outcomes] == [(None, "done")]
        time.move(days=29)
        assert [found for each in schedulers for found in each.run_once()] == []
        [status] = other.rotations.status()
        assert (status.state, status.unfinished, status.overdue) == ("done", False, False)
        time.move(days=2)
        assert [outcome.status.state for each in schedulers for outcome in each.run_once()] == ["done"]
    assert engine.rotations == 2


def test_a_scheduler_that_dies_after_its_request_leaves_one_rotation(engine, monkeypatch):
    """Another one sees in the engine that it has rotated."""

    def die(rotator, store, path):
        start(rotator, store, path)
        raise Killed

    time = Time(datetime.now(UTC).isoformat())
    time.move(days=31)
    start = VaultDatabaseRotator.start
    with engine.configure('role = "app"\nevery = "30d"\n') as manager:
        with monkeypatch.context() as patches:
            patches.setattr(VaultDatabaseRotator, "start", die)
            with process_killed():
                scheduler(manager, time).run_once()
        assert scheduler(manager, time).run_once() == []
        [status] = manager.rotations.status()
        assert (status.state, status.unfinished) == ("applied", True)
        time.move(minutes=3)
        assert [outcome.status.state for outcome in scheduler(manager, time).run_once()] == ["done"]
    assert engine.rotations == 1


def test_a_policy_for_the_role_and_the_record_is_enough(engine):
    time = Time(datetime.now(UTC).isoformat())
    time.move(days=31)
    rights = {
        f"{engine.mount}/static-roles/app": ["read"],
        f"{engine.mount}/rotate-role/app": ["update"],
        f"{engine.kv}/data/{pending_path(PATH)}": ["create", "read", "update"],
    }
    with engine.configure('role = "app"\nevery = "30d"\n', engine.openbao.issue_token(rights)) as manager:
        assert [outcome.status.state for outcome in scheduler(manager, time).run_once()] == ["done"]
    assert engine.rotations == 1


def test_a_schedule_needs_a_store_for_its_record(engine):
    """Without one, nothing is rotated."""
    with engine.configure('role = "app"\nevery = "30d"\n', chain=["db"]) as manager:
        [outcome] = Runner(manager.rotations).run_once()
    assert isinstance(outcome.error, UnsupportedOperationError)
    assert "two schedulers could rotate it twice" in str(outcome.error)
    assert "run by cron: strongroom rotate database/app" in str(outcome.error)
    assert engine.rotations == 0


def test_without_a_schedule_the_engine_is_not_asked(engine):
    with engine.configure('role = "app"\n') as manager:
        assert Runner(manager.rotations).run_once() == []
    assert engine.openbao.requests(f"{engine.mount}/static-roles/app", operation="read") == 0


def test_what_the_engine_refuses_is_named(engine):
    with engine.configure('role = "none"\n') as manager, pytest.raises(ConfigurationError, match="static role 'none'"):
        manager.rotations.rotate(PATH)
    token = engine.openbao.issue_token({f"{engine.mount}/static-creds/app": ["read"]})
    with engine.configure('role = "app"\n', token) as manager, pytest.raises(PermissionDeniedError):
        manager.rotations.rotate(PATH)
    with engine.configure("") as manager, pytest.raises(ConfigurationError, match="give either `role` or `root`"):
        manager.rotations.rotate(PATH)
    with (
        engine.configure('role = "app"\n') as manager,
        pytest.raises(UnsupportedOperationError, match="to the service"),
    ):
        manager.rotations.undo(PATH)


# --- AWS --------------------------------------------------------------------------------------------------------------


FUNCTION = """
import json, time
import boto3

def handler(event, context):
    client = boto3.client("secretsmanager")
    path, token, step = event["SecretId"], event["ClientRequestToken"], event["Step"]
    if step == "createSecret":
        word = client.get_random_password(ExcludePunctuation=True)["RandomPassword"]
        secret = json.dumps({"password": word})
        client.put_secret_value(
            SecretId=path, ClientRequestToken=token, SecretString=secret, VersionStages=["AWSPENDING"]
        )
    elif step == "setSecret":
        while any(tag["Key"] == "held" for tag in client.describe_secret(SecretId=path).get("Tags", [])):
            time.sleep(0.02)
    elif step == "finishSecret":
        versions = client.describe_secret(SecretId=path)["VersionIdsToStages"]
        [current] = [version for version, stages in versions.items() if "AWSCURRENT" in stages]
        move = client.update_secret_version_stage
        move(SecretId=path, VersionStage="AWSCURRENT", RemoveFromVersionId=current, MoveToVersionId=token)
        move(SecretId=path, VersionStage="AWSPENDING", RemoveFromVersionId=token)
"""
"""AWS's template of a rotation function. It waits in the step `setSecret` while the secret has the tag `held`."""


class Rotating:
    """A secret in moto."""

    def __init__(self, moto):
        self._moto = moto
        self.client = moto.client("secretsmanager")
        self.path = f"app-{uuid.uuid4().hex[:8]}"
        self.client.create_secret(Name=self.path, SecretString=json.dumps({"password": "first"}))

    def attach(self):
        """Attach a rotation function, which rotates the secret for the first time."""
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("function.py", FUNCTION)
        patient = Config(read_timeout=120, retries={"total_max_attempts": 1})  # moto loads these services now
        iam, functions = (self._moto.client(service, config=patient) for service in ("iam", "lambda"))
        role = iam.create_role(RoleName=self.path, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        function = functions.create_function(
            FunctionName=self.path,
            Runtime="python3.12",
            Role=role,
            Handler="function.handler",
            Code={"ZipFile": code.getvalue()},
        )
        rules = {"AutomaticallyAfterDays": 30}
        self.client.rotate_secret(SecretId=self.path, RotationLambdaARN=function["FunctionArn"], RotationRules=rules)
        wait_until(lambda: len(self.versions()) == 2 and not self.is_pending())

    def versions(self):
        """Return version -> stages."""
        return self.client.describe_secret(SecretId=self.path)["VersionIdsToStages"]

    def is_pending(self):
        """Return True while the function works."""
        return any("AWSPENDING" in stages for stages in self.versions().values())

    def hold(self):
        """Let the function wait in the middle of its next rotation."""
        self.client.tag_resource(SecretId=self.path, Tags=[{"Key": "held", "Value": "yes"}])

    def release(self):
        """Let the function go on."""
        self.client.untag_resource(SecretId=self.path, TagKeys=["held"])


@pytest.fixture
def rotating(moto, monkeypatch):
    moto.use(monkeypatch)
    return Rotating(moto)


def test_a_secret_is_rotated_by_its_function_in_aws(rotating, moto, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "_PAUSE", 0.02)
    rotating.attach()
    file = tmp_path / "strongroom.toml"
    file.write_text(
        f'chain = ["aws-secretsmanager"]\n[stores.aws-secretsmanager]\nregion = "{REGION}"\n'
        f'endpoint_url = "{moto.url}"\n[rotation."{rotating.path}"]\nrotator = "aws-secretsmanager"\nevery = "30d"\n'
    )
    with SecretsManager.from_config(file) as manager:
        before = manager.get_secret(rotating.path, "password")
        status = manager.rotations.rotate(rotating.path)
        after = manager.get_secret(rotating.path, "password")
        assert (status.state, status.unfinished, status.overdue) == ("done", False, False)
        assert Runner(manager.rotations).run_once() == []
    assert before not in {"first", after}
    assert len(rotating.versions()) == 3


def test_without_a_rotation_in_aws_nothing_is_started(rotating, moto):
    store = open_secrets_manager(endpoint_url=moto.url, region=REGION)
    with pytest.raises(UnsupportedOperationError, match="no rotation is configured for it in Secrets Manager"):
        open_secrets_manager_rotator().start(store, rotating.path)


def test_a_schedule_needs_the_time_of_the_last_rotation(rotating, moto, tmp_path):
    """Without a record, a scheduler would rotate at every look."""
    file = tmp_path / "strongroom.toml"
    file.write_text(
        f'chain = ["aws-secretsmanager"]\n[stores.aws-secretsmanager]\nregion = "{REGION}"\n'
        f'endpoint_url = "{moto.url}"\n[rotation."{rotating.path}"]\nrotator = "aws-secretsmanager"\nevery = "30d"\n'
    )
    with SecretsManager.from_config(file) as manager:
        [outcome] = Runner(manager.rotations).run_once()
    assert isinstance(outcome.error, UnsupportedOperationError)
    assert "does not tell when it last rotated the secret" in str(outcome.error)
    assert len(rotating.versions()) == 1


def test_a_rotation_of_aws_is_started_joined_and_followed(rotating, moto):
    rotating.attach()
    rotating.hold()
    store = open_secrets_manager(endpoint_url=moto.url, region=REGION)
    one, other = open_secrets_manager_rotator(), open_secrets_manager_rotator()
    one.start(store, rotating.path)
    other.start(store, rotating.path)
    assert rotating.is_pending()
    assert not one.finished(store, rotating.path)
    assert not other.finished(store, rotating.path)
    rotating.release()
    wait_until(lambda: one.finished(store, rotating.path))
    assert other.finished(store, rotating.path)
    assert len(rotating.versions()) == 3, "both started one rotation"


def test_schedulers_that_saw_one_due_date_start_one_rotation(rotating, moto):
    """Also if one of them asks when the rotation of the other has finished."""
    rotating.attach()
    store = open_secrets_manager(endpoint_url=moto.url, region=REGION)
    one, late = open_secrets_manager_rotator(), open_secrets_manager_rotator()
    assert one.last_rotation(store, rotating.path) == late.last_rotation(store, rotating.path) is not None
    one.start(store, rotating.path)
    wait_until(lambda: one.finished(store, rotating.path))
    late.start(store, rotating.path)
    assert late.finished(store, rotating.path)
    assert len(rotating.versions()) == 3


def test_the_rotator_needs_a_store_of_aws(rotating, openbao, kv2, tmp_path):
    file = tmp_path / "strongroom.toml"
    file.write_text(
        f'chain = ["vault"]\n[stores.vault]\nurl = "{openbao.url}"\ntoken = "{openbao.token}"\nmount = "{kv2}"\n'
        f'[rotation."{PATH}"]\nrotator = "aws-secretsmanager"\n'
    )
    with (
        SecretsManager.from_config(file) as manager,
        pytest.raises(UnsupportedOperationError, match="AWS Secrets Manager alone"),
    ):
        manager.rotations.rotate(PATH)


def test_a_store_of_aws_without_check_and_set_is_refused_for_other_rotators(rotating, moto, tmp_path):
    file = tmp_path / "strongroom.toml"
    file.write_text(
        f'chain = ["aws-secretsmanager"]\n[stores.aws-secretsmanager]\nregion = "{REGION}"\n'
        f'endpoint_url = "{moto.url}"\n'
        f'[rotation."{rotating.path}"]\nrotator = "token"\nkey = "password"\n'
    )
    with SecretsManager.from_config(file) as manager:
        with pytest.raises(UnsupportedOperationError, match="check-and-set") as caught:
            manager.rotations.rotate(rotating.path)
        assert "let its service rotate it" in str(caught.value)
        assert manager.get_secret(rotating.path, "password") == "first"
