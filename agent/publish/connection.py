"""Connects to Kafka.

Makes a client's settings from ours, finds out why a connection failed, and makes our errors of a
client's exceptions.
"""

import contextlib
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import kafka.errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from agent.config import KafkaSettings, SaslSettings
from agent.errors import (
    AgentError,
    ClockWrong,
    KafkaRefused,
    KafkaUnreachable,
    LoginRefused,
    TopicLimit,
)
from agent.messages import mark, phrase
from agent.publish.bootstrap import answering
from agent.publish.waiting import Expired
from agent.tls import Trust, unreadable

T = TypeVar("T")

# The broker will say the same again: a right, a size, a version or a setting.
REFUSALS: tuple[type[BaseException], ...] = (
    kafka_errors.AuthorizationError,
    kafka_errors.InvalidRecordError,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.UnsupportedForMessageFormatError,
    kafka_errors.IncompatibleBrokerVersion,
    kafka_errors.InvalidTransactionTimeoutError,
    kafka_errors.InvalidTopicError,
    kafka_errors.PolicyViolationError,
    kafka_errors.KafkaConfigurationError,
)
# A topic or broker takes smaller batches than the agent's
SIZES: tuple[type[BaseException], ...] = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
)
LOGINS: tuple[type[BaseException], ...] = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
)

# The client logs why it cannot connect and gives its caller only "Unable to bootstrap". The most
# telling reason first; nothing else of its texts is passed on.
_REASONS: tuple[tuple[str, str], ...] = (
    (
        r"certificate verify failed: ([^(\n]{1,120})",
        mark("TLS: certificate verify failed: {detail}"),
    ),
    (
        r"(WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|UNEXPECTED_EOF|PLAINTEXT broker listener)",
        mark("TLS: the broker does not speak TLS on this port"),
    ),
    (
        r"(ALERT_\w*CERTIFICATE\w*|CERTIFICATE_REQUIRED|alert [\w ]*certificate)",
        mark("TLS: the broker refuses the client certificate"),
    ),
    (r"Handshake failed|SSL handshake failed", mark("TLS handshake failed")),
    (
        r"UnsupportedSaslMechanism|Unsupported SASL mechanism",
        mark("the broker does not offer this SASL mechanism"),
    ),
    (r"SaslAuthenticationFailed|SASL authentication error", mark("login refused")),
    (r"Connection refused|Errno 111", mark("connection refused")),
    (
        r"No address associated|Name or service not known|gaierror|name resolution",
        mark("the host name cannot be resolved"),
    ),
    (r"Network is unreachable|No route to host|Errno 11[03]", mark("no route to the host")),
    (r"[Tt]imed out|[Tt]imeout", mark("timed out")),
    (r"reset by peer|Connection lost|Broken pipe|Errno 104", mark("the connection broke")),
)


def _with_last_words(
    receive: Callable[[Any], tuple[bytes, Exception | None]],
) -> Callable[[Any], tuple[bytes, Exception | None]]:
    """Mends that kafka-python 3.0.12 drops what it reads together with the end of a connection.

    That is mostly a broker's refusal of a login.
    """

    def received(transport: Any) -> tuple[bytes, Exception | None]:
        data, error = receive(transport)
        return data, None if data else error  # the end is read again

    return received


