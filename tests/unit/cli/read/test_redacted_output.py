"""The output of `run --redact`: no value is cut in two, and shown in halves."""

import base64

import pytest

from strongroom._cli.read import redacted_output
from strongroom._cli.read.redacted_output import OVERLAP, complete
from strongroom._redaction.fingerprints import Fingerprints

VALUE = b"canary-real-value-77"
LONGEST_LINE = 2 * OVERLAP
SIZE = LONGEST_LINE + OVERLAP


@pytest.mark.parametrize("offset", [-len(VALUE), -len(VALUE) + 1, -10, -1, 0, 1])
def test_a_value_at_the_cut_of_a_very_long_line_is_masked(monkeypatch, offset):
    monkeypatch.setattr(redacted_output, "LONGEST_LINE", LONGEST_LINE)
    known = Fingerprints(binary=True)
    known.add(VALUE)
    start = LONGEST_LINE + offset
    held = b"x" * start + VALUE + b"x" * (SIZE - start - len(VALUE))
    end = complete(known, held)
    parts = (known.mask(part.decode("latin-1")) for part in (held[:end], held[end:]))
    shown = "".join(parts)
    assert end >= LONGEST_LINE
    assert (shown.count("[redacted]"), len(shown)) == (1, SIZE - len(VALUE) + len("[redacted]"))


def test_whole_lines_are_written_and_short_ones_are_held():
    known = Fingerprints(binary=True)
    assert complete(known, b"one\ntwo") == 4
    assert complete(known, b"two") == 0
    assert complete(known, b"") == 0


@pytest.mark.parametrize("prefix", ["", "data: "])
@pytest.mark.parametrize("value", [VALUE, b"long" * 99])
def test_a_value_over_the_end_of_a_base64_line_is_masked_wherever_it_begins(prefix, value):
    """A line is held back while the next one may continue a value."""
    known = Fingerprints(binary=True)
    known.add(value)
    for offset in range(99):
        encoded = base64.b64encode(b"x" * offset + value + b"y" * 99).decode()
        text = prefix + "\n".join(encoded[start : start + 76] for start in range(0, len(encoded), 76)) + "\n"
        shown, held = "", b""
        for line in text.encode().splitlines(keepends=True):
            held += line
            end = complete(known, held)
            shown += known.mask(held[:end].decode())
            held = held[end:]
        assert shown + known.mask(held.decode()) == known.mask(text)
        assert known.mask(text).count("[redacted]") == 1


def test_a_line_of_a_log_is_not_held_back():
    known = Fingerprints(binary=True)
    known.add(VALUE)
    line = b"serving on /srv/application/current-release/app.sock\n"
    assert complete(known, line) == len(line)
