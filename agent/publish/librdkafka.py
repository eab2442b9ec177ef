"""Keeps the publisher's contract with librdkafka (package confluent-kafka, extra `fast`).

It is set as kafka-python is, and as crash-only.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Client
from kafka.errors import for_code

from agent.config import KafkaSettings
from agent.errors import AgentError, KafkaRefused, KafkaUnreachable
from agent.messages import phrase
from agent.publish.base import Headers, Producer, Tick
from agent.publish.bootstrap import answering
from agent.publish.connection import (
    addresses,
    check_files,
    hear,
    new_attempt,
    our_error,
    security_protocol,
    trust,
)
from agent.publish.kafka_python import BATCH_BYTES, RECORD_BYTES, KafkaPython
from agent.publish.waiting import PAUSE, Expired
from agent.reach import place
from agent.tls import SECONDS, asked

# The package's names of errors that the client itself has made
_MISTAKES = (
    KafkaError._INVALID_ARG,  # noqa: SLF001 - the package's name
    KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001 - the package's name
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001 - the package's name
)
_NO_LOGIN = KafkaError._AUTHENTICATION  # noqa: SLF001 - the package's name
# These follow from another failure, or stand for it. Where more than one record of a batch is at
# fault, each has the same code, whatever the broker has against them
_CONSEQUENCES = (
    KafkaError._PURGE_QUEUE,  # noqa: SLF001 - the package's name
    KafkaError._STATE,  # noqa: SLF001 - the package's name
    KafkaError._INVALID_DIFFERENT_RECORD,  # noqa: SLF001 - the package's name
    KafkaError.INVALID_RECORD,
)
_LINGER_MS = 20  # batches fill meanwhile; what ends a transaction does not wait for it
_AGAIN = 0.005  # seconds between two attempts while an older transaction is being ended
_UNVERIFIED = "certificate verify failed"

_log = logging.getLogger("kafka.librdkafka")  # its lines are taken over by error_cb in our words
_log.propagate = False
_log.addHandler(logging.NullHandler())


def connection_settings(settings: KafkaSettings) -> dict[str, Any]:
    """Returns how to reach the cluster, in librdkafka's names; the password is read now.

    Raises SecretMissing, KafkaUnreachable.
    """
    check_files(settings)
    options: dict[str, Any] = {
        "bootstrap.servers": ",".join(answering(settings)),
        "client.id": "unit-sync-agent",
        "security.protocol": security_protocol(settings),
        "reconnect.backoff.max.ms": 1000,
        "enable.metrics.push": False,
    }
    if settings.tls:
        files = {
            "ssl.ca.location": settings.tls.ca_file,
            "ssl.certificate.location": settings.tls.cert_file,
            "ssl.key.location": settings.tls.key_file,
        }
        options |= {name: file for name, file in files.items() if file}
    if settings.sasl:
        options |= {
            "sasl.mechanism": settings.sasl.mechanism,
            "sasl.username": settings.sasl.user,
            "sasl.password": settings.sasl.password.read("kafka.sasl.password"),
        }
    return options


def producer_settings(settings: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    """Returns the transactional producer's settings; sizes and times are kafka-python's."""
    timeout = int(settings.transaction_timeout_seconds * 1000)
    return connection_settings(settings) | {
        "transactional.id": transactional_id,
        "compression.type": "zstd",
        "batch.size": min(BATCH_BYTES, settings.max_event_bytes),
        "linger.ms": _LINGER_MS,
        "message.max.bytes": max(1_048_576, settings.max_event_bytes + 65_536),
        # No bound of its own: the caller bounds what is outstanding
        "queue.buffering.max.messages": 0,
        "queue.buffering.max.kbytes": 2_147_483_647,
        "allow.auto.create.topics": False,
        # A topic that is unknown for so long is gone
        "topic.metadata.propagation.max.ms": timeout // 4,
        "retry.backoff.ms": 5,
        "transaction.timeout.ms": timeout,
        "delivery.timeout.ms": timeout * 8 // 10,
        "request.timeout.ms": timeout // 2,
        "socket.timeout.ms": timeout // 2,
        "socket.connection.setup.timeout.ms": timeout // 2,
    }


class LibrdkafkaProducer:
    """agent.publish.base.Producer with one librdkafka client. Made by Librdkafka.open only.

    The client's threads do the work; its callbacks run in ours, within the calls made here, and
    only take note.
    """

    def __init__(
        self, settings: KafkaSettings, transactional_id: str, tick: Tick, deadline: float
    ) -> None:
        self.offsets: dict[tuple[str, int], int] = {}
        self.outstanding = 0
        self._settings = settings
        self._tick = tick
        # What a callback has reported, and what it concerns
        self._failure: tuple[Exception, str] | None = None
        self._opens_until = deadline  # 0 once it is open
        self._abandoned = False
        new_attempt()
        callbacks = {"error_cb": self._failed, "on_delivery": self._delivered, "logger": _log}
        self._client: Client = self._guard(
            lambda: Client(producer_settings(settings, transactional_id) | callbacks)
        )
        try:
            self._until(
                self._client.init_transactions, deadline, f"transactional id {transactional_id}"
            )
        except BaseException:
            self.abandon()
            raise
        self._opens_until = 0.0

    def begin(self) -> None:
        """See Producer."""
        self._guard(self._client.begin_transaction)

    def send(
        self, topic: str, partition: int, key: bytes, value: bytes | None, headers: Headers
    ) -> None:
        """See Producer."""
        try:
            self._client.produce(
                topic,
                value,
                key,
                partition,
                headers=headers,  # type: ignore[arg-type] # a list, so mypy wants exactly its type
            )
        except Exception as error:  # noqa: BLE001 - clients raise anything
            raise self._ours(self._root(error)) from None
        self.outstanding += len(key) + len(value or b"") + RECORD_BYTES

    def drain(self, outstanding: int, deadline: float) -> bool:
        """See Producer."""
        # Flush sends at once, but waits for all
        wait = self._client.poll if outstanding else self._client.flush
        seconds = 0.0
        while True:
            self._guard(lambda: wait(seconds))  # noqa: B023 - called at once
            self._check()
            if self.outstanding <= outstanding:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            seconds = min(left, PAUSE)
            self._tick()

    def commit(self, deadline: float) -> None:
        """See Producer."""
        if not self.drain(0, deadline):
            raise self._ours(Expired())
        self._until(self._client.commit_transaction, deadline)

    def abandon(self) -> None:
        """See Producer.

        The client's end can wait for a name server: a thread of its own sees to it.
        """
        if not self._abandoned:
            self._abandoned = True
            threading.Thread(
                target=_end, args=[self._client], name="kafka-end", daemon=True
            ).start()
            del self._client

    def _until(self, call: Callable[[float], object], deadline: float, what: str = "") -> None:
        """One of the calls that may be repeated after their time-out, under our deadline."""
        while True:
            try:
                call(max(0.0, min(PAUSE, deadline - time.monotonic())))
                return
            except KafkaException as error:
                if not error.args[0].retriable() or error.args[0].txn_requires_abort():
                    raise self._ours(error, what) from None
            self._guard(lambda: self._client.poll(_AGAIN))
            self._check()
            if time.monotonic() >= deadline:
                raise self._ours(Expired())
            self._tick()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        self.outstanding -= len(message) + len(message.key() or b"") + RECORD_BYTES
        place = (str(message.topic()), message.partition() or 0)
        if error is not None:
            self._note(KafkaException(error), f"topic {place[0]}")
            return
        offset = message.offset()
        if offset is None or offset < 0:  # the broker did not say
            return
        if offset < self.offsets.get(place, 0):
            reason = phrase(
                "topic {topic} went back to offset {offset}", topic=place[0], offset=offset
            )
            self._note(KafkaUnreachable(address=addresses(self._settings), reason=reason))
        self.offsets[place] = offset + 1

    def _failed(self, error: KafkaError) -> None:
        """Takes why the client cannot connect; it goes on trying.

        While it opens, what only a person can mend ends it at once.
        """
        unverified = _UNVERIFIED in error.str()
        hear(self._certificate() if unverified and self._opens_until else error.str())
        if self._opens_until and (unverified or error.code() == _NO_LOGIN):
            self._note(KafkaException(error))

    def _note(self, failure: Exception, what: str = "") -> None:
        if self._failure is None or _code(self._failure[0]) in _CONSEQUENCES:
            self._failure = failure, what

    def _check(self) -> None:
        if self._failure is not None:
            failure, what = self._failure
            root = self._root(failure)
            raise self._ours(root, what if root is failure else "")

    def _certificate(self) -> str:
        """What is wrong with a broker's certificate: librdkafka has one text for everything."""
        for server in self._settings.bootstrap_servers:
            seconds = min(SECONDS, (self._opens_until - time.monotonic()) / 2)
            if seconds <= 0:
                break
            found = asked(*place(server), trust(self._settings), seconds=seconds)
            if found:
                return f"{_UNVERIFIED}: {found.reason}"
        return f"{_UNVERIFIED}: of a broker that is not among bootstrap_servers"

    def _guard(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - it costs a new producer, never the process
            raise self._ours(error) from None

    def _ours(self, error: Exception, what: str = "") -> AgentError:
        """The agent's error; for one of the protocol the same as with kafka-python."""
        if not isinstance(error, KafkaException):
            return our_error(error, self._settings)
        cause: KafkaError = error.args[0]
        if cause.code() > 0:
            return our_error(for_code(cause.code())(), self._settings, what)
        if cause.code() in _MISTAKES:
            return KafkaRefused(reason=cause.name())
        return our_error(error, self._settings, name=cause.name())

    def _root(self, failure: Exception) -> Exception:
        """A record's failure, or what it follows from.

        Only the attempt to commit says why a transaction failed; it cannot succeed any more.
        """
        if _code(failure) in _CONSEQUENCES:
            try:
                self._client.commit_transaction(PAUSE)
            except KafkaException as error:
                return error
        return failure


def _code(error: Exception) -> int:
    return int(error.args[0].code()) if isinstance(error, KafkaException) else 0


def _end(client: Client) -> None:
    """Drops what waits and takes the reports of it.

    When this function has returned, the last reference is gone and the client with it.
    """
    with contextlib.suppress(Exception):
        client.purge()
        client.flush(1)


class Librdkafka(KafkaPython):
    """agent.publish.base.Broker with librdkafka's producer.

    What recovery reads, a few requests a time, is read with kafka-python.
    """

    def open(self, deadline: float) -> Producer:
        """See Broker."""
        return LibrdkafkaProducer(self._settings, self._agent, self._tick, deadline)
