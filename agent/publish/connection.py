"""Connects to Kafka: client settings from ours, why a connection failed, and which of our errors a client's exception is."""

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import kafka.errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from agent.config.settings import KafkaSettings, SaslSettings
from agent.errors import AgentError, KafkaRefused, KafkaUnreachable, LoginRefused
from agent.publish.waiting import Expired

T = TypeVar("T")

# The broker will say the same again: a right, a size, a version or a setting.
REFUSALS: tuple[type[BaseException], ...] = (
    kafka_errors.AuthorizationError,
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.InvalidRecordError,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.UnsupportedForMessageFormatError,
    kafka_errors.IncompatibleBrokerVersion,
    kafka_errors.InvalidTransactionTimeoutError,
    kafka_errors.InvalidTopicError,
    kafka_errors.PolicyViolationError,
    kafka_errors.KafkaConfigurationError,
)
LOGINS: tuple[type[BaseException], ...] = (kafka_errors.SaslAuthenticationFailedError, kafka_errors.UnsupportedSaslMechanismError)

# The client logs why it cannot connect and tells its caller only "Unable to bootstrap". The most telling first; nothing else of its texts is passed on.
_REASONS: tuple[tuple[str, str], ...] = (
    (r"certificate verify failed: ([^(\n]{1,120})", "TLS: certificate verify failed: {0}"),
    (r"(WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|UNEXPECTED_EOF)", "TLS: the broker does not speak TLS on this port"),
    (r"(ALERT_\w*CERTIFICATE\w*|CERTIFICATE_REQUIRED)", "TLS: the broker refuses the client certificate"),
    (r"Handshake failed", "TLS handshake failed"),
    (r"SaslAuthenticationFailed", "login refused"),
    (r"UnsupportedSaslMechanism", "the broker does not offer this SASL mechanism"),
    (r"Connection refused|Errno 111", "connection refused"),
    (r"No address associated|Name or service not known|gaierror|name resolution", "the host name cannot be resolved"),
    (r"Network is unreachable|No route to host|Errno 11[03]", "no route to the host"),
    (r"[Tt]imed out|[Tt]imeout", "timed out"),
    (r"reset by peer|Connection lost|Broken pipe|Errno 104", "the connection broke"),
)


class _Reasons(logging.Handler):
    """Keeps the most telling reason the client logged. Its other lines end here: at debug they hold passwords and rows."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.forget()

    def forget(self) -> None:
        """A new connection is tried."""
        self.best, self.rank = "", len(_REASONS)

    def emit(self, record: logging.LogRecord) -> None:
        exceptions = [argument for argument in record.args or () if isinstance(argument, BaseException)]
        text = " ".join([record.getMessage(), *(type(e).__name__ for e in exceptions)])
        for rank, (pattern, said) in enumerate(_REASONS[: self.rank]):
            if match := re.search(pattern, text):
                self.best, self.rank = said.format(*match.groups()), rank
                return


_reasons = _Reasons()
_quiet = threading.Lock()


def watch_client_log() -> None:
    """Takes the client's log away from ours, for ever and at every level, and listens to it for reasons."""
    logger = logging.getLogger("kafka")
    with _quiet:
        if _reasons not in logger.handlers:
            logger.addHandler(_reasons)
        logger.setLevel(logging.WARNING)
        logger.propagate = False


def reason() -> str:
    """Why the client could not connect lately; '' when it did not say."""
    return _reasons.best


def client_settings(settings: KafkaSettings) -> dict[str, Any]:
    """The connection settings every client class takes; the password is read now. Raises SecretMissing."""
    watch_client_log()
    _reasons.forget()
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap_servers),
        "client_id": "unit-sync-agent",
        "security_protocol": ("SASL_" if settings.sasl else "") + ("SSL" if settings.tls else "PLAINTEXT"),
        "reconnect_backoff_max_ms": 1000,
        "request_timeout_ms": 5000,
    }
    if settings.tls:
        tls = settings.tls
        options |= {"ssl_cafile": tls.ca_file, "ssl_certfile": tls.cert_file, "ssl_keyfile": tls.key_file, "ssl_check_hostname": True}
    if settings.sasl:
        options |= _login(settings.sasl)
    return options


def _login(sasl: SaslSettings) -> dict[str, Any]:
    return {
        "sasl_mechanism": sasl.mechanism,
        "sasl_plain_username": sasl.user,
        "sasl_plain_password": sasl.password.read("kafka.sasl.password"),
    }


@contextlib.contextmanager
def closing_client(make: Callable[..., T], **options: Any) -> Iterator[T]:
    """A client whose sockets and threads are gone afterwards, also when its constructor fails (which leaks both in 3.0.12)."""
    with contextlib.ExitStack() as stack:
        yield make(**options, kafka_client=lambda **config: _net(stack, config))


def _net(stack: contextlib.ExitStack, config: dict[str, Any]) -> KafkaNetClient:
    client = KafkaNetClient(**config)
    stack.callback(client.close)
    return client


def addresses(settings: KafkaSettings) -> str:
    """The brokers to ask first, for a message."""
    return ",".join(settings.bootstrap_servers)


def our_error(error: BaseException, settings: KafkaSettings) -> AgentError:
    """The agent's error for anything a client call has raised. Never holds a text of the client's: only names of types."""
    if isinstance(error, AgentError):
        return error
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, LOGINS):
            return _login_refused(settings, type(cause).__name__)
        if isinstance(cause, REFUSALS):
            return KafkaRefused(reason=type(cause).__name__)
    why = reason()
    if why in ("login refused", "the broker does not offer this SASL mechanism"):
        return _login_refused(settings, why)
    if isinstance(error, Expired):
        why = why or "no answer in time"
    names = " < ".join(dict.fromkeys(type(cause).__name__ for cause in chain))
    return KafkaUnreachable(address=addresses(settings), reason=why or names)


def _login_refused(settings: KafkaSettings, why: str) -> LoginRefused:
    user = settings.sasl.user if settings.sasl else "ANONYMOUS"
    return LoginRefused(peer=f"Kafka at {addresses(settings)}", user=user, reason=why)


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
        waiting += [other for other in (*cause.args, cause.__cause__, cause.__context__) if isinstance(other, BaseException)]
