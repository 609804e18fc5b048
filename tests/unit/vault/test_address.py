"""The host of an address, which is checked without the codec `idna` if it is ASCII."""

import pytest

from strongroom import ConfigurationError
from strongroom_vault.http.address import Address


def can_be_looked_up(host: str) -> bool:
    """Return True if the codec takes the name, as a lookup does."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


@pytest.mark.parametrize(
    "host",
    [
        *("vault", "vault.example.", "127.0.0.1", "under_score", "XN--A.example", "a..example", ".a", "a.."),
        *("a" * 63, "a" * 64, f"a.{'b' * 64}", f"{'a' * 63}.", "bücher.example", f"{'ü' * 64}.example"),
    ],
)
def test_a_host_is_taken_as_the_codec_takes_it(host):
    """The short way for ASCII refuses the same empty and overlong labels, for which a lookup raises UnicodeError."""
    if can_be_looked_up(host):
        assert Address.parse(f"https://{host}").host == host.lower()
    else:
        with pytest.raises(ConfigurationError):
            Address.parse(f"https://{host}")
