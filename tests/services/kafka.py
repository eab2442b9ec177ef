"""A real Apache Kafka for the tests: a broker of our own, one that was given, or a container."""

import base64
import functools
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package does not re-export them for mypy
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.services.certificates import Certificates
from tests.services.kafka_files import kafka_libs
from tests.services.processes import HOST, Lent, ServerProcess, Workspace, free_port, run
from tests.services.proxy import KafkaProxy
from tests.waiting import PATIENCE, eventually

Settings = Mapping[str, str | int]
Resource = Literal["topic", "group", "broker", "transactional_id"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Djava.awt.headless=true")
LISTENERS = {
    "PLAINTEXT": "PLAINTEXT",
    "PROXIED": "PLAINTEXT",
    "SECURE": "SASL_SSL",
    "EXPIRED": "SSL",
    "MISNAMED": "SSL",
    "CONTROLLER": "PLAINTEXT",
}
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
# The one user of mechanism PLAIN: a broker reads those from its own settings
PLAIN_USER, PLAIN_PASSWORD = (
    "plain",
    "plain-password",
)
DEFAULTS: Settings = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": ",".join(
        f"{name}:{protocol}" for name, protocol in LISTENERS.items()
    ),
    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
    "listener.name.secure.scram-sha-256.sasl.jaas.config": SCRAM_LOGIN,
    "listener.name.secure.scram-sha-512.sasl.jaas.config": SCRAM_LOGIN,
    "listener.name.secure.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'user_{PLAIN_USER}="{PLAIN_PASSWORD}";'
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # whoever comes through the plain loopback listeners
    "num.partitions": 3,
    "default.replication.factor": 1,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 1,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "broker.session.timeout.ms": 60000,  # no pause of a test may end it, see RECOVERY
    "broker.heartbeat.interval.ms": 500,
    "auto.create.topics.enable": "false",
}
# KAFKA-20734, seen with 4.4.0: while its broker's session is ended a partition has no leader, and a
# coordinator then takes it for deleted and drops the marker of a committed transaction, which
# read_committed readers never get past. With one broker every restart after kill -9 could do that:
# half of them did. When the old session ends before the new broker reads the metadata it cannot
# happen, so such a restart begins with a boot of the controller alone, which ends it.
ACTIVE = "Performing controller activation"
LOGGING = """rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1} %m%n
"""


class KafkaAddress(Lent):
    """Where a broker listens without security; all that a test needs which only wants topics."""

    managed = False  # True: it can also be stopped, killed, paused, and has users

    def __init__(self, bootstrap: str, close: Callable[[], None] = lambda: None) -> None:
        self.bootstrap = bootstrap
        super().__init__(close)

    @functools.cached_property
    def admin(self) -> AdminClient:
        """Returns the administration client of the plain listener.

        It is kept, for its futures fail when it is collected.
        """
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})


