"""Variables as a source: each becomes a key of a secret, or is listed with the reason why not."""

import os
from pathlib import Path

import pytest

from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    MissingFileError,
    PermissionDeniedError,
    StoreUnavailableError,
)
from strongroom.formats.variables import EnvironmentMapping
from strongroom.migrate._plans.mapping_file import parse_json
from strongroom.migrate.spi import Failure
from strongroom.migrate.variables_importer import VariablesImporter, open_dotenv, open_env, read_variables
from strongroom.secret import Secret

SECRET = "hunter2-9c"


def taken(variables, file=None, *, mapping=None, keep_empty=False):
    """The secrets, path to data, and why the other variables are none, name to reason."""
    rules = None if file is None else parse_json(file, "mapping.json")
    importer = VariablesImporter(
        lambda: variables, "a test", mapping or EnvironmentMapping(), rules, keep_empty=keep_empty
    )
    items = list(importer.items())
    secrets = {item.path: dict(item.data) for item in items if isinstance(item, Secret)}
    failures = {item.name: item for item in items if isinstance(item, Failure)}
    assert len(secrets) + len(failures) == len(items)
    assert SECRET not in f"{failures!r} {[str(failure.error) for failure in failures.values()]}"
    return secrets, failures


def test_the_table_the_rows_and_the_pattern_say_where_a_variable_goes():
    """Keys of one path are one secret. The open rule says nothing: it cannot be read backwards."""
    mapping = EnvironmentMapping({"SENTRY_DSN": ("monitoring/sentry", "dsn")})
    variables = {
        "DB_HOST": "db",
        "SENTRY_DSN": "https://s",
        "DB_PASSWORD": SECRET,
        "ACME_API_KEY": "a",
        "APP_CONFIG_NAME": "n",
    }
    secrets, failures = taken(variables, mapping=mapping)
    assert secrets == {
        "database/connection": {"host": "db", "password": SECRET},
        "monitoring/sentry": {"dsn": "https://s"},
        "api-keys/acme": {"key": "a"},
    }
    assert list(failures) == ["APP_CONFIG_NAME"]


def test_every_variable_comes_out_as_one_or_the_other():
    """Nothing is dropped in silence."""
    variables = {"PATH": "/bin", "DB_HOST": "db", "VAULT_ADDR": "x", "EMPTY": "", "REDIS_PORT": "tcp://10.0.0.1:6379"}
    secrets, failures = taken(variables)
    assert secrets == {"database/connection": {"host": "db"}}
    assert failures.keys() == {"PATH", "VAULT_ADDR", "EMPTY", "REDIS_PORT"}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PATH", SECRET, "no mapping: add it to [secrets]"),
        ("VAULT_TOKEN", SECRET, "reserved for credentials of stores, which are never migrated"),
        ("bao_token", SECRET, "reserved"),
        ("STRONGROOM_CONFIG", SECRET, "reserved"),
        ("AWS_SECRET_ACCESS_KEY", SECRET, "reserved"),
        ("DB_PASSWORD", "", "it is empty, so it is missing"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379", "Kubernetes service link"),
    ],
)
def test_what_is_not_taken_says_why(name, value, reason):
    """It is listed for the operator, and is no error."""
    secrets, failures = taken({name: value})
    assert secrets == {}
    assert failures[name].unmapped
    assert str(failures[name].error).startswith(f"{name}: ")
    assert reason in str(failures[name].error)


def test_an_empty_variable_can_be_a_value():
    """Where that is configured."""
    assert taken({"DB_PASSWORD": ""}, keep_empty=True)[0] == {"database/connection": {"password": ""}}


def test_bytes_of_the_environment_stay_bytes():
    """Which Python shows as lone surrogates."""
    secrets, _ = taken({"DB_PASSWORD": os.fsdecode(b"\xff\xfe")})
    assert secrets == {"database/connection": {"password": b"\xff\xfe"}}


# --- by a mapping file ------------------------------------------------------------------------------------------------


def test_a_mapping_file_decides_alone():
    """Renamed, by a pattern, and not at all where it says nothing."""
    file = """{"version": 1, "variables": {
        "DB_PASSWORD": "app/database#pw", "ACME_API_KEY": {"to": "partners/acme#token"},
        "*_API_KEY": "keys/{1}#key", "DB_*_*": "db/{2}#{1}", "TODO": ""}}"""
    variables = {
        "DB_PASSWORD": "p",
        "ACME_API_KEY": "a",
        "OTHER_ONE_API_KEY": "o",
        "DB_USER_MAIN": "u",
        "TODO": "t",
        "DB_HOST": "h",
    }
    secrets, failures = taken(variables, file)
    assert secrets == {
        "app/database": {"pw": "p"},
        "partners/acme": {"token": "a"},
        "keys/other_one": {"key": "o"},
        "db/main": {"user": "u"},
    }
    assert failures.keys() == {"TODO", "DB_HOST"}
    assert all("add it to the mapping file" in str(failure.error) for failure in failures.values())


