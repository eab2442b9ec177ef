"""Starts a publisher in a process of its own between a front end and a real Kafka.

A judge reads what it publishes.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agent.config import Settings
from agent.publish import topics
from tests.agent_process import uncovered
from tests.publish.consumer import Judge
from tests.publish.fronts import OutboxFront, settings_for
from tests.waiting import PATIENCE, eventually

CLIENTS = ("kafka-python", "librdkafka")
Sites = Callable[..., "Site"]


class Publisher:
    """A child process. `covered`: what it runs through is measured, unless it is killed."""

    def __init__(self, settings: Settings, nonce: str, covered: bool) -> None:
        file = Path(settings.state_directory) / "settings.json"
        file.write_text(settings.model_dump_json())
        self.log = Path(settings.state_directory) / "publisher.log"
        self._before = self.log.read_text().count("kafka_recovered") if self.log.exists() else 0
        with self.log.open("a") as log:
            command = [sys.executable, "-m", "tests.publish.child", str(file), nonce]
            environment = None if covered else uncovered()
            self.process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def wait_recovered(self) -> None:
        """Waits until it begins to publish."""
        eventually(
            lambda: self.log.read_text().count("kafka_recovered") > self._before,
            what="the publisher has recovered",
        )

    def kill(self) -> None:
        """Kills it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def halted(self) -> str:
        """Waits for its own end: the code it printed."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode in (75, 78), (
            self.process.returncode,
            out,
            self.log.read_text(),
        )
        return out.strip()

    def stop(self) -> float:
        """Ends it in good order; the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, self.log.read_text()
        return time.monotonic() - began


class Site:
    """A front end and its topics on a broker."""

    def __init__(self, settings: Settings, admin: Settings, covered: bool) -> None:
        self.settings = settings
        self._admin = admin
        self._covered = covered
        self.front = OutboxFront(settings)
        topics.create_topics(admin.kafka, admin.topics, lambda line: None)
        topics.settled(self._write_first_state, PATIENCE)
        self.judge = Judge(admin.kafka.bootstrap_servers[0], *self.front.expected)
        self.publishers: list[Publisher] = []

    def _write_first_state(self) -> None:
        """Writes record 0, as `init` does, which repeats it while a new broker cannot answer."""
        admin = self._admin
        topics.write_first_state(admin.kafka, admin.topics, self.front.agent, 0, "init")

    def publisher(self, nonce: str = "nonce-1", settings: Settings | None = None) -> Publisher:
        """Starts one; it is killed at the end of the test."""
        self.publishers.append(Publisher(settings or self.settings, nonce, self._covered))
        return self.publishers[-1]

    def verdict(self, timeout: float = 60) -> None:
        """Everything written is visible, once and in order."""
        self.judge.verdict(self.front.expected, timeout)

    def close(self) -> None:
        """Ends everything."""
        for publisher in self.publishers:
            publisher.kill()
        self.judge.close()
        self.front.close()


@contextmanager
def sites(
    client: str, bootstrap: str, prefix: str, path: Path, covered: bool = True
) -> Iterator[Sites]:
    """Yields a function that makes a site with a client; it ends with the context.

    Its keyword arguments are settings of kafka. `bootstrap` is where the administrator makes the
    topics; a site may reach the broker another way. `covered`: see Publisher.
    """
    with ExitStack() as everything:

        def make(reached: str = "", **kafka: Any) -> Site:
            options: dict[str, Any] = {"client": client, "transaction_timeout_seconds": 4.0} | kafka
            admin = settings_for(bootstrap, prefix, path, **options)
            settings = settings_for(reached or bootstrap, prefix, path, **options)
            site = Site(settings, admin, covered)
            everything.callback(site.close)
            return site

        yield make
