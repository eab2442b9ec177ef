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
    """Runs the noida-db program, Kafka only, on loopback.

    It is the program itself, since its Python command would leave it running.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._workspace = Workspace("noida", directory)
        self._port = free_port()
        self._process: ServerProcess | None = None
        self.bootstrap = f"{HOST}:{self._port}"

    @classmethod
    def start(cls, directory: Path | None = None) -> Self:
        """Starts a broker and waits until its port is open.

        A `directory` that is named is kept by `close`.
        """
        broker = cls(directory)
        try:
            broker.start_again()
        except BaseException:
            broker.close()
            raise
        return broker

    def start_again(self) -> None:
        """Starts the stopped broker on its old directory and port."""
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
        """Stops it, its data saved, and returns the seconds it took."""
        return 0.0 if self._process is None else self._process.stop(timeout=timeout)

    def close(self) -> None:
        """Stops it and removes its directory."""
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
    """Returns the broker's executable inside its package."""
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        raise RuntimeError("the noida-db package is not installed: run make venv")
    return Path(spec.origin).parent / "noida-db"
