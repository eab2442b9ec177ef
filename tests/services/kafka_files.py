"""Copies jars from Maven once into the user's cache: Apache Kafka, Kafka Connect, Debezium.

`python -m tests.services.kafka_files` does it.
"""

from pathlib import Path
from typing import NamedTuple

from tests.services.cache import cached, say
from tests.services.processes import run

KAFKA, CONNECT, DEBEZIUM = "4.4.0", "4.3.1", "3.5.0.Final"
LOGGING = (
    ("org.apache.logging.log4j", "log4j-core", "2.25.1"),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.1"),  # Kafka 4.4 still speaks slf4j 1.7
)
DEPENDENCY = (
    "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
)
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>tests</groupId><artifactId>kafka-files</artifactId><version>1</version>
<dependencies>
{}
</dependencies>
</project>
"""


class Jars(NamedTuple):
    """A folder of jars; `unwanted`: beginnings of the names of those left out."""

    title: str
    folder: str
    dependencies: tuple[tuple[str, str, str], ...]
    size: str
    unwanted: tuple[str, ...] = ()

    def path(self) -> Path:
        """The folder, filled on first use; safe when several processes want it at once."""
        return cached(
            f"{self.folder}/libs",
            f"{self.title}, copying its jars with Maven ({self.size})",
            self._copy,
        )

    def _copy(self, folder: Path) -> None:
        """Lets Maven copy the jars into the folder."""
        lines = "\n".join(DEPENDENCY.format(*dependency) for dependency in self.dependencies)
        pom = folder.parent / "pom.xml"
        pom.write_text(POM.format(lines))
        goal = [
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={folder}",
        ]
        run(["mvn", "-q", "-B", "--strict-checksums", *goal], cwd=pom.parent)
        for jar in list(folder.iterdir()):
            if jar.name.startswith(self.unwanted or ("/",)):
                jar.unlink()


BROKER = Jars(
    f"Apache Kafka {KAFKA}",
    f"kafka-{KAFKA}",
    (("org.apache.kafka", "kafka_2.13", KAFKA), *LOGGING),
    "43 MB",
)
WORKER = Jars(
    f"Kafka Connect {CONNECT}",
    f"connect-{CONNECT}",
    (
        *(
            ("org.apache.kafka", name, CONNECT)
            for name in ("connect-runtime", "connect-json", "connect-transforms")
        ),
        *LOGGING,
    ),
    "36 MB",
)
PLUGINS = Jars(
    f"Debezium {DEBEZIUM}",
    f"debezium-{DEBEZIUM}",
    (
        ("io.debezium", "debezium-connector-postgres", DEBEZIUM),
        ("io.debezium", "debezium-connector-jdbc", DEBEZIUM),
    ),
    "62 MB",
    # Beside Connect's own: "BlackbirdModule not a subtype"
    (
        "jackson-annotations-",
        "jackson-core-",
        "jackson-databind-",
    ),
)
# Beside PLUGINS; only the bench of the binary log needs them
LOG_PLUGINS = Jars(
    f"Debezium {DEBEZIUM} for MySQL and MariaDB",
    f"debezium-binary-log-{DEBEZIUM}",
    (
        ("io.debezium", "debezium-connector-mariadb", DEBEZIUM),
        ("io.debezium", "debezium-connector-mysql", DEBEZIUM),
    ),
    "32 MB",
    PLUGINS.unwanted,
)


def kafka_libs() -> Path:
    """Returns the folder of the broker's jars."""
    return BROKER.path()


if __name__ == "__main__":
    for jars in (BROKER, WORKER, PLUGINS):
        say(f"{jars.title} is ready in {jars.path()}")
