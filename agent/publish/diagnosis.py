"""Tells network, TLS, login and authorisation apart for `check`.

The client itself says only "Unable to bootstrap".
"""

import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from kafka import KafkaAdminClient
from kafka.errors import AuthorizationError

from agent.config import KafkaSettings, Topics
from agent.errors import AgentError, KafkaRefused, LoginRefused
from agent.messages import mark, translate
from agent.publish.bootstrap import speaks
from agent.publish.connection import client_settings, closing_client, our_error, trust
from agent.publish.waiting import bounded
from agent.reach import place, why
from agent.tls import Fault, Trust, refusal

CONNECT_SECONDS = 2.0
LOGIN_SECONDS = 6.0
_FORBIDDEN_TOPIC = 29  # error code of the protocol


class Finding(NamedTuple):
    """The outcome of one step, in the user's language."""

    step: str  # resolve, connect, tls, login, rights
    ok: bool
    message: str
    fix: str = ""  # the command or setting that helps; '' where nothing is wrong


def diagnose(kafka: KafkaSettings, topics: Topics, agent: str = "") -> list[Finding]:
    """Returns every step up to the first that fails, for each bootstrap server.

    Login and rights follow if one server got so far. `agent` is the uuid of an initialised agent,
    whose right to its transactional id is checked, too. Changes nothing on the cluster.
    """
    servers = list(kafka.bootstrap_servers)
    with ThreadPoolExecutor(len(servers)) as beside:
        steps = list(beside.map(lambda server: _server(server, kafka), servers))
    findings = [finding for found in steps for finding in found]
    reached = any(found[-1].ok for found in steps)
    return findings + _login_and_rights(kafka, topics, agent) if reached else findings


def _server(server: str, kafka: KafkaSettings) -> list[Finding]:
    host, port = place(server)
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        message = mark("The host name {host} cannot be resolved")
        fix = mark("Correct kafka.bootstrap_servers, or the host's DNS.")
        return [_bad("resolve", message, fix, host=host)]

    address = str(places[0][4][0])
    findings = [_good("resolve", mark("{host} is {address}"), host=host, address=address)]
    try:
        connection = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
    except OSError as error:
        reason, fix = why(error)
        message = mark("{server} cannot be reached: {reason}")
        values = {"server": server, "reason": reason, "host": host, "port": port}
        return [*findings, _bad("connect", message, fix, **values)]

    with connection:
        findings.append(_good("connect", mark("{server} accepts connections"), server=server))
        if kafka.tls:
            findings.append(_tls(connection, host, server, trust(kafka)))
    if findings[-1].ok and speaks(server, kafka) is None:
        findings.append(_silent(server))
    return findings


def _silent(server: str) -> Finding:
    message = mark("{server} accepts connections and says nothing: it hangs, or is no broker")
    fix = mark(
        "Ask the platform whether this broker is well; else take it out of kafka.bootstrap_servers."
    )
    return _bad("connect", message, fix, server=server)


def _tls(connection: socket.socket, host: str, server: str, trust: Trust) -> Finding:
    found = refusal(connection, host, trust)
    if found is None:
        return _good("tls", mark("{server}: TLS works, the certificate fits"), server=server)
    message, fix = _TLS_FAULTS[found.fault]
    return _bad("tls", message, fix, server=server, host=host, reason=found.reason)


_TLS_FAULTS: dict[Fault, tuple[str, str]] = {
    "files": (
        mark("The files of kafka.tls cannot be read: {reason}"),
        mark("Correct ca_file, cert_file and key_file, and their permissions."),
    ),
    "handshake": (
        mark("{server} does not complete the TLS handshake: {reason}"),
        mark("Ask which port speaks TLS; without TLS leave kafka.tls out."),
    ),
    "name": (
        mark("{server}: the certificate is for another host name than {host}"),
        mark(
            "Use the name in the certificate in kafka.bootstrap_servers, "
            "or have one issued that names {host}."
        ),
    ),
    "time": (
        mark("{server}: the certificate is outside its time: {reason}"),
        mark(
            "See it with: openssl s_client -connect {server} -showcerts </dev/null "
            "| openssl x509 -noout -text"
        ),
    ),
    "authority": (
        mark(
            "{server}: the certificate is not signed by the authority in kafka.tls.ca_file: "
            "{reason}"
        ),
        mark(
            "Put the certificate of the authority that signed the broker's into kafka.tls.ca_file."
        ),
    ),
}


