"""Serves HTTP for operations.

/metrics; /-/healthy: the supervisor lives; /-/ready: all peers are connected and no stage fails.
Pages for people come from outside (`agent.page`).
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import Message
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agent.descriptors import readable
from agent.errors import AlreadyRunning, ListenRefused
from agent.messages import system_reason
from agent.reach import place
from agent.service.metrics import Failure, Metrics

LONGEST_TURN = 15.0  # seconds without a turn of the supervisor's loop before it counts as dead
_PATIENCE = 2.0  # seconds for another service to say whose it is


class Reply(NamedTuple):
    """What a request is answered."""

    status: HTTPStatus
    kind: str  # the media type
    body: bytes
    headers: Mapping[str, str] = {}  # further ones


# Answers a path and the request's headers; None: there is no such page
Answer = Callable[[str, Message], Reply | None]


class HealthServer:
    """Serves from its own thread between `with` and its end.

    Raises ListenRefused when the address cannot be taken, AlreadyRunning when this agent's service
    has it.
    """

    def __init__(
        self, listen: str, agent: str, metrics: Metrics, others: Answer | None = None
    ) -> None:
        """Takes the address. `others` answers the paths that are not for monitors."""
        self._agent, self._metrics = agent, metrics
        try:
            self._server = _Server(place(listen), self._pages(), others)
        except (OSError, OverflowError) as error:
            if asked(listen, agent, _PATIENCE) is not None:
                raise AlreadyRunning(agent=agent, address=listen) from None
            reason = type(error).__name__
            if isinstance(error, OSError):
                reason = system_reason(error)
            raise ListenRefused(address=listen, reason=reason) from None
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)

    @property
    def port(self) -> int:
        """Returns the TCP port taken (of interest when 0 was asked for)."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._over, self._end = os.pipe()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._over)
        self._server.server_close()

    def _serve(self) -> None:
        """Answers until the other end of `_over` is closed.

        `serve_forever` would look several times a second whether it shall end.
        """
        while self._over not in readable(None, self._over, self._server.fileno()):
            self._server.handle_request()

    def _pages(self) -> dict[str, Callable[[], Reply]]:
        return {
            "/metrics": self._metrics_page,
            "/-/healthy": self._healthy,
            "/-/ready": self._ready,
        }

    def _metrics_page(self) -> Reply:
        return Reply(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._metrics.registry))

    def _healthy(self) -> Reply:
        silent = time.monotonic() - self._metrics.turned
        lives = silent < LONGEST_TURN
        checks = {"supervisor": {"ok": lives, "silent_seconds": round(silent, 3)}}
        return self._json(lives, {"checks": checks})

    def _ready(self) -> Reply:
        peers = dict(self._metrics.connections)
        failures = dict(self._metrics.failures)
        checks = {
            name: {"ok": peer.connected, "since": _moment(peer.since)}
            for name, peer in peers.items()
        }
        stages = {name: _stage(failure) for name, failure in failures.items()}
        connected = all(peer.connected for peer in peers.values())
        well = connected and not any(failures.values())
        return self._json(well, {"checks": checks, "stages": stages})

    def _json(self, well: bool, content: dict[str, object]) -> Reply:
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        body = {"agent": self._agent, "ok": well, **content}
        text = json.dumps(body, ensure_ascii=False, default=str)
        return Reply(status, "application/json", text.encode() + b"\n")


def _stage(failure: Failure | None) -> dict[str, object]:
    """How a stage is, in English, as in the log.

    `values` fill the sentences, so that `status` writes them in the user's language.
    """
    if failure is None:
        return {"ok": True}
    return {
        "ok": False,
        "code": failure.error.code,
        "reason": failure.error.text("en"),
        "hint": failure.error.advice("en"),
        "since": _moment(failure.since),
        "attempts": failure.attempts,
        "values": failure.error.plain_values(),
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


# Not HTTPServer: that one asks the name service for the host's name when it binds
class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True  # past connections in TIME_WAIT do not count as an address in use

    def __init__(
        self, address: tuple[str, int], pages: dict[str, Callable[[], Reply]], others: Answer | None
    ) -> None:
        self.pages, self.others = pages, others
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Passes over a client that went away; the parent would print a traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _not_found() -> Reply:
    return Reply(HTTPStatus.NOT_FOUND, "text/plain", b"see /metrics, /-/healthy, /-/ready\n")


class _Handler(BaseHTTPRequestHandler):
    timeout = 10  # a client that sends nothing does not keep its thread

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        page = server.pages.get(self.path.partition("?")[0])
        reply = None
        if page is not None:
            reply = page()
        elif server.others is not None:
            reply = server.others(self.path, self.headers)
        if reply is None:
            reply = _not_found()

        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Requests are not logged."""


def asked(listen: str, agent: str, patience: float) -> dict[str, Any] | None:
    """Returns what the running service of this agent answers to /-/ready.

    None when none answers within `patience` seconds (of each byte).
    """
    try:
        answer = json.loads(page(listen, "/-/ready", patience))
    except (OSError, OverflowError, ValueError, HTTPException):
        return None
    return answer if isinstance(answer, dict) and answer.get("agent") == agent else None


def page(listen: str, path: str, patience: float) -> bytes:
    """Returns a page of the service at an address, whatever its status says.

    Raises OSError, OverflowError and HTTPException where none answers within `patience` seconds (of
    each byte).
    """
    host, port = place(listen)
    connection = HTTPConnection(host, port, timeout=patience)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()
