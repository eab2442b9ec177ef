"""Makes a certificate authority of one server and what it signs, by openssl, for one test run."""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.services.processes import run

NEW = ("openssl", "req", "-nodes", "-newkey")
ELLIPTIC = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("rsa:2048",)  # what servers of before 2019 understand
Key = tuple[str, ...]  # as openssl is told what to make
HERE = "DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True)
class Certificates:
    """Holds the files of one server.

    Each file of a server holds a PKCS#8 key, a certificate and the CA, as Kafka and PostgreSQL read
    them.
    """

    ca_file: Path
    server_file: Path  # of `localhost` and 127.0.0.1
    expired_file: Path  # the same, its time is over
    misnamed_file: Path  # of another host
    other_ca_file: Path  # an authority that has signed none of them

    @classmethod
    def create(
        cls, directory: Path, owner: int | None = None, key: Key = ELLIPTIC
    ) -> "Certificates":
        """Makes them all, with such keys; the servers' files can be read by `owner` only."""
        return cls(
            _authority(directory, "ca", key),
            _signed(directory, "server", HERE, 30, owner, key),
            _signed(directory, "expired", HERE, -1, owner, key),
            _signed(directory, "misnamed", "DNS:elsewhere.example", 30, owner, key),
            _authority(directory, "other-ca", key),
        )


def _authority(directory: Path, name: str, new_key: Key) -> Path:
    file = directory / f"{name}.pem"
    run(
        [
            *NEW,
            *new_key,
            "-x509",
            "-days",
            "30",
            "-subj",
            f"/CN=sync-agent test {name}",
            "-keyout",
            directory / f"{name}.key",
            "-out",
            file,
        ]
    )
    return file


def _signed(
    directory: Path, name: str, names: str, days: int, owner: int | None, new_key: Key
) -> Path:
    key, request, certificate, ca = (
        directory / file for file in (f"{name}.key", f"{name}.csr", f"{name}.crt", "ca.pem")
    )
    extensions = ["-addext", f"subjectAltName={names}", "-addext", "basicConstraints=CA:FALSE"]
    run([*NEW, *new_key, "-subj", f"/CN={name}", *extensions, "-keyout", key, "-out", request])
    signer = [
        "-CA",
        str(ca),
        "-CAkey",
        str(directory / "ca.key"),
        "-CAcreateserial",
        "-copy_extensions",
        "copy",
    ]
    run(
        [
            "openssl",
            "x509",
            "-req",
            "-in",
            request,
            "-days",
            str(days),
            *signer,
            "-out",
            certificate,
        ]
    )
    file = directory / f"{name}.pem"
    file.touch(mode=0o600)
    file.write_text("".join(part.read_text() for part in (key, certificate, ca)))
    if owner is not None:
        os.chown(file, owner, owner)
    return file
