"""Pools connections in front of PostgreSQL as PgBouncer does.

It answers logins itself and drops what a client's start-up asks for.
"""

import secrets
import selectors
import socket
import struct
import threading
from collections import deque
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Literal, Self

import psycopg
from psycopg.conninfo import make_conninfo

from tests.services.processes import HOST

_CANCEL, _TLS, _GSS = 80877102, 80877103, 80877104  # instead of a protocol version
_TOLD = (
    "server_version", "server_encoding", "client_encoding", "DateStyle", "IntervalStyle",
    "TimeZone", "integer_datetimes", "standard_conforming_strings",
)  # fmt: skip
_WHOLE = b"QS"  # messages that the server answers with ReadyForQuery
_COPIED = b"dcfS"
_IDLE = 60.0  # seconds after which a line of a test is given up


class Pooler:
    """Forwards 127.0.0.1:`port` to the server of a conninfo.

    `mode` says for how long a client has a server process.
    """

    def __init__(self, conninfo: str, mode: Literal["session", "transaction"]) -> None:
        self._conninfo = conninfo
        self._mode = mode
        self._idle: list[_Server] = []
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._listener = socket.create_server((HOST, 0))
        self.host, self.port = HOST, int(self._listener.getsockname()[1])
        threading.Thread(target=self._listen, name=f"pooler-{self.port}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        with self._lock:
            self._stack.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(_IDLE)
        with suppress(OSError, EOFError, psycopg.Error), client:
            parameters = _startup(client)
            if "replication" in parameters:
                client.sendall(_refusal("unsupported startup parameter: replication"))
                return
            server = self._server(parameters)
            client.sendall(server.greeting())
            if self._mode == "transaction":
                self._idle.append(server)
            _Line(client, self, parameters, None if self._mode == "transaction" else server).run()

    def _server(self, parameters: dict[str, str]) -> "_Server":
        """Returns a server process, the one used last first."""
        with self._lock:
            if self._mode == "transaction" and self._idle:
                return self._idle.pop()
            named = {"dbname": parameters["database"], "user": parameters["user"]}
            connection = psycopg.connect(make_conninfo(self._conninfo, **named))
            self._stack.callback(connection.close)
            return _Server(connection)


class _Server:
    """A server process that libpq has logged in to."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.socket = socket.socket(fileno=connection.fileno())
        self.socket.settimeout(_IDLE)

    def greeting(self) -> bytes:
        """Returns what a client hears after its login, with a key that is the pooler's own."""
        parts = [_message(b"R", struct.pack(">I", 0))]
        for name in _TOLD:
            value = self._connection.info.parameter_status(name) or ""
            parts.append(_message(b"S", f"{name}\0{value}\0".encode()))
        parts.append(_message(b"K", secrets.token_bytes(8)))
        return b"".join([*parts, _message(b"Z", b"I")])


class _Line:
    """Serves one client.

    Messages wait until the answer to the one before has come; then, perhaps, another server takes
    them.
    """

    def __init__(
        self,
        client: socket.socket,
        pooler: Pooler,
        parameters: dict[str, str],
        server: _Server | None,
    ) -> None:
        self._client, self._pooler, self._parameters = client, pooler, parameters
        self._server = server
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._asked = self._copying = False

    def run(self) -> None:
        """Runs until the client has gone."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._client, selectors.EVENT_READ)
            while True:
                if self._server is not None:
                    selector.register(self._server.socket, selectors.EVENT_READ)
                ready = [key.fileobj for key, _ in selector.select(_IDLE)]
                if self._server is not None:
                    selector.unregister(self._server.socket)
                if self._client in ready:
                    kind, body = _read(self._client)
                    if kind == b"X":
                        return
                    self._waiting.append((kind, body))
                elif self._server is not None and self._server.socket in ready:
                    self._answer(self._server)
                self._forward()

    def _forward(self) -> None:
        while self._waiting and (
            not self._asked or (self._copying and self._waiting[0][0] in _COPIED)
        ):
            kind, body = self._waiting.popleft()
            if self._server is None:
                self._server = self._pooler._server(self._parameters)
            self._server.socket.sendall(_message(kind, body))
            self._asked = self._asked or kind in _WHOLE

    def _answer(self, server: _Server) -> None:
        kind, body = _read(server.socket)
        self._client.sendall(_message(kind, body))
        self._copying = self._copying or kind == b"G"
        if kind == b"Z":
            self._asked = self._copying = False
            if body == b"I" and self._pooler._mode == "transaction":
                self._server = None
                self._pooler._idle.append(server)


def _startup(client: socket.socket) -> dict[str, str]:
    """Returns the parameters of a client's start-up packet."""
    while True:
        (size,) = struct.unpack(">I", _exactly(client, 4))
        body = _exactly(client, size - 4)
        (code,) = struct.unpack_from(">I", body)
        if code in (_TLS, _GSS):
            client.sendall(b"N")
            continue
        if code == _CANCEL:
            raise EOFError
        parts = body[4:].rstrip(b"\0").decode().split("\0")
        return dict(zip(parts[::2], parts[1::2], strict=True))


def _refusal(text: str) -> bytes:
    return _message(b"E", f"SFATAL\0VFATAL\0C08P01\0M{text}\0\0".encode())


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def _read(sock: socket.socket) -> tuple[bytes, bytes]:
    kind = _exactly(sock, 1)
    (size,) = struct.unpack(">I", _exactly(sock, 4))
    return kind, _exactly(sock, size - 4)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
