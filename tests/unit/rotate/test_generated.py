"""Generated passwords and tokens, and the rules that are refused."""

import pytest

from strongroom.errors import ConfigurationError
from strongroom.rotate.spi import CredentialPair, PasswordRules, generate
from strongroom.secret import SensitiveDict, SensitiveStr
from strongroom_rotators.generated import open_password, open_token

DIGITS = "0123456789"


def test_a_password_has_the_length_and_characters_of_its_rules():
    rules = PasswordRules(24, "abcdefgh" + DIGITS + "!?", (DIGITS, "!?"))
    for _ in range(50):
        password = generate(rules).reveal()
        assert len(password) == 24
        assert set(password) <= set(rules.alphabet)
        assert set(password) & set(DIGITS)
        assert set(password) & set("!?")


def test_passwords_differ_and_are_redacted():
    made = {generate() for _ in range(100)}
    assert len(made) == 100
    assert all(isinstance(password, SensitiveStr) for password in made)


@pytest.mark.parametrize(
    "rules",
    [
        {"length": 0},
        {"length": 10},
        {"length": 5000},
        {"alphabet": ""},
        {"alphabet": "a"},
        {"alphabet": "aab"},
        {"alphabet": "ab\n", "length": 100},
        {"required": ("!",)},
    ],
    ids=str,
)
def test_rules_that_cannot_be_met_or_that_can_be_guessed_are_refused(rules):
    with pytest.raises(ConfigurationError):
        PasswordRules(**rules)


def test_the_value_before_stays_readable_until_it_is_revoked():
    rotator = open_password(previous_key="previous_password")
    current = SensitiveDict(password="old", user="app")
    made = rotator.create(current)
    assert made["previous_password"] == "old"
    assert len(made["password"]) == 32
    credentials = CredentialPair("app", old=current, new=SensitiveDict({**current, **made}))
    rotator.apply(credentials)
    rotator.prove(credentials)
    assert rotator.revoke(credentials) == ["previous_password"]
    assert open_password().revoke(credentials) == []


def test_a_token_has_its_size_format_and_prefix():
    (token,) = open_token(size=20, format="hex", prefix="acme_").create(SensitiveDict()).values()
    assert token.startswith("acme_")
    assert len(bytes.fromhex(token.removeprefix("acme_"))) == 20
    with pytest.raises(ConfigurationError, match="size"):
        open_token(size=8)
    with pytest.raises(ConfigurationError, match="previous_key"):
        open_token(key="a", previous_key="a")
