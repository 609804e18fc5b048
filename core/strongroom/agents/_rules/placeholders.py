"""The values of a session's rules, and their placeholders: random text that only the session can replace."""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import copy
from secrets import token_urlsafe

from strongroom._config import RuleConfig
from strongroom._credentials import read_aws_credential
from strongroom._manager import SecretsManager
from strongroom.agents._rules.redaction import Redactor, forms_of
from strongroom.agents._rules.request import Refusal
from strongroom.encoding import as_unicode
from strongroom.errors import AuditError, InvalidDataError, StrongroomError
from strongroom.secret import SensitiveStr
from strongroom.store import fork_safe_lock

LEAST_LENGTH = 8
"""The shortest value that a rule may have, in characters, without the white space around it: a shorter one stands in
answers by chance."""

_RANDOM_LENGTH = 22
"""Characters of 128 random bits, six bits each."""

_PREFIX = re.compile(
    r"sk-(?:ant-(?:api|admin)\d\d-|proj-|svcacct-|or-v1-|lf-)?|[sprw]k_(?:live|test)_|gh[pousr]_|github_pat_|gl[a-z]{1,6}-|"
    r"xox[a-z]-|xapp-|npm_|pypi-|hf_|dop_v1_|shpat_|AIza|AKIA|ASIA|key-|re_|tvly-|gsk_|pplx-|r8_|lin_api_|ntn_|secret_"
)
"""Public prefixes by which clients recognize a kind of key. No prefix is taken from a value by a guess: a part of the
value would be in the placeholder."""


def make_placeholder(value: str) -> str:
    """Return a placeholder with the value's public prefix, and with its length if 128 random bits fit into it.

    It has only characters of `[A-Za-z0-9_-]`, which no writer of headers, URLs, JSON or HTML escapes.
    """
    found = _PREFIX.match(value)
    prefix = found[0] if found else ""
    length = max(len(value) - len(prefix), _RANDOM_LENGTH)
    return prefix + token_urlsafe(length)[:length]


class RuleValues:
    """The values and placeholders of rules.

    Args:
        secrets: reads the values.
        rules: the rules of a session.
        before: those that these replace: a rule of the same name keeps its placeholders.

    Attributes:
        rules: the rules, by their names.
        placeholders: those of each rule with a secret, by its name. The first of one that signs is for the access key.
        known: the rule of each placeholder that a request may carry.
        replaced: the placeholder of each value that was read, by the name of its rule and the value.
        environment: the variables of a worker.

    Raises:
        StrongroomError: a secret cannot be read, or a value is too short.
    """

    def __init__(self, secrets: SecretsManager, rules: Iterable[RuleConfig], before: RuleValues | None = None) -> None:
        self._secrets = secrets
        self._lock = fork_safe_lock(self, "_lock")
        self._redactors: dict[frozenset[str], Redactor] = {}
        self.rules = {rule.name: rule for rule in rules}
        self.placeholders: dict[str, tuple[str, ...]] = {}
        self.known: dict[str, RuleConfig] = {}
        self.replaced: dict[tuple[str, SensitiveStr], str] = {} if before is None else {**before.replaced}
        self.environment: dict[str, str] = {}
        for name, rule in self.rules.items():
            if rule.path:
                texts = self._read(rule)
                kept = None if before is None else before.placeholders.get(name)
                made = kept if kept and len(kept) == len(texts) else tuple(map(make_placeholder, texts))
                self.placeholders[name], self.known[made[0]] = made, rule
                self.environment |= zip(rule.variables, made, strict=False)
                self._note(rule, texts)

    def redactor(self, rules: Iterable[str]) -> Redactor:
        """Return a redactor of the values that were read for some rules, by their names."""
        names = frozenset(rules)
        with self._lock:
            if names not in self._redactors:
                pairs = ((text, placeholder) for (name, text), placeholder in self.replaced.items() if name in names)
                self._redactors[names] = Redactor(forms_of(pairs))
            return copy(self._redactors[names])

    def current(self, rule: RuleConfig) -> tuple[SensitiveStr, ...]:
        """Return the current value of a rule; of one that signs, the fields of an `AwsCredential`.

        Raises:
            Refusal: the chain has none; the reason is its message.
            AuditError: the read cannot be recorded.
        """
        try:
            texts = self._read(rule)
        except AuditError:
            raise
        except StrongroomError as error:
            raise Refusal(502, str(error), rule.name) from None
        self._note(rule, texts)
        return texts

    def _read(self, rule: RuleConfig) -> tuple[SensitiveStr, ...]:
        if rule.sign:
            texts: tuple[SensitiveStr, ...] = read_aws_credential(rule.path, self._secrets.get_secret(rule.path))
        else:
            texts = (as_unicode(self._secrets.get_secret(rule.path, rule.key), rule.path, rule.key),)
        if any(text and len(text.strip()) < LEAST_LENGTH for text in texts) or not texts[0]:
            reason = f"needs a value of at least {LEAST_LENGTH} characters, without the white space around it"
            raise InvalidDataError(rule.path, f"the rule {rule.name} {reason}")
        return texts

    def _note(self, rule: RuleConfig, texts: tuple[SensitiveStr, ...]) -> None:
        """Redact these values from now on."""
        pairs = zip(texts, self.placeholders[rule.name], strict=True)
        noted = {(rule.name, text): placeholder for text, placeholder in pairs if text}
        if not noted.keys() <= self.replaced.keys():
            with self._lock:
                self.replaced |= noted
                self._redactors.clear()
