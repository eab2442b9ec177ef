"""Tests that a damaged front end is named.

That is logs of another file, broken pages, files that were replaced, and what servers say of their
own damage.
"""

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pymysql
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent.errors import (
    FrontDamaged,
    FrontUnreachable,
    NotInitialised,
)
from agent.front.base import Written
from agent.front.corruption import corruption
from agent.front.mariadb.front import MariaDbFront
from agent.front.postgres.front import PostgresFront
from agent.front.sqlite import file as sqlite_file
from agent.front.sqlite.file import LOG_LARGE, LOG_LIMIT, beside, look_at_files, noted_damage, size
from agent.front.sqlite.front import SqliteFront
from agent.front.sqlite.session import sqlite_engine
from agent.front.store import SqlFront
from agent.outbox.reader import Published, Reader
from agent.preflight.front_checks import log_findings
from agent.values.rows import Key
from tests.front.conftest import WORDS, Fronts, initialise, progress, put, sql
from tests.services.mariadb import MariaDbAddress, execute

SUFFIXES = ("", "-wal", "-shm")


def front_at(folder: Path) -> SqliteFront:
    """Returns a front end in that folder, not open."""
    return SqliteFront(f"sqlite:///{folder}/front.db", 1.0, "unit")


def initialised(folder: Path) -> SqliteFront:
    """The same with the agent's tables."""
    folder.mkdir(exist_ok=True)
    front = front_at(folder)
    initialise(front)
    return front


class Writing:
    """One front end that is written to: each commit adds or changes rows."""

    def __init__(self, front: SqlFront) -> None:
        self.front = front
        front.open("nonce")
        self.number = front._at[1]

    def commit(self, rows: int = 40, first: int = 0, text: str = "x" * 100) -> None:
        """One front-end transaction."""
        self.number += 1
        self.front.begin()
        written: dict[Key, Written] = {}
        for n in range(first, first + rows):
            row = f"{text} {n}", str(n)
            written[row] = put(row)
        self.front.write(WORDS, written, self.number)
        self.front.commit(progress(f"0/{self.number + 32:X}", self.number, self.number))

    def checkpoint(self, kind: str = "TRUNCATE") -> None:
        """What SQLite does by itself from time to time."""
        with closing(sqlite3.connect(str(self.path), timeout=0)) as file:
            file.execute(f"PRAGMA wal_checkpoint({kind})")

    @property
    def path(self) -> Path:
        """The database."""
        assert isinstance(self.front, SqliteFront)
        return self.front.path

    def image(self, folder: Path) -> Path:
        """Returns the files as a power failure would leave them now."""
        folder.mkdir()
        for suffix in SUFFIXES:
            with suppress(FileNotFoundError):
                shutil.copy(beside(self.path, suffix), folder / f"front.db{suffix}")
        return folder


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Writing]:
    """Yields a SQLite front end under work."""
    made = Writing(initialised(tmp_path / "front"))
    yield made
    made.front.close()
    made.front.engine.dispose()


def content(folder: Path) -> list[object]:
    """Everything that stands in a front end."""
    with closing(sqlite3.connect(folder / "front.db")) as file:
        return [line for line in file.iterdump() if "sqlite_stat" not in line]


def opened(folder: Path) -> SqliteFront:
    """Returns the front end after a start of the service."""
    front = front_at(folder)
    front.open("again")
    return front


def put_back(writing: Writing, tmp_path: Path) -> Path:
    """kill -9 of the service, an older file put back while the log is left."""
    writing.commit()
    writing.checkpoint()
    old = writing.image(tmp_path / "old")
    writing.commit(first=40, rows=400)
    writing.checkpoint()
    writing.commit(first=400, rows=40)
    crashed = writing.image(tmp_path / "crashed")
    shutil.copy(old / "front.db", crashed / "front.db")
    return crashed


# ---- a log that is another file's


def test_an_older_file_beside_a_newer_log_is_damage(writing: Writing, tmp_path: Path) -> None:
    """A writer, a reader and a command name an older file before file and log are joined.

    Without the log the backup is as good as it was.
    """
    crashed = put_back(writing, tmp_path)
    before = (crashed / "front.db").read_bytes()
    for attempt in (
        lambda: opened(crashed),
        lambda: Reader(sqlite_engine(f"sqlite:///{crashed}/front.db", 1.0), "unit").resources(),
        lambda: front_at(crashed).stored_state(),
    ):
        with pytest.raises(FrontDamaged, match=r"front\.db-wal does not belong to"):
            attempt()
    assert (crashed / "front.db").read_bytes() == before
    for suffix in ("-wal", "-shm"):
        (crashed / f"front.db{suffix}").unlink()
    assert opened(crashed).open("third").position == "0/21"