def test_a_value_is_split_into_keys():
    """With their types; beside keys of other variables."""
    file = """{"version": 1, "variables": {
        "REDIS": {"to": "cache/redis", "split": "json"}, "REDIS_USER": "cache/redis#user"}}"""
    secrets, failures = taken({"REDIS": '{"host": "r", "port": 6379, "tls": true}', "REDIS_USER": "u"}, file)
    assert secrets == {"cache/redis": {"host": "r", "port": 6379, "tls": True, "user": "u"}}
    assert failures == {}


def test_what_opens_a_store_is_not_taken_out_of_a_value_that_is_split():
    """It is listed as the variable's key, and the other keys go on."""
    file = '{"version": 1, "variables": {"CONF": {"to": "app", "split": "json"}, "B": {"to": "b", "split": "json"}}}'
    variables = {"CONF": f'{{"VAULT_TOKEN": "{SECRET}", "a": 1, "aws_secret_access_key": "{SECRET}"}}'}
    secrets, failures = taken({**variables, "B": f'{{"BAO_TOKEN": "{SECRET}"}}'}, file)
    assert secrets == {"app": {"a": 1}}
    assert failures.keys() == {"CONF#VAULT_TOKEN", "CONF#aws_secret_access_key", "B#BAO_TOKEN"}
    assert all(failure.unmapped for failure in failures.values())
    assert all("are never migrated" in str(failure.error) for failure in failures.values())


@pytest.mark.parametrize("value", ["hunter2-9c", '["hunter2-9c"]', "{}", '{"k": "hunter2-9c", "k": 1}', '{"": "x"}'])
def test_what_cannot_be_split_is_an_error_of_its_own(value):
    """The others go on."""
    file = '{"version": 1, "variables": {"REDIS": {"to": "cache/redis", "split": "json"}, "A": "a#k"}}'
    secrets, failures = taken({"REDIS": value, "A": "v"}, file)
    assert secrets == {"a": {"k": "v"}}
    assert not failures["REDIS"].unmapped


def test_two_variables_for_one_key_are_a_dispute():
    """Which of them is meant nobody knows, so neither is taken; with the same value there is none."""
    file = '{"version": 1, "variables": {"A": "p#k", "B": "p#k", "C": "p#other", "D": "q#k", "E": "q#k"}}'
    secrets, failures = taken({"A": "1", "B": SECRET, "C": "3", "D": "4", "E": "4"}, file)
    assert secrets == {"p": {"other": "3"}, "q": {"k": "4"}}
    assert failures.keys() == {"A", "B"}
    for failure in failures.values():
        assert isinstance(failure.error, InvalidDataError)
        assert "A and B map to key 'k' with different values" in str(failure.error)
        assert not failure.unmapped


def test_a_pattern_that_makes_no_path_is_an_error_of_that_variable():
    """A name can be all stars and nothing."""
    secrets, failures = taken(
        {"_API_KEY": "v", "A_API_KEY": "w"}, '{"version": 1, "variables": {"*_API_KEY": "k/{1}#k"}}'
    )
    assert secrets == {"k/a": {"k": "w"}}
    assert not failures["_API_KEY"].unmapped


# --- the sources ------------------------------------------------------------------------------------------------------


def test_the_environment_is_read_anew_each_time(monkeypatch):
    """As it is when it is asked."""
    importer = open_env(mapping=EnvironmentMapping())
    monkeypatch.setenv("DB_HOST", "one")
    assert any(isinstance(item, Secret) and item.data == {"host": "one"} for item in importer.items())
    monkeypatch.setenv("DB_HOST", "two")
    assert any(isinstance(item, Secret) and item.data == {"host": "two"} for item in importer.items())
    importer.close()
    importer.close()


def test_a_dotenv_file_is_read_as_it_stands(tmp_path):
    """Nothing is expanded, and a relative name is of the folder that it was opened in."""
    Path(".env").touch(0o600)
    Path(".env").write_text("DB_HOST='${HOME}'\nDB_USER=app # who\nOTHER=x\n")
    importer = open_dotenv(mapping=EnvironmentMapping())
    os.chdir(tmp_path)
    items = list(importer.items())
    assert [dict(item.data) for item in items if isinstance(item, Secret)] == [{"host": "${HOME}", "user": "app"}]
    assert [item.name for item in items if isinstance(item, Failure)] == ["OTHER"]


