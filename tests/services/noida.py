"""The demo's small embedded broker: fine for a demonstration, no proof about Apache Kafka."""

import importlib.util
import signal
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.services.processes import HOST, ServerProcess, Workspace, free_port
from tests.waiting import eventually


class NoidaBroker:
    """The noida-db program itself (its Python command would leave it running), Kafka only, on loopback."""

    def __init__(self, directory: Path | None = None) -> None:
        self._workspace = Workspace("noida", directory)
        self._port = free_port()
        self._process: ServerProcess | None = None
        self.bootstrap = f"{HOST}:{self._port}"

    @classmethod
    def start(cls, directory: Path | None = None) -> Self:
        """Start a broker and wait until its port is open; a named `directory` is kept by `close`."""
        broker = cls(directory)
        try:
            broker.start_again()
        except BaseException:
            broker.close()
            raise
        return broker

    def start_again(self) -> None:
        """Start the stopped broker on its old directory and port."""
        port = ["--host", HOST, "--kafka-port", str(self._port)]
        data = str(self._workspace.path / "data")
        command = [str(program()), "start", "--data-dir", data, "--only", "kafka", *port]
        process = ServerProcess(command, self._workspace.path / "noida.log", death=signal.SIGTERM)
        self._process = process

        def listens() -> bool:
            process.check()
            with socket.create_connection((HOST, self._port), 1):
                return True

        eventually(listens, what="the embedded broker listens")

    def stop(self, timeout: float = 30.0) -> float:
        """Stop it, its data saved, and return the seconds it took."""
        return 0.0 if self._process is None else self._process.stop(timeout=timeout)

    def close(self) -> None:
        """Stop it and remove its directory."""
        try:
            self.stop()
        except TimeoutError:
            assert self._process is not None
            self._process.kill()
        finally:
            self._workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def program() -> Path:
    """Return the broker's executable inside its package."""
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        raise RuntimeError("the noida-db package is not installed: run make venv")
    return Path(spec.origin).parent / "noida-db"
