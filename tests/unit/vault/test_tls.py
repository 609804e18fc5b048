"""TLS contexts of the Vault backend."""

import ssl

from strongroom_vault.http.tls import TLSSettings


def test_environment_does_not_make_a_context_log_its_keys(tmp_path, monkeypatch):
    """SSLKEYLOGFILE would write the keys of every connection, and so the secrets, to a file."""
    file = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(file))
    assert TLSSettings().context().keylog_filename is None
    assert not file.exists()


def test_context_verifies_as_the_default_context_of_python_does():
    context, default = TLSSettings().context(), ssl.create_default_context()
    for name in ("verify_mode", "check_hostname", "verify_flags", "minimum_version", "options", "protocol"):
        assert getattr(context, name) == getattr(default, name)
    assert context.cert_store_stats() == default.cert_store_stats()