def _login_and_rights(kafka: KafkaSettings, topics: Topics, agent: str) -> list[Finding]:
    deadline = time.monotonic() + LOGIN_SECONDS
    try:
        rights = bounded(lambda: _read_rights(kafka, topics, agent), deadline + 10, lambda: None)
    except Exception as error:  # noqa: BLE001 - clients raise anything
        return [_failed(our_error(error, kafka), kafka)]
    user = kafka.sasl.user if kafka.sasl else "ANONYMOUS"
    return [
        _good("login", mark("Logged in as {user}"), user=user),
        *_missing(kafka, topics.state, rights, agent),
    ]


def _failed(error: AgentError, kafka: KafkaSettings) -> Finding:
    sasl = kafka.sasl
    if isinstance(error, LoginRefused) and sasl:
        fix = mark(
            "Check user and password; an administrator sets it with: kafka-configs.sh "
            "--bootstrap-server {server} --alter --add-config '{mechanism}=[password=...]' "
            "--entity-type users --entity-name {user}"
        )
        return _bad(
            "login",
            mark("{detail}"),
            fix,
            detail=error.text(),
            mechanism=sasl.mechanism,
            user=sasl.user,
            server=kafka.bootstrap_servers[0],
        )
    step = "rights" if isinstance(error, KafkaRefused) else "login"
    return _bad(
        step,
        mark("{detail}"),
        mark(
            "The broker accepts connections and does not answer as a client expects: "
            "ask for the right listener (TLS, login) and its advertised address."
        ),
        detail=error.text(),
    )


def _read_rights(kafka: KafkaSettings, topics: Topics, agent: str) -> dict[str, set[str]]:
    """What this user may do with each topic, as far as asking can tell.

    Under the key '' stands what it may do with the agent's transactional id.
    """
    names = [topics.state, *topics.events]
    with closing_client(
        KafkaAdminClient,
        **client_settings(kafka),
        bootstrap_timeout_ms=int(LOGIN_SECONDS * 1000),
    ) as admin:
        rights = {str(topic["name"]): _operations(topic) for topic in admin.describe_topics(names)}
        rights[""] = {"DESCRIBE", "WRITE"}
        if agent:
            try:
                admin.describe_transactions([agent])
            except AuthorizationError:
                rights[""] = set()
            except Exception:  # noqa: BLE001, S110 - clients raise anything
                # An id that was never used is unknown to the coordinator: the right is there
                pass
    return rights


def _operations(topic: dict[str, Any]) -> set[str]:
    if topic["error_code"] == _FORBIDDEN_TOPIC:
        return set()
    operations = topic.get("authorized_operations")
    # Missing topic, or the broker does not say
    return set(operations) if operations else {"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"}


def _missing(
    kafka: KafkaSettings, state_topic: str, rights: dict[str, set[str]], agent: str
) -> Iterable[Finding]:
    needs = {name: ["DESCRIBE", "WRITE"] for name in rights}
    needs[state_topic] = ["DESCRIBE", "READ", "WRITE"]
    found = False
    for name, operations in needs.items():
        lacking = [operation for operation in operations if operation not in rights[name]]
        if lacking:
            found = True
            what = f"--topic {name}" if name else f"--transactional-id {agent}"
            yield _lacking(kafka, what, lacking)
    if not found:
        yield _good("rights", mark("All rights on topics and transactional id are there"))


def _lacking(kafka: KafkaSettings, what: str, operations: list[str]) -> Finding:
    user = kafka.sasl.user if kafka.sasl else "ANONYMOUS"
    flags = " ".join(f"--operation {_flag(operation)}" for operation in operations)
    fix = mark(
        "An administrator grants it with: kafka-acls.sh --bootstrap-server {server} --add "
        "--allow-principal User:{user} {flags} {what}"
    )
    message = mark("{user} lacks the right {operations} on {what}")
    return _bad(
        "rights",
        message,
        fix,
        user=user,
        what=what,
        flags=flags,
        operations=", ".join(operations),
        server=kafka.bootstrap_servers[0],
    )


def _flag(operation: str) -> str:
    """The operation as kafka-acls.sh writes it: DESCRIBE_CONFIGS is DescribeConfigs."""
    return "".join(word.capitalize() for word in operation.split("_"))


def _good(step: str, message: str, **values: Any) -> Finding:
    return Finding(step, True, translate(message, **values))


def _bad(step: str, message: str, fix: str, **values: Any) -> Finding:
    return Finding(step, False, translate(message, **values), translate(fix, **values))
