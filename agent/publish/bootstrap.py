"""Asks all bootstrap servers side by side, so that one that is silent holds nothing up.

Clients ask one after the other, for a minute each.
"""

import logging
import queue
import socket
import ssl
import struct
import threading
import time
from typing import NamedTuple

from agent.config import KafkaSettings
from agent.reach import place

SECONDS = 3.0  # for a server to answer
_REST = 0.1  # seconds the others get when the first has answered
# A request that every broker answers to anybody: ApiVersions, version 0, correlation id 1, no
# client id
_QUESTION = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_LENGTHS = range(6, 1 << 20)  # bytes of a plausible answer
_log = logging.getLogger(__name__)
_silent: set[str] = set()  # as they were logged last


class Asked(NamedTuple):
    """Which servers have spoken Kafka's protocol, and which have said nothing at all."""

    answering: list[str]
    silent: list[str]


def answering(settings: KafkaSettings) -> list[str]:
    """Returns the servers that a client is to begin with: those that answer, else all."""
    if len(settings.bootstrap_servers) == 1:
        return list(settings.bootstrap_servers)
    found = ask(settings)
    _report_silence(found)
    return found.answering or list(settings.bootstrap_servers)


def ask(settings: KafkaSettings) -> Asked:
    """Asks every server, waits for the first answer, and a moment for the others."""
    answers: queue.SimpleQueue[tuple[str, bool | None]] = queue.SimpleQueue()
    servers = list(settings.bootstrap_servers)

    def ask_one(server: str) -> None:
        answers.put((server, speaks(server, settings)))

    for server in servers:
        threading.Thread(target=ask_one, args=[server], name="kafka-bootstrap", daemon=True).start()

    found: dict[str, bool | None] = {}
    until = time.monotonic() + SECONDS
    while len(found) < len(servers) and (left := until - time.monotonic()) > 0:
        try:
            server, answer = answers.get(timeout=left)
        except queue.Empty:
            break
        if answer and not any(found.values()):
            until = min(until, time.monotonic() + _REST)
        found[server] = answer

    return Asked(
        [server for server in servers if found.get(server)],
        [server for server in servers if found.get(server) is None],
    )


def speaks(server: str, settings: KafkaSettings) -> bool | None:
    """Tells whether a server speaks Kafka's protocol; None where it says nothing at all."""
    try:
        host, port = place(server)
        with socket.create_connection((host, port), timeout=SECONDS) as line:
            if settings.tls is None:
                return _answers(line)
            with _context(settings).wrap_socket(line, server_hostname=host) as secure:
                return _answers(secure)
    except TimeoutError:
        return None
    except (OSError, ValueError):
        return False


def _context(settings: KafkaSettings) -> ssl.SSLContext:
    """Returns TLS settings that look at no certificate.

    The client sees itself whether it is the right one, before it says anything.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    tls = settings.tls
    if tls is not None and tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _answers(line: socket.socket) -> bool:
    line.sendall(_QUESTION)
    head = b""
    while len(head) < 8:
        more = line.recv(8 - len(head))
        if not more:
            return False
        head += more
    length, correlation = struct.unpack(">ii", head)
    return length in _LENGTHS and correlation == 1


def _report_silence(found: Asked) -> None:
    """Logs a server when it falls silent beside others that answer, and when it answers again."""
    silent = set(found.silent) if found.answering else set()
    for server in sorted(silent - _silent):
        _log.warning("kafka_server_silent server=%s", server)
    for server in sorted(_silent & set(found.answering)):
        _log.info("kafka_server_answers server=%s", server)
        _silent.discard(server)
    _silent.update(silent)
