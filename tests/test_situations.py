"""Tests what every place says when a stage makes no progress or the service has ended.

There is one row for each reason, on real parts and in both languages.
"""

import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psycopg
import pytest

from tests.agent_process import Installation, url
from tests.checker.unit import RESIDENTS, create_tables, insert_resident
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaBroker
from tests.services.postgres import GuardedPostgres
from tests.services.processes import HOST, free_port
from tests.situations import Situation, Told, assert_shown, changed

NAME, IN_POSTGRES = "stages", "stagespg"  # of the agents, their roles and topics
ROOM = 4 << 20  # bytes to which a file of the agent may grow while its disk is "full"


@pytest.fixture(scope="module")
def server() -> Iterator[GuardedPostgres]:
    """Yields a PostgreSQL that asks for passwords and limits what a slot holds.

    It is the source, and a front end, too.
    """
    with GuardedPostgres.start(18) as server:
        execute(server.dsn(), "ALTER SYSTEM SET max_slot_wal_keep_size = '1GB'")
        execute(server.dsn(), "SELECT pg_reload_conf()")
        yield server


@pytest.fixture(scope="module")
def places(
    server: GuardedPostgres, kafka_broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Installation]]:
    """Two agents that have been initialised, with the front end in SQLite and in PostgreSQL."""
    with fresh_database(server) as source, fresh_database(server) as front:
        create_tables(source, [RESIDENTS])
        made = {}
        for name in (NAME, IN_POSTGRES):
            folder = tmp_path_factory.mktemp(name)
            sections: dict[str, dict[str, object]] = {
                "source": {"password": {"file": secret(folder, source, name, "source")}}
            }
            if name == IN_POSTGRES:
                execute(front, "ALTER SCHEMA public OWNER TO pg_database_owner")
                password = {"file": secret(folder, front, "collector", "front")}
                execute(front, f"ALTER DATABASE {database(front)} OWNER TO collector")
                address = url(front, "postgresql+psycopg").replace("postgres@", "collector@")
                sections["front"] = {"url": address, "password": password}
            place = Installation(
                folder, source, kafka_broker.bootstrap, name, [RESIDENTS], sections=sections
            )
            place.write_config()
            place.init()
            made[name] = place
        yield made


