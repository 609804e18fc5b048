"""A real server with a TLS listener, for tests and benchmarks."""

from strongroom_vault.dev.server import free_port
from strongroom_vault.testing import TestVault


class TLSVault(TestVault):
    """A server that listens with TLS as well."""

    def __init__(self, folder, authority):
        super().__init__()
        self._tls_port = free_port()  # no ephemeral one, which a client may get before the server listens
        self.tls_url = f"https://127.0.0.1:{self._tls_port}"
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        self._pem = folder / "server.pem"

    def _configuration(self, binary, port):
        return f"""{super()._configuration(binary, port)}
            listener "tcp" {{
              address = "127.0.0.1:{self._tls_port}"
              cluster_address = "127.0.0.1:0"
              tls_cert_file = "{self._pem}"
              tls_key_file = "{self._pem}"
            }}
        """
