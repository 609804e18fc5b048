"""Generated passwords, from the operating system's source of randomness. Pure apart from that."""

from __future__ import annotations

import math
import secrets
import string
from dataclasses import dataclass

from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr

LETTERS_AND_DIGITS = string.ascii_letters + string.digits

LEAST_ENTROPY = 64.0
"""Bits that a generated password has at least."""

MOST_CHARACTERS = 4096


@dataclass(frozen=True)
class PasswordRules:
    """Rules for generated passwords.

    Attributes:
        length: number of characters.
        alphabet: the characters that are used. Each has the same probability.
        required: sets of characters, such as `"0123456789"`. Each password has at least one character of each set.

    Raises:
        ConfigurationError: the rules cannot be met, or allow too few passwords.
    """

    length: int = 32
    alphabet: str = LETTERS_AND_DIGITS
    required: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.alphabet)) != len(self.alphabet):
            raise ConfigurationError("alphabet: a character is in it twice")
        if not self.alphabet.isprintable():
            raise ConfigurationError("alphabet: it has a control character")
        if not 1 <= self.length <= MOST_CHARACTERS:
            raise ConfigurationError(f"length: must be from 1 to {MOST_CHARACTERS:,}")
        if len(self.alphabet) < 2 or self.length * math.log2(len(self.alphabet)) < LEAST_ENTROPY:
            least = math.ceil(LEAST_ENTROPY / math.log2(max(len(self.alphabet), 2)))
            raise ConfigurationError(
                f"length: {self.length} of {len(self.alphabet)} characters can be guessed: use at least {least}"
            )
        for characters in self.required:
            if not set(characters) & set(self.alphabet):
                raise ConfigurationError("required: a set has no character of the alphabet")
        if len(self.required) > min(self.length, 8):
            raise ConfigurationError("required: there are more sets than the password can be expected to meet")


def generate(rules: PasswordRules | None = None) -> SensitiveStr:
    """Return a new password. All that meet the rules have the same probability."""
    rules = rules or PasswordRules()
    while True:
        password = SensitiveStr("".join(secrets.choice(rules.alphabet) for _ in range(rules.length)))
        if all(set(password.reveal()) & set(characters) for characters in rules.required):
            return password
