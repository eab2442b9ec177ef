"""Serves HTTP for operations.

/metrics; /-/healthy: the supervisor lives; /-/ready: all peers are connected and no stage fails.
Pages for people come from outside (`agent.page`).
"""

import json
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import Message
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agent.config import ServiceSettings
from agent.descriptors import readable
from agent.errors import AlreadyRunning, ListenRefused
from agent.messages import system_reason, translate
from agent.reach import place
from agent.service.access import HEALTH, METRICS, Access, Request
from agent.service.certificate import Certificate
from agent.service.metrics import DOUBTED, ActiveHost, Failure, Metrics

LONGEST_TURN = 15.0  # seconds without a turn of the supervisor's loop before it counts as dead
_PATIENCE = 2.0  # seconds for another service to say whose it is
_SILENCE = 10.0  # seconds after which a client that sends nothing is let go
_CONNECTIONS = 64  # at once: a host that opens more takes no thread from the service


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
        self,
        listen: str,
        agent: str,
        metrics: Metrics,
        others: Answer | None = None,
        access: Access | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        """Takes the address. `others` answers the paths that are not for monitors.

        `access` says who may see what; without a `certificate` it is plain HTTP.
        """
        self._agent, self._metrics = agent, metrics
        access = access or Access(ServiceSettings(listen=listen), agent)
        answers = _Answers(self._pages(), others, access)
        try:
            self._server = _Server(place(listen), answers, certificate)
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
            METRICS: self._metrics_page,
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
        active = self._metrics.stands_by_for
        if active is not None:
            # It needs no peer but the front end, at which it waits
            checks = {"frontend": checks["frontend"]}
        connected = all(check["ok"] for check in checks.values())
        well = connected and not any(failures.values())
        doubted = int(self._metrics.values.get(DOUBTED, 0))
        content = {"checks": checks, "stages": stages, "doubted_tables": doubted}
        return self._json(well, {**_role(active), **content})

    def _json(self, well: bool, content: dict[str, object]) -> Reply:
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        body = {"agent": self._agent, "ok": well, **content}
        text = json.dumps(body, ensure_ascii=False, default=str)
        return Reply(status, "application/json", text.encode() + b"\n")


def served(service: ServiceSettings, agent: str, metrics: Metrics, others: Answer) -> HealthServer:
    """Returns the server that the settings describe.

    Raises also SecretMissing and CertificateRefused.
    """
    access = Access(service, agent)
    certificate = None if service.tls is None else Certificate(service.tls)
    return HealthServer(service.listen, agent, metrics, others, access, certificate)


def _role(active: ActiveHost | None) -> dict[str, object]:
    """For whom the service stands by, and since when that one is active; nothing otherwise."""
    if active is None:
        return {}
    return {"standby": {"active": active.name, "since": _moment(active.since)}}


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


class _Answers(NamedTuple):
    """What requests are answered from."""

    pages: dict[str, Callable[[], Reply]]
    others: Answer | None
    access: Access

    def reply(self, request: Request, target: str) -> Reply:
        """Answers a request for `target`, a path with its query."""
        refusal = self.access.refusal(request)
        if refusal is not None:
            # In both languages: who asks may be a program, which names none
            lines = [translate(refusal.text, lang) for lang in ("zh_CN", "en")]
            text = "\n".join([*lines, ""]).encode()
            return Reply(refusal.status, "text/plain; charset=utf-8", text, refusal.headers)

        reply = None
        page = self.pages.get(request.path)
        if page is not None:
            reply = page()
        elif self.others is not None:
            reply = self.others(target, request.headers)
        if reply is None:
            return _not_found()
        if request.path in HEALTH and not self.access.sees_causes(request):
            return _without_causes(reply)
        return reply


def _without_causes(health: Reply) -> Reply:
    """Returns what everybody may know of health: whose it is, and whether all is well."""
    content = json.loads(health.body)
    body = json.dumps({name: content[name] for name in ("agent", "ok")})
    return health._replace(body=body.encode() + b"\n")


def _not_found() -> Reply:
    return Reply(HTTPStatus.NOT_FOUND, "text/plain", b"see /metrics, /-/healthy, /-/ready\n")


# Not HTTPServer: that one asks the name service for the host's name when it binds
class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True  # past connections in TIME_WAIT do not count as an address in use

    def __init__(
        self, address: tuple[str, int], answers: _Answers, certificate: Certificate | None
    ) -> None:
        self.answers = answers
        self._certificate = certificate
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in a thread of its own, if there are not too many already."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers, and makes room for the next one."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Speaks TLS where there is a certificate; the handshake is no matter of other threads."""
        if self._certificate is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(_SILENCE)
        context = self._certificate.context()
        with context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Passes over a client that went away; the parent would print a traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    timeout = _SILENCE

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        client = self.client_address[0]
        from_here = client == self.connection.getsockname()[0]
        request = Request(self.path.partition("?")[0], self.headers, client, from_here)
        reply = server.answers.reply(request, self.path)

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


def page(
    listen: str, path: str, patience: float, headers: Mapping[str, str] | None = None
) -> bytes:
    """Returns a page of the service at an address, whatever its status says.

    Raises OSError, OverflowError and HTTPException where none answers within `patience` seconds (of
    each byte).
    """
    host, port = place(listen)
    try:
        return _got(HTTPConnection(host, port, timeout=patience), path, headers or {})
    except (HTTPException, ConnectionResetError, BrokenPipeError):
        # It speaks TLS. Whose certificate it is does not matter on the way to this very host
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        secured = HTTPSConnection(host, port, timeout=patience, context=context)
        return _got(secured, path, headers or {})


def _got(connection: HTTPConnection, path: str, headers: Mapping[str, str]) -> bytes:
    try:
        connection.request("GET", path, headers=dict(headers))
        return connection.getresponse().read()
    finally:
        connection.close()