@settings(
    max_examples=5,
    phases=[Phase.generate],
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    steps=st.lists(
        st.sampled_from(["commit", "commit", "PASSIVE", "TRUNCATE", "RESTART", "read", "end"]),
        min_size=4,
        max_size=7,
    )
)
def test_files_that_are_joined_belong_together(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """After a crash at any moment its own files are accepted.

    Whatever file lies beside whatever log, it is refused or nothing is lost.
    """
    folder = tmp_path_factory.mktemp("joined")
    writing = Writing(initialised(folder / "front"))
    reader: sqlite3.Connection | None = None
    images: list[Path] = []
    for n, step in enumerate(steps):
        if step == "commit":
            writing.commit(rows=30, text=f"{n % 3}")
        elif step == "read" and reader is None:
            reader = sqlite3.connect(writing.path, isolation_level=None)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM words").fetchone()
        elif step == "end" and reader is not None:
            reader.close()
            reader = None
        elif step.isupper():
            with suppress(sqlite3.OperationalError):
                writing.checkpoint(step)
        images.append(writing.image(folder / f"{n}"))
    for i, file in enumerate(images):
        for j, log in enumerate(images):
            mixed = folder / f"{i} {j}"
            mixed.mkdir()
            shutil.copy(file / "front.db", mixed / "front.db")
            if (log / "front.db-wal").exists():
                shutil.copy(log / "front.db-wal", mixed / "front.db-wal")
            held = size(mixed / "front.db-wal")
            try:
                look_at_files(mixed / "front.db")
            except FrontDamaged:
                assert i != j
                continue
            if i == j or held:
                assert content(mixed) == content_of(log, folder / f"{i} {j} whole")
    if reader is not None:
        reader.close()
    writing.front.close()


def content_of(image: Path, scratch: Path) -> list[object]:
    """Returns what an image holds; it stays as it is."""
    shutil.copytree(image, scratch)
    return content(scratch)


def test_a_service_at_work_is_never_taken_for_damaged(writing: Writing) -> None:
    """Whoever reads beside commits and checkpoints sees files that belong together.

    It does not depend on the moments at which he reads.
    """
    looked = 0
    ended = threading.Event()

    def work() -> None:
        for n in range(120):
            writing.commit(rows=60, text=str(n % 5))
            if n % 4 == 0:
                with suppress(sqlite3.OperationalError):
                    writing.checkpoint("RESTART")
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not ended.is_set():
        look_at_files(writing.path)
        looked += 1
    thread.join()
    assert looked > 20


def test_logs_without_their_file(writing: Writing, tmp_path: Path) -> None:
    """A log without its file is named, be the file missing or empty.

    So is a journal beside a file that has none in this mode.
    """
    writing.commit()
    writing.checkpoint()
    writing.commit(first=40)
    for name in ("gone", "empty", "journal"):
        image = writing.image(tmp_path / name)
        if name == "gone":
            (image / "front.db").unlink()
        elif name == "empty":
            (image / "front.db").write_bytes(b"")
        else:
            (image / "front.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" * 100)
        with pytest.raises(FrontDamaged):
            opened(image)


def test_files_that_do_no_harm(writing: Writing, tmp_path: Path) -> None:
    """The front end opens with every row beside files that do no harm.

    These are a log of 0 bytes, a copied -shm, no log at all, and another journal mode.
    """
    writing.commit()
    writing.checkpoint()
    rows = content(writing.image(tmp_path / "first"))
    for name in ("empty log", "shm", "alone", "mode"):
        image = writing.image(tmp_path / name)
        (image / "front.db-wal").write_bytes(b"")
        if name != "shm":
            (image / "front.db-shm").unlink()
        if name in ("alone", "mode"):
            (image / "front.db-wal").unlink()
        if name == "mode":
            with closing(sqlite3.connect(image / "front.db")) as file:
                assert file.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        opened(image).close()
        assert [line for line in content(image) if '"words"' in str(line)] == [
            line for line in rows if '"words"' in str(line)
        ]


def test_what_is_no_database(tmp_path: Path) -> None:
    """Another file, a folder, and a file nobody may read are named for what they are.

    An empty one is not initialised.
    """
    (tmp_path / "front.db").write_bytes(b"no database at all, by any means" * 200)
    with pytest.raises(FrontDamaged, match="not a database"):
        opened(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/front.db").write_bytes(b"")
    with pytest.raises(NotInitialised):
        opened(tmp_path / "empty")
    (tmp_path / "folder/front.db").mkdir(parents=True)
    with pytest.raises(FrontUnreachable, match="unable to open"):
        opened(tmp_path / "folder")


# ---- broken pages


def broken(folder: Path, index_only: bool) -> None:
    """Damages the table `words`: its rows, or only the index of its key."""
    with closing(sqlite3.connect(folder / "front.db")) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kind = "index" if index_only else "table"
        ((root,),) = file.execute(
            "SELECT rootpage FROM sqlite_master WHERE tbl_name = 'words' AND type = ?", [kind]
        )
        ((page,),) = file.execute("PRAGMA page_size")
    with (folder / "front.db").open("r+b") as raw:
        raw.seek((root - 1) * page)
        image = bytearray(raw.read(page))
        if index_only:  # the last cell is forgotten: the page itself is as good as before
            image[3:5] = (int.from_bytes(image[3:5], "big") - 1).to_bytes(2, "big")
        else:
            image[:200] = b"\xff" * 200
        raw.seek((root - 1) * page)
        raw.write(image)


@pytest.mark.parametrize("index_only", [False, True], ids=["table", "index"])
def test_broken_pages_are_found_after_a_crash(
    writing: Writing, tmp_path: Path, index_only: bool
) -> None:
    """The writer notices it as it opens, in an index alone too.

    The next `status` knows it, and a sound file put in its place ends it.
    """
    writing.commit(rows=20, text="x")
    image = writing.image(tmp_path / "image")
    good = writing.image(tmp_path / "good")
    broken(image, index_only)
    with pytest.raises(FrontDamaged):
        opened(image)
    assert noted_damage(image / "front.db")
    for suffix in SUFFIXES:
        (image / f"front.db{suffix}").unlink(missing_ok=True)
        shutil.copy(good / f"front.db{suffix}", image / f"front.db{suffix}")
    opened(image).close()
    assert not noted_damage(image / "front.db")


def test_a_clean_end_is_believed(
    writing: Writing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages are checked after a crash and when an older file was put back.

    They are not after a clean end, nor a second time by the same process.
    """
    looks: list[int] = []
    look = sqlite_file.look_at_pages

    def counted(connection: sqlite3.Connection, alive: Callable[[], object]) -> None:
        looks.append(1)
        look(connection, alive)

    monkeypatch.setattr(sqlite_file, "look_at_pages", counted)
    writing.commit()
    old = writing.image(tmp_path / "old")
    writing.commit(first=40)
    writing.front.open("again")
    assert not looks
    writing.front.close()
    folder = writing.path.parent
    opened(folder).close()
    assert not looks
    crashed, beats = front_at(old), list[int]()
    crashed.alive = lambda: beats.append(1)
    crashed.open("again")
    crashed.close()
    assert len(looks) == 1
    assert beats, "the supervisor hears nothing meanwhile"
    writing.front.engine.dispose()
    for suffix in ("-wal", "-shm"):
        beside(writing.path, suffix).unlink(missing_ok=True)
    shutil.copy(old / "front.db", writing.path)
    opened(folder).close()
    assert len(looks) == 2


def test_damage_met_by_a_statement(writing: Writing, tmp_path: Path) -> None:
    """The writer and a reader name it; what they met is known to the next that looks."""
    writing.commit(rows=2000)
    writing.checkpoint()
    for who in ("writer", "reader"):
        image = writing.image(tmp_path / who)
        opened(image).close()
        broken(image, index_only=False)
        front = opened(image)
        reader = Reader(sqlite_engine(f"sqlite:///{image}/front.db", 1.0), "unit")
        with pytest.raises(FrontDamaged, match=r"malformed"):
            _count(front) if who == "writer" else _count_by(reader)
        front.close()
        assert noted_damage(image / "front.db")


def _count(front: SqliteFront) -> None:
    front.begin()
    front.count(WORDS)


def _count_by(reader: Reader) -> None:
    with reader.connection() as connection:
        connection.exec_driver_sql("SELECT count(*), max(ID + 1) FROM words").all()


def test_a_reader_without_the_lock_still_says_false(writing: Writing) -> None:
    """Damage alone is an error of the mark: a lock that is taken is none."""
    reader = Reader(sqlite_engine(f"sqlite:///{writing.path}", 1.0), "unit")
    writing.front.begin()
    writing.front.write(WORDS, {("x", "1"): put(("x", "1"))}, 1)
    assert not reader.mark_published(Published(1, "", 1, "", 0))
    writing.front.rollback()


# ---- files that are replaced while the service runs


@pytest.mark.parametrize("how", ["replaced", "removed", "overwritten", "log removed"])
def test_a_file_replaced_under_the_service(writing: Writing, tmp_path: Path, how: str) -> None:
    """Found at the next look, and the end is no clean one."""
    writing.commit()
    writing.checkpoint()
    old = writing.image(tmp_path / "old")
    writing.commit(first=40, rows=2000)
    writing.checkpoint()
    writing.commit(first=40)
    assert writing.front.housekeeping() >= 0
    if how == "replaced":
        (old / "front.db").replace(writing.path)
    elif how == "removed":
        writing.path.unlink()
    elif how == "overwritten":
        writing.path.write_bytes((old / "front.db").read_bytes())
    else:
        beside(writing.path, "-wal").unlink()
    with pytest.raises(FrontDamaged):
        writing.front.housekeeping()
    writing.front.rollback()
    writing.front.close()
    assert b"clean" not in beside(writing.path, ".unit.lock").read_bytes()


# ---- a log that grows


def test_a_log_grows_as_long_as_somebody_reads_and_no_longer(writing: Writing) -> None:
    """Its size is reported while it lasts.

    When the reader has gone, the next check cuts the log, or the next commits do.
    """
    reader = sqlite3.connect(writing.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM words").fetchone()
    for n in range(100):
        if size(beside(writing.path, "-wal")) > LOG_LARGE:
            break
        writing.commit(rows=4000, text=f"{n} " + "x" * 100)
    assert writing.front.housekeeping() > LOG_LARGE
    (told,) = log_findings(writing.path)
    assert (told.code, told.level) == ("FRONT_WAL", "warning")
    assert f"fuser -v {writing.path}" in told.fix
    reader.close()
    assert writing.front.housekeeping() <= LOG_LIMIT
    assert not list(log_findings(writing.path))


# ---- a backup that was taken while the service ran


def test_a_backup_is_put_back(writing: Writing, tmp_path: Path) -> None:
    """A backup made by VACUUM INTO beside the writer is sound and has the rows of that moment.

    It is put back with the service stopped and the log removed.
    """
    writing.commit()
    with closing(sqlite3.connect(writing.path)) as file:
        file.execute("VACUUM INTO ?", [str(tmp_path / "backup.db")])
    writing.commit(first=40)
    writing.front.close()
    writing.front.engine.dispose()
    for suffix in ("-wal", "-shm"):
        beside(writing.path, suffix).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", writing.path)
    again = front_at(writing.path.parent)
    assert again.open("again").position == "0/21"
    again.begin()
    assert again.count(WORDS) == 40
    again.close()


# ---- servers


def test_damage_that_postgresql_names(database: str, postgres_url: str) -> None:
    """data_corrupted, index_corrupted and a missing file, for writer and reader."""
    front = PostgresFront(postgres_url, None, 5.0, "unit")
    initialise(front)
    front.open("nonce")
    for state in ("XX001", "XX002", "58P01"):
        sql(
            database,
            f"""CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'invalid page' USING ERRCODE = '{state}'; END $$""",
        )
        for table in ("words", "sync_agent_unit_published"):
            sql(
                database,
                f"CREATE OR REPLACE TRIGGER broken BEFORE INSERT OR UPDATE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION broken()",
            )
        front.begin()
        with pytest.raises(FrontDamaged, match=state):
            front.write(WORDS, {("x", "1"): put(("x", "1"))}, 1)
        front.rollback()
        with pytest.raises(FrontDamaged, match=state):
            Reader(front.engine, "unit").mark_published(Published(1, "", 1, "", 0))
    front.close()


def test_damage_that_mariadb_names(
    mariadb_url: str, mariadb_server: MariaDbAddress, mariadb_database: str
) -> None:
    """Crashed and corrupt tables and an engine without its file are damage.

    Another error of the same engine is none.
    """
    administrator = mariadb_server.url.set(
        database=mariadb_database.rpartition("/")[2]
    ).render_as_string(hide_password=False)
    front = MariaDbFront(mariadb_url, None, 5.0, "unit")
    initialise(front)
    front.open("nonce")
    for number in (1034, 1194, 1195, 1712, 1877, 1932):
        execute(administrator, "DROP TRIGGER IF EXISTS broken")
        execute(
            administrator,
            f"CREATE TRIGGER broken BEFORE INSERT ON words FOR EACH ROW "
            f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}",
        )
        front.begin()
        with pytest.raises(FrontDamaged, match=str(number)):
            front.write(WORDS, {("x", "1"): put(("x", "1"))}, 1)
        front.rollback()
    front.close()
    assert corruption(pymysql.err.OperationalError(1030, "Got error 127 'Record file is crashed'"))
    assert not corruption(
        pymysql.err.OperationalError(1030, "Got error 28 'No space left on device'")
    )
    assert not corruption(FrontUnreachable(reason="x"))


@pytest.mark.parametrize("fronts", ["sqlite", "postgres", "mariadb"], indirect=True)
def test_a_backup_put_back_under_the_service(fronts: Fronts) -> None:
    """The epoch is the same, but what was written last is not there.

    Nothing more is written over it.
    """
    front = fronts.new()
    assert isinstance(front, SqlFront)
    writing = Writing(front)
    writing.commit()
    with front.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sync_agent_unit_state SET position = '0/10', batch = 0")
    with pytest.raises(FrontDamaged, match="put back while the service ran"):
        writing.commit(first=40)
    front.rollback()
    front.close()
