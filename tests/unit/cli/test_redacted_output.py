"""The output of `run --redact`: no value is cut in two, and shown in halves."""

import pytest

from strongroom._cli.read import redacted_output
from strongroom._cli.read.redacted_output import OVERLAP, complete
from strongroom._fingerprints import Fingerprints

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
