"""Asks for the sections of a configuration: the source, the front end, Kafka.

What was given beforehand and is not asked for stays as it is. A value that is the default is left
to the program, as in the example.
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from agent.config import Settings
from agent.config.drafts import draft
from agent.connectors.discovery import Discovery
from agent.connectors.opening import discovery_of
from agent.errors import AgentError
from agent.findings import Finding, errors, failed
from agent.messages import mark, translate
from agent.preflight.front_checks import FrontCheck
from agent.preflight.kafka_checks import check_kafka
from agent.setup.dialogue import Dialogue, Question, Refused, filled, number, one_of, refused_for
from agent.setup.patterns import split
from agent.setup.secrets import Secrets

SQLITE = "sqlite"
_KINDS = ("postgresql", "mysql", "polling", "trigger")
_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")

Parse = Callable[[str], Any]


class Sections:
    """Asks for one section after the other, and tries each before the next."""

    def __init__(
        self,
        dialogue: Dialogue,
        secrets: Secrets,
        data: dict[str, Any],
        admin_url: str | None,
    ) -> None:
        """`data` is the configuration so far; each section is put there once it is tried."""
        self._dialogue = dialogue
        self._secrets = secrets
        self._data = data
        self._admin_url = admin_url
        # Sections of which something that nobody asks for was given, and is wrong
        self._wrong: set[str] = set()

    # ---- the source

    def source(self) -> Discovery:
        """Asks for the way to the source until it can be asked for its tables."""
        return self._dialogue.settled(self._source)

    def _source(self) -> Discovery:
        section = self._given("source")
        kind = self._ask(
            section,
            "source.type",
            mark(
                "Kind of source: postgresql (its log), mysql (the binary log of MariaDB or MySQL), "
                "polling (statements), trigger (triggers that note changes)"
            ),
            "postgresql",
            one_of(*_KINDS),
        )
        if kind == "postgresql":
            self._server(section)
        else:
            self._url(section)
        self._data["source"] = _ordered(section, ("type", "host", "port", "database", "user"))

        settings = self._tried("source", ["source"])
        try:
            discovery = discovery_of(settings.source, self._admin_url)
            troubles = discovery.troubles()
        except AgentError as cause:
            troubles = [failed(cause)]
        if troubles:
            raise refused_for("source", troubles)
        text = mark("Connected to {address}")
        self._dialogue.show(translate(text, address=discovery.address))
        return discovery

    def _server(self, section: dict[str, Any]) -> None:
        host = self._ask(
            section,
            "source.host",
            mark("Host of the primary server, or the folder of its socket"),
            "127.0.0.1",
            keep=True,
        )
        self._ask(section, "source.port", mark("Port"), "5432", number)
        self._ask(section, "source.database", mark("Database"))
        user = self._ask(
            section,
            "source.user",
            mark("Role of the agent, with LOGIN and REPLICATION"),
            "sync_agent",
            keep=True,
        )
        self._password(section, "source", str(user))

        local = _is_local(str(host))
        mode = self._ask(
            section,
            "source.sslmode",
            mark("TLS: disable, prefer, require, verify-ca or verify-full (off this host)"),
            "prefer" if local else "verify-full",
            one_of(*_MODES),
            keep=not local,
        )
        if str(mode).startswith("verify"):
            self._ask(
                section,
                "source.sslrootcert",
                mark("File of the authority that signed the server's certificate"),
                "/etc/unit-sync-agent/source-ca.pem",
                keep=True,
            )

    def _url(self, section: dict[str, Any]) -> None:
        text = mark(
            "SQLAlchemy URL without password, such as mariadb+pymysql://user@host/database or "
            "sqlite:////folder/business.db"
        )
        url = self._ask(section, "source.url", text, None, _url)
        user = make_url(str(url)).username
        if user:
            self._password(section, "source", user)

    # ---- the front end

    def front(self) -> str:
        """Asks for the front end; returns its URL as it will be in effect."""
        return self._dialogue.settled(self._front)

    def _front(self) -> str:
        section = self._given("front")
        text = mark(
            "Front end: sqlite (embedded), or a SQLAlchemy URL without password such as "
            "postgresql+psycopg://user@host/database or mariadb+pymysql://user@host/database"
        )
        url = self._ask(section, "front.url", text, SQLITE, _front_url)
        if url != SQLITE:
            user = make_url(str(url)).username
            if user:
                self._password(section, "front", user)
        self._put("front", _ordered(section, ("url", "password")))

        settings = self._tried("front", ["source", "front"])
        if not str(url).startswith(SQLITE):
            self._try_peer("front", lambda: _front_findings(settings))
        return settings.front.url

    # ---- Kafka

    def kafka(self) -> None:
        """Asks for the exchange platform's Kafka."""
        self._dialogue.settled(self._kafka)

    def _kafka(self) -> None:
        section = self._given("kafka")
        self._ask(
            section,
            "kafka.bootstrap_servers",
            mark("Kafka brokers, host:port, separated by commas"),
            "127.0.0.1:9092",
            split,
            keep=True,
        )
        self._ask(
            section,
            "kafka.prefix",
            mark("First part of every topic's name, given by the platform"),
            "unit",
            keep=True,
        )
        self._kafka_tls(section)
        self._kafka_login(section)
        self._ask(
            section,
            "kafka.replication_factor",
            mark("Replicas of the topics that init makes; 3 on a real cluster"),
            "1",
            number,
        )
        self._put("kafka", _ordered(section, ("bootstrap_servers", "prefix")))
        settings = self._tried("kafka", ["source", "front", "kafka"])
        self._try_peer("kafka", lambda: errors(check_kafka(settings.kafka, settings.topics, "")))

    def _kafka_tls(self, section: dict[str, Any]) -> None:
        if isinstance(self._dialogue.given("kafka.tls"), Mapping):
            return
        section.pop("tls", None)
        text = mark("TLS to the brokers: none, system (its authorities), or a file of authorities")
        answer = self._place("kafka.tls", text, "none", filled)
        if answer == "system":
            section["tls"] = {}
        elif answer not in ("none", False):
            section["tls"] = {"ca_file": answer}

    def _kafka_login(self, section: dict[str, Any]) -> None:
        if isinstance(self._dialogue.given("kafka.sasl"), Mapping):
            return
        section.pop("sasl", None)
        text = mark("User at the brokers; none: no login")
        user = self._place("kafka.sasl", text, "none")
        if user in ("none", False):
            return
        login: dict[str, Any] = {}
        mechanism = self._place(
            "kafka.sasl.mechanism",
            mark("Way to log in: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN"),
            _MECHANISMS[0],
            _mechanism,
        )
        if mechanism != _MECHANISMS[0]:
            login["mechanism"] = mechanism
        login["user"] = user
        self._password(login, "kafka", str(user), "kafka.sasl.password")
        section["sasl"] = login

    # ---- what all of them need

    def _given(self, name: str) -> dict[str, Any]:
        """Returns what was given of a section, unless a setting of it is wrong."""
        return {} if name in self._wrong else self._dialogue.answers.section(name)

    def _put(self, name: str, section: dict[str, Any]) -> None:
        self._data.pop(name, None)
        if section:
            self._data[name] = section

    def _place(self, place: str, text: str, default: str | None, parse: Parse = filled) -> Any:
        return self._dialogue.ask(Question(place, translate(text), default), parse)

    def _ask(
        self,
        section: dict[str, Any],
        place: str,
        text: str,
        default: str | None = None,
        parse: Parse = filled,
        *,
        keep: bool = False,
    ) -> Any:
        """Asks for one setting of a section and puts it there, unless it is the default.

        `keep`: the default is this question's, and not the program's.
        """
        name = place.rpartition(".")[2]
        value = self._place(place, text, default, parse)
        section.pop(name, None)
        is_default = default is not None and not keep and value in (default, parse(default))
        if not is_default:
            section[name] = value
        return value

    def _password(self, section: dict[str, Any], peer: str, user: str, place: str = "") -> None:
        section.pop("password", None)
        found = self._secrets.ask(self._dialogue, place or f"{peer}.password", peer, user)
        if found is not None:
            section["password"] = found

    def _tried(self, name: str, sections: Sequence[str]) -> Settings:
        """Returns the settings so far. Raises Refused for a section that is wrong."""
        settings, problems = draft(self._secrets.live(self._data), sections)
        if settings is None:
            self._wrong.add(name)
            lines = dict.fromkeys([problem.line({}) for problem in problems])
            raise Refused(name, "\n".join(lines))
        return settings

    def _try_peer(self, name: str, findings: Callable[[], list[Finding]]) -> None:
        """Tries a peer that need not be there yet: a person may keep the answers all the same."""
        if not self._dialogue.asks_each:
            return
        found = findings()
        if not found:
            return
        refused = refused_for(name, found)
        self._dialogue.show(refused.reason)
        text = translate(mark("Keep these answers all the same?"))
        if not self._dialogue.confirm(f"{name}.keep", text, default=False):
            raise refused


def _front_findings(settings: Settings) -> list[Finding]:
    check = FrontCheck(settings)
    try:
        check.open()
        return errors(check.findings)
    finally:
        check.close()


def _is_local(host: str) -> bool:
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(text: str) -> str:
    """Reads a SQLAlchemy URL. Raises ValueError."""
    try:
        url = make_url(filled(text))
    except (ArgumentError, ValueError):
        raise ValueError(translate(mark("This is no URL."))) from None
    if url.password is not None:
        raise ValueError(translate(mark("No password in the URL: it is asked for next.")))
    return filled(text)


def _front_url(text: str) -> str:
    return SQLITE if text.strip().lower() == SQLITE else _url(text)


def _mechanism(text: str) -> str:
    return one_of(*[word.lower() for word in _MECHANISMS])(text).upper()


def _ordered(section: Mapping[str, Any], first: Sequence[str]) -> dict[str, Any]:
    """Returns the settings in an order that does not hang on that of the answers."""
    names = [name for name in first if name in section]
    names += sorted(set(section) - set(first))
    return {name: section[name] for name in names}
