"""Apache Kafka's jars from Maven, copied once into the user's cache; `python -m tests.services.kafka_files` does it."""

import fcntl
import os
import shutil
import sys
import time
from pathlib import Path

from tests.services.processes import run

VERSION = "4.4.0"
DEPENDENCIES = (
    ("org.apache.kafka", "kafka_2.13", VERSION),
    ("org.apache.logging.log4j", "log4j-core", "2.25.1"),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.1"),  # Kafka 4.4 still speaks slf4j 1.7
)
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>tests</groupId><artifactId>kafka-files</artifactId><version>1</version>
<dependencies>
{}
</dependencies>
</project>
"""


def kafka_libs() -> Path:
    """Return the folder of jars, filled on first use; safe when several processes want it at once."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = base / "unit-sync-agent-tests" / f"kafka-{VERSION}"
    libs = cache / "libs"
    if not libs.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not libs.is_dir():
                copy_jars(cache, libs)
    return libs


def copy_jars(cache: Path, libs: Path) -> None:
    """Let Maven copy the jars next to `libs`, which appears only when complete."""
    say(f"Apache Kafka {VERSION}: copying its 45 jars (43 MB) with Maven, once ...")
    began = time.monotonic()
    partial = cache / "libs.partial"
    shutil.rmtree(partial, ignore_errors=True)
    lines = "\n".join(DEPENDENCY.format(*dependency) for dependency in DEPENDENCIES)
    (cache / "pom.xml").write_text(POM.format(lines))
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    run(["mvn", "-q", "-B", "--strict-checksums", *goal], cwd=cache)
    partial.rename(libs)
    say(f"Apache Kafka {VERSION}: {len(list(libs.iterdir()))} jars in {time.monotonic() - began:.0f} s")


def say(line: str) -> None:
    """Print progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    say(f"Apache Kafka {VERSION} is ready in {kafka_libs()}")