def _closing(handshake: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """Mends that kafka-python 3.0.12 leaves the socket of a failed TLS handshake open."""

    async def done(transport: Any) -> None:
        try:
            await handshake(transport)
        except BaseException:
            transport._sock.close()  # noqa: SLF001 - no public way
            raise

    return done


for _transport in (KafkaTCPTransport, KafkaSSLTransport):
    _transport._sock_recv = _with_last_words(_transport._sock_recv)  # noqa: SLF001 - no public way
KafkaSSLTransport.handshake = _closing(KafkaSSLTransport.handshake)


class _Reasons(logging.Handler):
    """Keeps the most telling reason that the client logged.

    The client's other lines end here: at debug they hold passwords and rows.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.forget()

    def forget(self) -> None:
        """Forgets the reasons: a new connection is tried."""
        self.best: str = ""
        self.rank = len(_REASONS)

    def emit(self, record: logging.LogRecord) -> None:
        words = [record.getMessage()]
        for argument in record.args or ():
            if isinstance(argument, BaseException):
                words.append(type(argument).__name__)
        self.hear(" ".join(words))

    def hear(self, text: str) -> None:
        """Takes the reason from a text of the client's, unless one that tells more is known."""
        for rank, (pattern, said) in enumerate(_REASONS[: self.rank]):
            if match := re.search(pattern, text):
                values = {}
                if "{detail}" in said:
                    values["detail"] = match[1].rstrip(". ")
                self.best, self.rank = phrase(said, **values), rank
                return


_reasons = _Reasons()
_quiet = threading.Lock()


def new_attempt() -> None:
    """Forgets older reasons, and listens to kafka-python's log for new ones.

    That log is taken away from ours, for ever and at every level.
    """
    logger = logging.getLogger("kafka")
    with _quiet:
        if _reasons not in logger.handlers:
            logger.addHandler(_reasons)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
    _reasons.forget()


def hear(text: str) -> None:
    """Takes what a client has said about its connections."""
    _reasons.hear(text)


def reason() -> str:
    """Returns why the client could not connect lately; '' when it did not say."""
    return _reasons.best


def client_settings(settings: KafkaSettings) -> dict[str, Any]:
    """Returns the connection settings that every client class takes; the password is read now.

    Raises SecretMissing, KafkaUnreachable.
    """
    new_attempt()
    check_files(settings)
    options: dict[str, Any] = {
        "bootstrap_servers": answering(settings),
        "client_id": "unit-sync-agent",
        "security_protocol": security_protocol(settings),
        "reconnect_backoff_max_ms": 1000,
        "request_timeout_ms": 5000,
    }
    if settings.tls:
        tls = settings.tls
        options |= {
            "ssl_cafile": tls.ca_file,
            "ssl_certfile": tls.cert_file,
            "ssl_keyfile": tls.key_file,
            "ssl_check_hostname": True,
        }
    if settings.sasl:
        options |= _login(settings.sasl)
    return options


def security_protocol(settings: KafkaSettings) -> str:
    """Returns what clients call the kind of connection."""
    name = "SSL" if settings.tls else "PLAINTEXT"
    return f"SASL_{name}" if settings.sasl else name


def _login(sasl: SaslSettings) -> dict[str, Any]:
    return {
        "sasl_mechanism": sasl.mechanism,
        "sasl_plain_username": sasl.user,
        "sasl_plain_password": sasl.password.read("kafka.sasl.password"),
    }


def trust(settings: KafkaSettings) -> Trust:
    """Returns what TLS to the brokers is verified with."""
    tls = settings.tls
    return Trust(tls.ca_file, tls.cert_file, tls.key_file) if tls else Trust()


def check_files(settings: KafkaSettings) -> None:
    """Raises KafkaUnreachable when a file of kafka.tls cannot be used.

    The clients would each say something else.
    """
    if settings.tls and (found := unreadable(trust(settings))):
        raise KafkaUnreachable(
            address=addresses(settings),
            reason=phrase(
                "TLS: the files of kafka.tls cannot be read: {reason}", reason=found.reason
            ),
        )


@contextlib.contextmanager
def closing_client(make: Callable[..., T], **options: Any) -> Iterator[T]:
    """Makes a client whose sockets and threads are gone afterwards.

    Also when its constructor fails, which leaks both in 3.0.12.
    """
    with contextlib.ExitStack() as stack:
        yield make(**options, kafka_client=lambda **config: _net(stack, config))


def _net(stack: contextlib.ExitStack, config: dict[str, Any]) -> KafkaNetClient:
    client = KafkaNetClient(**config)
    stack.callback(client.close)
    return client


def addresses(settings: KafkaSettings) -> str:
    """Returns the brokers to ask first, for a message."""
    return ",".join(settings.bootstrap_servers)


def our_error(  # noqa: PLR0911 - one for each kind of error
    error: BaseException, settings: KafkaSettings, what: str = "", name: str = ""
) -> AgentError:
    """Returns the agent's error for anything that a client call has raised.

    It never holds a text of the client's, only names. `what` may be refused or not answered for,
    such as a topic; `name` says more than the exception's type.
    """
    if isinstance(error, AgentError):
        return error
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, LOGINS):
            return _login_refused(settings, type(cause).__name__)
        if isinstance(cause, SIZES):
            topic = what.removeprefix("topic ")
            return TopicLimit(topic=topic or "?", limit="?", needed=settings.max_event_bytes)
        if isinstance(cause, kafka_errors.InvalidTimestampError):
            return ClockWrong(address=addresses(settings))
        if isinstance(cause, REFUSALS):
            return KafkaRefused(reason=": ".join(filter(None, [type(cause).__name__, what])))
    if refused := refused_login(settings):
        return refused
    why = reason()
    if isinstance(error, Expired) and not why:
        why = phrase("no answer in time")
        if what:
            why = phrase("no answer in time: {what}", what=what)
    names = name or " < ".join(dict.fromkeys(type(cause).__name__ for cause in chain))
    return KafkaUnreachable(address=addresses(settings), reason=why or names)


def passes(error: BaseException) -> bool:
    """Tells whether a broker has answered that it cannot answer yet.

    So it is with a partition without a leader, a coordinator that loads, a topic just made.
    """
    return any(
        isinstance(cause, kafka_errors.BrokerResponseError) and cause.retriable
        for cause in _chain(error)
    )


def refused_login(settings: KafkaSettings) -> LoginRefused | None:
    """Returns the error, if the client has logged lately that a broker refused its login."""
    why = reason()
    if why in ("login refused", "the broker does not offer this SASL mechanism"):
        return _login_refused(settings, why)
    return None


def _login_refused(settings: KafkaSettings, why: str) -> LoginRefused:
    user = settings.sasl.user if settings.sasl else "ANONYMOUS"
    peer = phrase("Kafka at {address}", address=addresses(settings))
    return LoginRefused(peer=peer, user=user, reason=why)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, those it was made from, and those it carries as arguments."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if any(cause is other for other in seen):
            continue
        seen.append(cause)
        yield cause
        for other in (*cause.args, cause.__cause__, cause.__context__):
            if isinstance(other, BaseException):
                waiting.append(other)