def secret(folder: Path, conninfo: str, role: str, what: str) -> str:
    """Makes a role, and the file with its password."""
    file = folder / f"{what}.password"
    file.write_text(f"right-{role}", encoding="utf-8")
    execute(conninfo, f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'right-{role}'")
    return str(file)


def database(conninfo: str) -> str:
    """Returns the name of the database."""
    return str(psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"])


def execute(conninfo: str, statement: str) -> None:
    """One statement, as the administrator."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement.encode())


# ---- how each is brought about; what is left on the stack ends it


def never_initialised(place: Installation, stack: ExitStack) -> None:
    """The state directory is empty."""
    state, away = place.directory / "state", place.directory / "away"
    state.rename(away)

    def back() -> None:
        shutil.rmtree(state, ignore_errors=True)
        away.rename(state)

    stack.callback(back)


def half_initialised(place: Installation, stack: ExitStack) -> None:
    """As `init --apply` leaves it when it breaks off before it has the slot."""
    own = f"sync_agent_{place.name}_state"

    def write(statement: str) -> None:
        with closing(sqlite3.connect(place.front_file, isolation_level=None)) as connection:
            connection.execute(statement)

    write(f"UPDATE {own} SET initialised = 0")
    stack.callback(write, f"UPDATE {own} SET initialised = 1")


def wrong_source_password(place: Installation, stack: ExitStack) -> None:
    """It is changed at the server, and the connections break."""
    change = f"ALTER ROLE {place.name} PASSWORD "
    execute(place.source, change + "'another'")
    stack.callback(execute, place.source, change + f"'right-{place.name}'")
    disconnect(place)


def secret_taken_away(place: Installation, stack: ExitStack) -> None:
    """The file of the password is gone, and the connections break."""
    file, away = place.directory / "source.password", place.directory / "away"
    file.rename(away)
    stack.callback(away.rename, file)
    disconnect(place)


def disconnect(place: Installation) -> None:
    """Ends all that the agent has open at the source."""
    execute(
        place.source,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{place.name}'",
    )


def wrong_front_password(place: Installation, stack: ExitStack) -> None:
    """The one in the file is not the server's."""
    file = place.directory / "front.password"
    right = file.read_text(encoding="utf-8")
    file.write_text("wrong", encoding="utf-8")
    stack.callback(file.write_text, right, encoding="utf-8")


def full_disk_of_the_file(place: Installation, stack: ExitStack) -> None:
    """Lets no file of capture's grow any more, while more comes than fits.

    It is a large row, which the next attempt meets again.
    """
    capture = next(
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and command(process) == [str(place.config), "capture"]
    )
    unlimited = resource.prlimit(capture, resource.RLIMIT_FSIZE)
    resource.prlimit(capture, resource.RLIMIT_FSIZE, (ROOM, unlimited[1]))
    stack.callback(resource.prlimit, capture, resource.RLIMIT_FSIZE, unlimited)
    insert(place, -1, "长" * ROOM)


def command(process: Path) -> list[str]:
    """Configuration and command of a process of an agent."""
    with suppress(OSError):
        words = (process / "cmdline").read_text().split("\0")
        return [words[-3], words[-2]] if len(words) > 3 else []
    return []


def full_disk_of_the_server(place: Installation, stack: ExitStack) -> None:
    """The server says so, by the SQLSTATE that it has for it."""
    raises = (
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END$$"
    )
    conninfo = front_of(place)
    execute(conninfo, raises)
    execute(
        conninfo,
        f'CREATE TRIGGER full_disk BEFORE INSERT ON "{RESIDENTS.name}" '
        "FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    stack.callback(execute, conninfo, "DROP FUNCTION full_disk CASCADE")
    insert(place, -3)


def front_of(place: Installation) -> str:
    """Returns the conninfo of its front end's administrator."""
    address = str(place.sections["front"]["url"])
    return address.replace("+psycopg", "").replace("collector@", "postgres@")


def insert(place: Installation, number: int, name: str = "张三") -> None:
    """One resident at the source."""
    with psycopg.connect(place.source, autocommit=True) as connection:
        insert_resident(connection, number, name)


def kafka_away(place: Installation, stack: ExitStack) -> None:
    """Nothing listens where the configuration has it."""
    changed(place, stack, {"kafka": {"bootstrap_servers": [f"{HOST}:{free_port()}"]}})


def slot_dropped(place: Installation, stack: ExitStack) -> None:
    """For good: the last row of its agent."""
    execute(place.source, f"SELECT pg_drop_replication_slot('{place.slot}')")


ROWS = [
    Situation(
        "never initialised",
        "NOT_INITIALISED",
        never_initialised,
        {
            "init": Told(0, "", "", code=None),
            "check": Told(78, "has not been run yet", "还没有运行过"),
            "status": Told(3, "Run `sync-agent init`", "`sync-agent init --apply`"),
        },
        stage="capture",
        ends=78,
    ),
    Situation(
        "init broke off",
        "NOT_INITIALISED",
        half_initialised,
        {
            "check": Told(78, "broke off", "中途中断"),
            "status": Told(3, "is missing", "缺少"),
        },
    ),
    Situation(
        "wrong password at the business database",
        "LOGIN_REFUSED",
        wrong_source_password,
        {
            "check": Told(78, "refuses", "拒绝", code="SOURCE_LOGIN"),
            "status": Told(2, "the capture process has failed", "采集进程已连续失败"),
        },
        stage="capture",
        while_running=True,
    ),
    Situation(
        "a secret that is gone",
        "SECRET_MISSING",
        secret_taken_away,
        {
            "check": Told(78, "source.password", "source.password"),
            "status": Told(2, "the service ended at", "服务已于"),
        },
        stage="capture",
        while_running=True,
        ends=78,
    ),
    Situation(
        "the disk of the front end is full",
        "FRONT_FULL",
        full_disk_of_the_file,
        {"status": Told(2, "the capture process has failed", "采集进程已连续失败")},
        stage="capture",
        while_running=True,
        recovers=True,
    ),
    Situation(
        "Kafka is away",
        "KAFKA_UNREACHABLE",
        kafka_away,
        {
            "check": Told(78, "cannot be reached", "无法连接", code="KAFKA_NETWORK"),
            "status": Told(2, "the publisher has failed", "发布进程已连续失败"),
        },
        stage="publish",
    ),
    Situation(
        "the slot is gone",
        "SLOT_MISSING",
        slot_dropped,
        {
            "check": Told(78, "does not exist", "不存在"),
            "status": Told(2, "the service ended at", "服务已于"),
        },
        stage="capture",
        ends=78,
    ),
]
OF_POSTGRES = [
    Situation(
        "wrong password at the front end",
        "LOGIN_REFUSED",
        wrong_front_password,
        {
            "check": Told(78, "the front-end database", "前置库"),
            "status": Told(3, "the capture process has failed", "采集进程自"),
        },
        stage="capture",
    ),
    Situation(
        "the disk of the front end's server is full",
        "FRONT_FULL",
        full_disk_of_the_server,
        {"status": Told(2, "SQLSTATE 53100", "SQLSTATE 53100")},
        stage="capture",
        while_running=True,
        recovers=True,
    ),
]


@pytest.mark.parametrize("situation", ROWS, ids=str)
def test_every_place_says_why_it_stands(
    situation: Situation, places: dict[str, Installation]
) -> None:
    assert_shown(situation, places[NAME])


@pytest.mark.parametrize("situation", OF_POSTGRES, ids=str)
def test_every_place_says_why_it_stands_with_a_front_end_in_postgres(
    situation: Situation, places: dict[str, Installation]
) -> None:
    assert_shown(situation, places[IN_POSTGRES])


def test_a_wrong_password_at_kafka(
    places: dict[str, Installation], kafka_broker: KafkaBroker
) -> None:
    def wrong_password(place: Installation, stack: ExitStack) -> None:
        kafka_broker.add_user(place.name, "right")
        file = place.directory / "kafka.password"
        file.write_text("wrong", encoding="utf-8")
        settings = {
            "bootstrap_servers": [kafka_broker.secure_bootstrap],
            "tls": {"ca_file": kafka_broker.ca_file},
            "sasl": {
                "mechanism": "SCRAM-SHA-512",
                "user": place.name,
                "password": {"file": str(file)},
            },
        }
        changed(place, stack, {"kafka": settings})

    situation = Situation(
        "wrong password at Kafka",
        "LOGIN_REFUSED",
        wrong_password,
        {
            "check": Told(78, "", "", code="KAFKA_LOGIN"),
            "status": Told(2, "the publisher has failed", "发布进程已连续失败"),
        },
        stage="publish",
    )
    assert_shown(situation, places[IN_POSTGRES])
