"""Tests a SQLite front end into which an older file was put.

Nothing goes live in silence, and the way back of the handbook works.
"""

import shutil
import sqlite3
from contextlib import closing

from tests.agent_process import Agent, Installation
from tests.reconcile.system import Ground, equal, execute, keys_of, verified, wait_state
from tests.reconcile.tables import TEXTS
from tests.waiting import eventually

HALTED = 78
UNKNOWN = 3  # of status: the front end cannot be read


def halted(agent: Agent) -> None:
    """The service has ended for good and says why."""
    assert agent.wait() == HALTED, agent.log[-3000:]
    assert " code=FRONT_DAMAGED " in agent.log


def checkpointed(place: Installation) -> bool:
    """Rows stand in the file itself."""
    with closing(sqlite3.connect(place.front_file, timeout=30)) as file:
        return bool(file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0))


def test_an_older_file_is_put_back(ground: Ground) -> None:
    """After kill -9 with the log left, service, check, status and rebind name the older file.

    Without the log it is a backup, and every row comes once.
    """
    place = ground.installed([TEXTS], rows=1000)
    backup = place.directory / "backup.db"
    with place.start() as agent:
        wait_state(place, agent, "live")
        equal(place)
        with closing(sqlite3.connect(place.front_file)) as file:
            file.execute("VACUUM INTO ?", [str(backup)])
        for round_ in range(3):
            execute(place.source, f"""UPDATE "业务"."文本" SET "值" = '{round_}' || "值" """)
            equal(place)
            if round_ < 2:
                eventually(lambda: checkpointed(place), what="the log is empty")
        agent.kill9()
    assert place.front_file.with_name("front.db-wal").stat().st_size > 0
    shutil.copy(backup, place.front_file)
    with place.start(covered=True) as agent:
        halted(agent)
    assert "FRONT_DAMAGED" in place.command("check", expect=HALTED).stdout
    assert "FRONT_DAMAGED" in place.command("status", expect=UNKNOWN).stderr
    assert "FRONT_DAMAGED" in place.command("rebind", "--after-restore", expect=HALTED).stderr
    assert place.front_file.read_bytes() == backup.read_bytes()
    for suffix in ("-wal", "-shm"):
        place.front_file.with_name(f"front.db{suffix}").unlink()
    place.command("rebind", "--after-restore")
    with place.start(covered=True) as agent:
        wait_state(place, agent, "live")
        verified(place)
        equal(place)
        keys = keys_of(place, TEXTS)
        assert len(keys) == len(set(keys)) == 1000
        agent.stop()


def test_a_file_is_replaced_under_the_service(ground: Ground) -> None:
    """The service would write into a file that has no name any more: it halts."""
    place = ground.installed([TEXTS], rows=50)
    with place.start(covered=True) as agent:
        wait_state(place, agent, "live")
        equal(place)
        backup = place.directory / "backup.db"
        with closing(sqlite3.connect(place.front_file)) as file:
            file.execute("VACUUM INTO ?", [str(backup)])
        backup.replace(place.front_file)
        halted(agent)