def test_a_line_without_a_value_is_listed_by_its_number(tmp_path):
    """By no name: it may be a piece of a value."""
    file = tmp_path / ".env"
    file.touch(0o600)
    file.write_text(f"DB_HOST=h\nDB_USER\n\n{SECRET.partition('-')[0]}\nDB_PORT=\n")
    first, *others = open_dotenv(mapping=EnvironmentMapping(), file=file).items()
    assert isinstance(first, Secret)
    assert first.data == {"host": "h"}
    assert [(item.name, item.unmapped) for item in others] == [("DB_PORT", True), ("line 2", True), ("line 4", True)]
    assert SECRET.partition("-")[0] not in repr(others)


def test_a_file_that_is_not_there_is_no_empty_source(tmp_path):
    """A mistake in its name would be a migration of nothing."""
    with pytest.raises(MissingFileError, match="There is no"):
        read_variables(tmp_path / ".env")
    with pytest.raises(MissingFileError):
        list(open_dotenv(mapping=EnvironmentMapping(), file=tmp_path / ".env").items())


def test_a_file_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    """Whatever keeps it from being read."""
    file = tmp_path / ".env"
    os.mkfifo(file)
    with pytest.raises(StoreUnavailableError, match="regular file"):
        read_variables(file)
    file.unlink()
    file.touch(0o600)
    file.write_text("DB_HOST='hunter2-9c\n")
    with pytest.raises(ConfigurationError, match="line 1") as caught:
        read_variables(file)
    assert SECRET not in str(caught.value)

    def refuse(*arguments, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionDeniedError):
        read_variables(file)


def test_a_mapping_file_is_read_when_the_source_is_opened(tmp_path):
    """So that its mistakes are known before anything is read."""
    file = tmp_path / "mapping.toml"
    file.write_text('version = 1\n[variables]\nOTHER = "app/other#key"\n')
    (tmp_path / ".env").touch(0o600)
    (tmp_path / ".env").write_text("OTHER=x\nDB_HOST=y\n")
    importer = open_dotenv(mapping=EnvironmentMapping(), file=tmp_path / ".env", mapping_file=file)
    assert [item.path for item in importer.items() if isinstance(item, Secret)] == ["app/other"]
    file.write_text("version = 2\n")
    with pytest.raises(
        ConfigurationError, match=r"mapping\.toml: it needs a later Strongroom: its format is version 2"
    ):
        open_env(mapping=EnvironmentMapping(), mapping_file=file)


def test_a_number_that_would_be_rounded_is_not_split():
    """The error names the variable and the key, and not the number."""
    file = '{"version": 1, "variables": {"DB": {"to": "db", "split": "json"}}}'
    secrets, failures = taken({"DB": '{"price": 12345678901234567890.5}'}, file)
    assert secrets == {}
    assert "DB cannot be split: key 'price': a number would be rounded" in str(failures["DB"].error)
    assert "12345" not in str(failures["DB"].error)


EXPANDED = {
    "A=`id`": True,
    "A=${HOME}": True,
    "A=pa$$word": True,
    'A="x\\$y"': True,
    'A="x`id`"': True,
    "A='${HOME}'": True,
    'A="x\\$"': True,
    "A=P@$$": True,
    "A=a$!b": True,
    "A=a$@": True,
    'A="a$*$#$?$-"': True,
    'A="cost$"': False,
    "A=a$.b": False,
    "A='pa$word`'": False,
    "A=plain # costs $HOME and `id`": False,
    'A="plain" # costs $HOME': False,
    "A=trailing$": False,
    "# A=`id`": False,
}


@pytest.mark.parametrize(("line", "warned"), EXPANDED.items())
def test_a_value_that_a_shell_would_replace_is_warned_of_with_its_line(tmp_path, caplog, line, warned):
    """It is copied as it is written, and the warning does not show it."""
    file = tmp_path / ".env"
    file.touch(0o600)
    file.write_text(f"FIRST=1\n\n{line}\n")
    read_variables(file)
    read_variables(file)
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == warned
    assert all(f"{file}: line 3: a shell would replace" in message for message in found)
    assert not any("word" in message or "HOME" in message for message in found)


def test_many_such_lines_are_one_warning(tmp_path, caplog):
    file = tmp_path / ".env"
    file.touch(0o600)
    file.write_text("".join(f"A{number}=`id`\n" for number in range(50)))
    read_variables(file)
    [record] = caplog.records
    assert record.getMessage().startswith(f"{file}: lines 1, 2, 3,")
    assert "20 and 30 more: a shell" in record.getMessage()


def test_a_variable_with_dots_is_added_to_a_mapping_file():
    """A row of [secrets] cannot name it."""
    _, failures = taken({"spring.datasource.password": SECRET, "TODO": SECRET})
    assert "add it to a mapping file (--mapping-file)" in str(failures["spring.datasource.password"].error)
    assert "add it to [secrets]" in str(failures["TODO"].error)
    file = '{"version": 1, "variables": {"spring.datasource.password": "spring#password"}}'
    secrets, failures = taken({"spring.datasource.password": SECRET}, file)
    assert (secrets, failures) == ({"spring": {"password": SECRET}}, {})
