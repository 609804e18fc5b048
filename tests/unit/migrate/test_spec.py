"""The name of a store on a command line, and the options that its LOCATION gives."""

from __future__ import annotations

import pytest

from strongroom import _plugins as plugins
from strongroom._config import Config, Rank, Setting, StoreConfig
from strongroom.errors import ConfigurationError
from strongroom.migrate.endpoints import Endpoints, Spec, located, parse_spec

CONFIGURED = Config(
    stores={
        "prod": StoreConfig(
            "prod",
            "vault",
            "strongroom.toml: [stores.prod]",
            {
                name: Setting(value, "strongroom.toml", Rank.FILE)
                for name, value in {"url": "https://vault.example", "mount": "kv", "prefix": "billing"}.items()
            },
        )
    }
)


def options(text, config=CONFIGURED):
    config, _ = located(config, text, plugins.STORES)
    return {name: given.value for name, given in config.store(text).options.items()}


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("vault", ("vault", None)),
        ("vault:secret/billing", ("vault", "secret/billing")),
        ("json:C:/odd.json", ("json", "C:/odd.json")),
        ("aws-ssm:/app/", ("aws-ssm", "/app/")),
    ],
)
def test_a_name_and_its_location(text, spec):
    assert parse_spec(text) == Spec(*spec)


@pytest.mark.parametrize("text", ["", ":x", "vault:"])
def test_a_part_that_is_empty_is_refused(text):
    with pytest.raises(ConfigurationError, match="PLUGIN:LOCATION"):
        parse_spec(text)


def test_vaults_location_is_a_mount_and_a_prefix():
    assert options("vault:kv") == {"mount": "kv"}
    assert options("vault:kv/team/app") == {"mount": "kv", "prefix": "team/app"}


def test_a_files_location_is_the_file():
    assert options("json:some/folder/file.json") == {"file": "some/folder/file.json"}


def test_a_location_takes_the_place_of_the_configured_one_as_a_whole():
    """`prod:other` is not `other/billing`."""
    assert options("prod") == {"url": "https://vault.example", "mount": "kv", "prefix": "billing"}
    assert options("prod:other") == {"url": "https://vault.example", "mount": "other"}


def test_a_plugin_without_a_location_refuses_one():
    with pytest.raises(ConfigurationError, match="takes no LOCATION"):
        options("memory:x")


@pytest.mark.parametrize(
    ("source", "prefixed"),
    [
        ("vault:secret/typo", True),
        ("vault:secret", False),
        ("vault", False),
        ("aws-ssm:/typo", True),
        ("json:secrets.json", False),
    ],
)
def test_a_location_with_a_prefix_is_recognized(source, prefixed):
    assert Endpoints(Config(), None).has_prefix(source) is prefixed
