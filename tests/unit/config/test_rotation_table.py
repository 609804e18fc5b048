"""The tables of `[rotation]`: what they say, and how a mistake is reported."""

import pytest

from strongroom._config import discovery
from strongroom._config.setting_types import parse_window
from strongroom.errors import ConfigurationError


def load(tmp_path, text, **options):
    file = tmp_path / "strongroom.toml"
    file.write_text(text)
    return discovery.load(config_file=file, environ={}, folder=tmp_path, **options).rotations


def test_a_table_names_the_rotator_its_options_and_the_schedule(tmp_path):
    found = load(
        tmp_path,
        '[rotation."database/app"]\nrotator = "postgres"\nevery = "30d"\nwindow = "02:00-05:00"\njitter = "1h"\n'
        'grace = "10m"\nstore = "vault"\nusers = ["a", "b"]\nadmin = "database/admin"\n',
    )["database/app"]
    assert (found.path, found.store, found.every, found.jitter, found.grace) == (
        "database/app",
        "vault",
        2_592_000,
        3600,
        600,
    )
    assert found.window == parse_window("02:00-05:00")
    assert found.rotator.plugin == "postgres"
    assert {name: given.value for name, given in found.rotator.options.items()} == {
        "users": ["a", "b"],
        "admin": "database/admin",
    }


def test_an_environment_overrides_it_key_by_key(tmp_path):
    found = load(
        tmp_path,
        'environment = "prod"\n[rotation.app]\nrotator = "password"\nevery = "90d"\nlength = 20\n'
        '[environments.prod.rotation.app]\nevery = "30d"\n[environments.prod.rotation.other]\nrotator = "token"\n',
    )
    assert (found["app"].every, found["app"].rotator.options["length"].value) == (2_592_000, 20)
    assert found["other"].rotator.plugin == "token"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('every = "30d"', "[rotation.app] rotator: is missing"),
        ('rotator = "password"\nevery = "monthly"', "[rotation.app] every: must be a duration"),
        ('rotator = "password"\nevery = "30s"', "[rotation.app] every: must be at least one minute"),
        ('rotator = "password"\nevery = "30d"\nwindow = "at night"', "[rotation.app] window: must be hours in UTC"),
        ('rotator = "password"\nevery = "30d"\njitter = -1', "[rotation.app] jitter: must be a duration"),
        ('rotator = "password"\nwindow = "02:00-05:00"', "[rotation.app] every: is missing"),
        ("rotator = 3", "[rotation.app] rotator: must be a string"),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_be_parsed_is_refused(tmp_path, settings, message):
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, f"[rotation.app]\n{settings}\n")
    assert message in str(caught.value)


def test_a_path_that_can_name_no_secret_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r'\[rotation."/app"\]: is not the path of a secret'):
        load(tmp_path, '[rotation."/app"]\nrotator = "password"\n')
