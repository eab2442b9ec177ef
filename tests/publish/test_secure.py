"""Tests TLS, login and rights at a real broker with both clients.

It shows what works with exactly the documented rights, and what each failure is called.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.config import Settings
from agent.errors import AgentError, KafkaRefused, KafkaUnreachable, LoginRefused
from agent.preflight.kafka_checks import check_kafka
from agent.publish import topics
from agent.publish.base import Producer
from agent.publish.clients import cluster
from tests.publish.fronts import settings_for
from tests.services.kafka import PLAIN_PASSWORD, PLAIN_USER, KafkaBroker, Mechanism
from tests.waiting import PATIENCE

AGENT = "an-agent"
CLIENTS = ["kafka-python", "librdkafka"]


class Site:
    """Knows an agent's settings at the secure listener, and its topics.

    A user's rights are granted one by one.
    """

    def __init__(
        self,
        broker: KafkaBroker,
        prefix: str,
        directory: Path,
        client: str,
        mechanism: Mechanism = "SCRAM-SHA-512",
    ) -> None:
        self.broker, self.prefix, self.directory, self.client, self.mechanism = (
            broker,
            prefix,
            directory,
            client,
            mechanism,
        )
        self.user = PLAIN_USER if mechanism == "PLAIN" else f"user-{prefix}"
        self.agent = f"{AGENT}-{prefix}"
        self.password = PLAIN_PASSWORD if mechanism == "PLAIN" else "right"
        if mechanism != "PLAIN":
            broker.add_user(self.user, self.password, mechanism)
        self.settings = self.with_settings()
        self.topics = [
            self.settings.state_topic,
            *(self.settings.topic(resource) for resource in self.settings.resource),
        ]
        plain = settings_for(broker.bootstrap, prefix, directory)
        topics.create_topics(plain.kafka, plain.topics, lambda line: None)

    def with_settings(self, bootstrap: str = "", ca_file: str = "", password: str = "") -> Settings:
        """The settings, with another address, authority or password."""
        secret = self.directory / "password"
        secret.write_text(password or self.password)
        given: dict[str, Any] = {
            "client": self.client,
            "tls": {"ca_file": ca_file or self.broker.ca_file},
            "sasl": {
                "mechanism": self.mechanism,
                "user": self.user,
                "password": {"file": str(secret)},
            },
        }
        return settings_for(
            bootstrap or self.broker.secure_bootstrap, self.prefix, self.directory, **given
        )

    def allow(self, left_out: str = "") -> None:
        """The rights docs/OPERATIONS.md names, without one of them."""
        state, *others = self.topics
        self.broker.allow(
            self.user,
            "topic",
            state,
            [*({"write", "read"} - {left_out.removeprefix("state ")}), "describe_configs"],
        )
        for topic in others:
            self.broker.allow(
                self.user,
                "topic",
                topic,
                ["describe" if left_out == "topic write" else "write", "describe_configs"],
            )
        if left_out != "id":
            self.broker.allow(self.user, "transactional_id", self.agent, ["write"])

    def publish(self, settings: Settings | None = None, seconds: float = PATIENCE) -> bytes | None:
        """What a publisher does, once; the state it reads then."""
        used = settings or self.settings
        kafka = cluster(used.kafka, used.state_topic, self.agent, lambda: None)
        deadline = time.monotonic() + seconds
        producer: Producer = kafka.open(deadline)
        try:
            producer.begin()
            for topic in self.topics[1:]:
                producer.send(topic, 0, b"k", b"v", [("h", b"1")])
            producer.send(self.topics[0], 0, self.agent.encode(), b"state", [])
            if not producer.drain(0, deadline):
                raise AssertionError("the records are not stored in time")
            producer.commit(deadline)
        finally:
            producer.abandon()
        assert all(kafka.topics(self.topics, deadline).values())
        return kafka.states(deadline).visible


@pytest.fixture
def site(kafka_broker: KafkaBroker, topic_prefix: str, tmp_path: Path) -> Callable[..., Site]:
    """Makes the site."""
    return lambda client, mechanism="SCRAM-SHA-512": Site(
        kafka_broker, topic_prefix, tmp_path, client, mechanism
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("client", CLIENTS)
def test_every_mechanism_with_exactly_the_documented_rights(
    site: Callable[..., Site], client: str, mechanism: Mechanism
) -> None:
    """Opened, published, committed, described, read again; and `check` has nothing to say."""
    here = site(client, mechanism)
    here.allow()
    assert here.publish() == b"state"
    assert [
        finding
        for finding in check_kafka(here.settings.kafka, here.settings.topics, here.agent)
        if finding.level != "ok"
    ] == []


WRONG: dict[str, tuple[Callable[[Site], Settings], type[AgentError], str, str, str]] = {
    "authority": (
        lambda site: site.with_settings(ca_file=site.broker.other_ca_file),
        KafkaUnreachable, "TLS: certificate verify failed: .*(issuer|self.signed)",
        "KAFKA_TLS", "not signed by the authority in kafka.tls.ca_file",
    ),
    "expired": (
        lambda site: site.with_settings(site.broker.expired_bootstrap),
        KafkaUnreachable, "TLS: certificate verify failed: certificate has expired",
        "KAFKA_TLS", "outside its time: certificate has expired",
    ),
    "host name": (
        lambda site: site.with_settings(site.broker.misnamed_bootstrap),
        KafkaUnreachable, "TLS: certificate verify failed: IP address mismatch",
        "KAFKA_TLS", "for another host name than 127.0.0.1",
    ),
    "no file": (
        lambda site: site.with_settings(ca_file="/nonexistent/ca.pem"),
        KafkaUnreachable, "TLS: the files of kafka.tls cannot be read: No such file",
        "KAFKA_TLS", "The files of kafka.tls cannot be read: No such file",
    ),
    "password": (
        lambda site: site.with_settings(password="wrong"),
        LoginRefused,
        ("refused the login of user-.*: login refused|"
        "refused the login of user-.*: SaslAuthenticationFailed"),
        "KAFKA_LOGIN", "refused the login",
    ),
    "mechanism": (
        lambda site: Site.with_settings(site).model_copy(update={"kafka": _gssapi(site)}),
        LoginRefused, "refused the login", "KAFKA_LOGIN", "refused the login",
    ),
    "no TLS there": (
        lambda site: site.with_settings(site.broker.bootstrap),
        KafkaUnreachable, "TLS: the broker does not speak TLS",
        "KAFKA_TLS", "does not complete the TLS handshake",
    ),
}  # fmt: skip


def _gssapi(site: Site) -> Any:
    """A user whose password was set for the other mechanism only."""
    kafka = site.settings.kafka
    assert kafka.sasl is not None
    return kafka.model_copy(
        update={"sasl": kafka.sasl.model_copy(update={"mechanism": "SCRAM-SHA-256"})}
    )


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("client", CLIENTS)
def test_each_fault_on_the_way_has_a_name(
    site: Callable[..., Site], client: str, wrong: str
) -> None:
    """A fault is named by class and text at run time, by code and sentence in `check`.

    Neither shows the password.
    """
    change, kind, text, code, sentence = WRONG[wrong]
    here = site(client)
    here.allow()
    settings = change(here)
    with pytest.raises(kind, match=text) as caught:
        here.publish(settings, 8)
    findings = [
        finding
        for finding in check_kafka(settings.kafka, settings.topics, here.agent)
        if finding.level == "error"
    ]
    assert [finding.code for finding in findings] == [code]
    assert sentence in findings[0].message and findings[0].fix
    assert not any(
        "wrong" in shown for shown in (str(caught.value), findings[0].message, findings[0].fix)
    )


REFUSED = {
    "topic write": (
        "TopicAuthorizationFailedError",
        "lacks the right WRITE on --topic {prefix}.orders",
    ),
    "state write": ("TopicAuthorizationFailedError", "lacks the right WRITE on --topic {state}"),
    "state read": (
        "TopicAuthorizationFailedError: topic {state}",
        "lacks the right READ on --topic {state}",
    ),
    "id": (
        "TransactionalIdAuthorizationFailedError: transactional id {agent}",
        "on --transactional-id {agent}",
    ),
}


@pytest.mark.parametrize("left_out", REFUSED)
@pytest.mark.parametrize("client", CLIENTS)
def test_each_missing_right_is_named(site: Callable[..., Site], client: str, left_out: str) -> None:
    """At run time the agent halts and says what was refused.

    `check` names right and resource and the command that grants it.
    """
    here = site(client)
    here.allow(left_out)
    text, sentence = (
        part.format(prefix=here.prefix, state=here.topics[0], agent=here.agent)
        for part in REFUSED[left_out]
    )
    with pytest.raises(KafkaRefused) as caught:
        here.publish()
    assert text in str(caught.value)
    findings = [
        finding
        for finding in check_kafka(here.settings.kafka, here.settings.topics, here.agent)
        if finding.level == "error"
    ]
    assert {finding.code for finding in findings} == {"KAFKA_RIGHTS"}
    assert any(
        sentence in finding.message and "kafka-acls.sh" in finding.fix for finding in findings
    ), findings
