"""A certificate authority of one server, made with the openssl command for one test run."""

from dataclasses import dataclass
from pathlib import Path

from tests.services.processes import run


@dataclass(frozen=True)
class Certificates:
    """Files of a server that is `localhost` and 127.0.0.1."""

    ca_file: Path
    server_file: Path  # PKCS#8 key, certificate and CA in one PEM file, as Kafka reads it

    @classmethod
    def create(cls, directory: Path) -> "Certificates":
        """Make a CA and a server certificate signed by it."""
        ca, ca_key = directory / "ca.pem", directory / "ca.key"
        certificate, key = directory / "server.crt", directory / "server.key"
        request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run([*request, "-days", "30", "-subj", "/CN=sync-agent test CA", "-keyout", ca_key, "-out", ca])
        names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
        signer = ["-CA", str(ca), "-CAkey", str(ca_key)]
        run([*request, "-days", "30", "-subj", "/CN=localhost", *names, *signer, "-keyout", key, "-out", certificate])
        server = directory / "server.pem"
        server.touch(mode=0o600)
        server.write_text("".join(file.read_text() for file in (key, certificate, ca)))
        return cls(ca, server)