class KafkaBroker(KafkaAddress):
    """Runs a broker of our own on loopback.

    `stop` keeps its data for `start_again`, `close` removes everything.

    `bootstrap` is plain and may do everything, `proxied_bootstrap` is the same through `proxy`,
    `secure_bootstrap` asks for TLS (`ca_file`), a login (`add_user`, or PLAIN_USER) and ACLs
    (`allow`); `expired_bootstrap` and `misnamed_bootstrap` show certificates that must not be
    accepted.
    """

    managed = True

    def __init__(self, settings: Settings | None = None, directory: Path | None = None) -> None:
        self._workspace = Workspace("kafka", directory)
        self._ports = {name: free_port() for name in LISTENERS}
        super().__init__(self._address("PLAINTEXT"))
        self.secure_bootstrap = self._address("SECURE")
        self.expired_bootstrap = self._address("EXPIRED")
        self.misnamed_bootstrap = self._address("MISNAMED")
        self.proxy = KafkaProxy(HOST, self._ports["PROXIED"])
        self.proxied_bootstrap = f"{HOST}:{self.proxy.port}"
        self._certificates = Certificates.create(self._workspace.path)
        self.ca_file = str(self._certificates.ca_file)
        self.other_ca_file = str(self._certificates.other_ca_file)
        self._properties = self._workspace.path / "server.properties"
        self._settings: Settings = {**DEFAULTS, **self._own_settings(), **(settings or {})}
        self._process: ServerProcess | None = None
        self._killed = False
        self._log = self._workspace.path / "server.log"

    @classmethod
    def start(cls, settings: Settings | None = None, directory: Path | None = None) -> Self:
        """Makes a new broker and waits until it answers; a named `directory` is kept by `close`."""
        broker = cls(settings, directory)
        try:
            broker._format()
            broker.start_again()
        except BaseException:
            broker.close()
            raise
        return broker

    def start_again(self, session: int | None = None) -> None:
        """Starts the stopped broker on its old directory and ports and waits until it answers.

        `session` lets the old session of a killed one last so many seconds beside the new one, as
        in real life (KAFKA-20734).
        """
        assert self._process is None or not self._process.running, "the broker runs already"
        if self._killed and session is None:
            self._end_session()
        self._killed = False
        process = self._boot(
            {} if session is None else {"broker.session.timeout.ms": session * 1000}, self._log
        )

        def answers() -> bool:
            process.check()
            return bool(self.admin.list_topics(timeout=1).brokers)

        eventually(answers, 90, "Apache Kafka answers")

    def stop(self, timeout: float = 60.0) -> float:
        """Stops it in good order and returns the seconds it took."""
        self.resume()  # a paused process does not hear SIGTERM
        return 0.0 if self._process is None else self._process.stop(timeout=timeout)

    def kill9(self) -> None:
        """Kills it; `start_again` then takes two boots."""
        if self._process is not None:
            self._process.kill()
            self._killed = True

    def pause(self) -> None:
        """Freezes it: connections stay open and nothing is answered."""
        if self._process is not None:
            self._process.freeze()

    def resume(self) -> None:
        """Ends a pause."""
        self._send(signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pauses the broker, and resumes it whatever happens: others need the broker, too."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def close(self) -> None:
        """Kills it and removes its directory."""
        self.kill9()
        self.proxy.close()
        self._workspace.close()

    def add_user(self, name: str, password: str, mechanism: Mechanism = "SCRAM-SHA-512") -> None:
        """Creates a SCRAM user of the secure listener, or changes its password."""
        credential = ScramCredentialInfo(ScramMechanism[mechanism.replace("-", "_")], 4096)
        change = UserScramCredentialUpsertion(name, credential, password.encode())
        for future in self.admin.alter_user_scram_credentials(
            [change], request_timeout=20
        ).values():
            future.result(PATIENCE)

    def allow(
        self,
        principal: str,
        resource_type: Resource,
        name: str,
        operations: Sequence[str],
        prefixed: bool = False,
    ) -> None:
        """Grants a user operations such as "write" on a resource.

        With `prefixed` it is on all resources whose names begin with `name`.
        """
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        for operation in operations:
            self._set_acl(principal, resource_type, name, operation, pattern)

    @contextmanager
    def denied(
        self, principal: str, resource_type: Resource, name: str, operation: str
    ) -> Iterator[None]:
        """Takes one right away for a while, whatever grants it."""
        literal = ResourcePatternType.LITERAL
        acl = self._set_acl(
            principal, resource_type, name, operation, literal, AclPermissionType.DENY
        )
        try:
            yield
        finally:
            found = AclBindingFilter(
                acl.restype,
                acl.name,
                acl.resource_pattern_type,
                acl.principal,
                acl.host,
                acl.operation,
                acl.permission_type,
            )
            for future in self.admin.delete_acls([found], request_timeout=20).values():
                future.result(PATIENCE)

    def _set_acl(
        self,
        principal: str,
        resource_type: Resource,
        name: str,
        operation: str,
        pattern: ResourcePatternType,
        permission: AclPermissionType = AclPermissionType.ALLOW,
    ) -> AclBinding:
        acl = AclBinding(
            ResourceType[resource_type.upper()],
            name,
            pattern,
            principal if ":" in principal else f"User:{principal}",
            "*",
            AclOperation[operation.upper()],
            permission,
        )
        for future in self.admin.create_acls([acl], request_timeout=20).values():
            future.result(PATIENCE)
        return acl

    def alter(self, name: str, value: str | None) -> None:
        """Sets a setting of the running broker, or with None takes it back."""
        how = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        entry = ConfigEntry(name, value, incremental_operation=how)
        for future in self.admin.incremental_alter_configs(
            [ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])]
        ).values():
            future.result(PATIENCE)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send(number)

    def _address(self, listener: str) -> str:
        return f"{HOST}:{self._ports[listener]}"

    def _own_settings(self) -> Settings:
        advertised = {name: self._address(name) for name in LISTENERS if name != "CONTROLLER"}
        advertised["PROXIED"] = self.proxied_bootstrap
        return {
            "controller.quorum.bootstrap.servers": self._address("CONTROLLER"),
            "listeners": ",".join(f"{name}://{self._address(name)}" for name in LISTENERS),
            "advertised.listeners": ",".join(
                f"{name}://{address}" for name, address in advertised.items()
            ),
            "log.dirs": str(self._workspace.path / "data"),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._certificates.server_file),
            "listener.name.expired.ssl.keystore.location": str(self._certificates.expired_file),
            "listener.name.misnamed.ssl.keystore.location": str(self._certificates.misnamed_file),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.ca_file,
        }

    def _end_session(self) -> None:
        """Lets the controller end the session of the broker that was killed."""
        controller = {
            name: f"CONTROLLER://{self._address('CONTROLLER')}"
            for name in ("listeners", "advertised.listeners")
        }
        log = self._workspace.path / "controller.log"
        log.unlink(missing_ok=True)
        process = self._boot(
            {"process.roles": "controller", "broker.session.timeout.ms": 500, **controller}, log
        )

        def active() -> bool:
            process.check()
            return ACTIVE in process.log_tail(100_000)

        eventually(active, 90, "the controller is active")
        # It writes a record at least every half second: so many later a session, if there was one,
        # has ended and the end is in its log.
        for _ in range(5):
            self._metadata_grows()
        self.stop()

    def _metadata_grows(self) -> None:
        written = self._metadata_bytes()
        eventually(
            lambda: self._metadata_bytes() > written, 30, "the end of the session is written"
        )

    def _metadata_bytes(self) -> int:
        return sum(
            segment.stat().st_size
            for segment in self._workspace.path.glob("data/__cluster_metadata-0/*.log")
        )

    def _boot(self, overriding: Settings, log: Path) -> ServerProcess:
        self._write_properties(overriding)
        logging = f"-Dlog4j2.configurationFile={self._workspace.path / 'log4j2.properties'}"
        options = java(*JVM, f"-Dkafka.logs.dir={self._workspace.path}", logging)
        self._process = ServerProcess([*options, "kafka.Kafka", str(self._properties)], log)
        return self._process

    def _write_properties(self, overriding: Settings) -> None:
        settings = {**self._settings, **overriding}
        self._properties.write_text(
            "".join(f"{name}={value}\n" for name, value in settings.items())
        )

    def _format(self) -> None:
        self._write_properties({})
        (self._workspace.path / "log4j2.properties").write_text(LOGGING)
        # Never "-..."
        cluster = base64.urlsafe_b64encode(b"\x00" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        tool = [*java("-Xmx256m"), "kafka.tools.StorageTool"]
        run(
            [*tool, "format", "--standalone", "-t", cluster, "-c", self._properties],
            cwd=self._workspace.path,
        )


def kafka() -> KafkaAddress:
    """Returns a broker: the one given by the environment, our own, or a container's."""
    given = os.environ.get("SYNC_TEST_KAFKA")
    if given:
        return KafkaAddress(given)
    if shutil.which("java") and shutil.which("mvn"):
        return KafkaBroker.start()
    return kafka_container()


def kafka_container() -> KafkaAddress:
    """Starts a container, as testcontainers' documentation says.

    It was never run: no Docker was at hand.
    """
    from testcontainers.kafka import KafkaContainer  # slow to import, rarely needed

    container = KafkaContainer().with_kraft()
    for name in ("REPLICATION_FACTOR", "MIN_ISR"):
        container.with_env(f"KAFKA_TRANSACTION_STATE_LOG_{name}", "1")
    container.start()
    return KafkaAddress(container.get_bootstrap_server(), container.stop)


def java(*options: str) -> list[str]:
    """Returns the start of a command line that runs one of Kafka's classes."""
    return ["java", *options, "-cp", f"{kafka_libs()}/*"]
