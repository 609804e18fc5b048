"""CRC-32C."""

import pytest

from strongroom_google.store import crc32c


@pytest.mark.parametrize(
    ("content", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksum_of_the_standard(content, checksum):
    """The check value of the polynomial, and RFC 3720, appendix B.4."""
    assert crc32c(content) == checksum
