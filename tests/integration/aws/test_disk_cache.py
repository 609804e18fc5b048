"""The disk cache with AWS: an identity is known without a request, or nothing lies on disk."""

from pathlib import Path

import pytest

from strongroom import SecretsManager

pytestmark = pytest.mark.long


@pytest.fixture
def secrets(aws, monkeypatch):
    """Return a function that reads as a new process does, and the number of requests that it sent."""
    monkeypatch.setenv("STRONGROOM_CACHE_DISK", "true")
    monkeypatch.setenv("STRONGROOM_CACHE_FOLDER", str(Path("cache").absolute()))
    options = f'endpoint_url = "{aws.proxy.url}"\nprefix = "{aws.prefix}"\n'
    Path("strongroom.toml").write_text(
        f'chain = ["aws-secretsmanager"]\n[stores.aws-secretsmanager]\n{options}', "utf-8"
    )
    monkeypatch.setenv("STRONGROOM_CONFIG", str(Path("strongroom.toml").absolute()))
    aws.secrets.create_secret(Name=aws.name("db/app"), SecretString='{"k": "v"}')

    def read():
        aws.forget()
        with SecretsManager() as manager:
            assert manager.get_secret("db/app", "k") == "v"
        return len(aws.asked)

    return read


def test_a_second_process_sends_nothing(secrets):
    assert secrets() > 0
    assert secrets() == 0


@pytest.mark.parametrize(("variable", "value"), [
    ("AWS_ACCESS_KEY_ID", "AKIAOTHERACCOUNT0000"),
    ("AWS_SESSION_TOKEN", "another-session"),
    ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/other"),
])  # fmt: skip
def test_another_identity_finds_nothing(secrets, monkeypatch, variable, value):
    secrets()
    monkeypatch.setenv(variable, value)
    assert secrets() > 0


def test_a_changed_file_of_credentials_finds_nothing(secrets, monkeypatch):
    file = Path("credentials").absolute()
    file.write_text("[default]\naws_access_key_id = one\naws_secret_access_key = one\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert [secrets() > 0, secrets() > 0] == [True, False]
    file.write_text("[default]\naws_access_key_id = two\naws_secret_access_key = two\n")
    assert secrets() > 0


def test_nothing_of_a_program_that_gives_credentials_lies_on_disk(secrets, monkeypatch):
    """Only the program knows whose they are."""
    file = Path("config").absolute()
    file.write_text("[profile other]\ncredential_process = /bin/false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    assert [secrets() > 0, secrets() > 0] == [True, True]
