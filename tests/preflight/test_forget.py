"""Tests what is no longer shared: `check` and `init` name it.

`sync-agent forget` shows what it does, then does it.
"""

import click
import pytest
from sqlalchemy import inspect

from agent.cli import app
from agent.errors import AnotherAgent
from agent.front.opening import open_front
from agent.preflight.front_checks import FrontCheck
from tests.preflight.conftest import PERSON, Unit

LATER = {"name": "later", "table": "public.later", "columns": ["id", "photo"]}


def told(unit: Unit, capsys: pytest.CaptureFixture[str], name: str, apply: bool = False) -> str:
    """Returns what `forget` tells."""
    capsys.readouterr()
    assert app.forget(unit.settings, name, apply) == 0
    return capsys.readouterr().out


def left_behind(unit: Unit) -> str:
    """Returns what `check` says is left, of all that it says of the front end."""
    front = FrontCheck(unit.settings)
    front.open()
    front.close()
    found = [finding for finding in front.findings if finding.code == "LEFT_BEHIND"]
    return "\n".join(f"{finding.message}\n{finding.fix}" for finding in found)


def test_columns_then_the_table_are_named_and_forgotten(
    unit: Unit, capsys: pytest.CaptureFixture[str]
) -> None:
    """The topic is its administrator's; while the service holds the front end, nothing is done."""
    unit.execute("create table later (id int primary key, photo bytea)")
    unit.share(PERSON, LATER).initialise()
    assert not left_behind(unit)
    topic = unit.settings.topic(unit.settings.resource[1])

    unit.share(PERSON, LATER | {"columns": ["id"]})
    drop = 'ALTER TABLE "later" DROP COLUMN "photo";'
    assert drop in left_behind(unit)
    assert "sync-agent forget later" in left_behind(unit)
    front = open_front(unit.settings.front, unit.settings.agent)
    assert drop in told(unit, capsys, "later")
    assert "photo" in {column["name"] for column in inspect(front.engine).get_columns("later")}
    assert "dropped" not in told(unit, capsys, "person")
    front.open("nonce")
    with pytest.raises(AnotherAgent):
        app.forget(unit.settings, "later", apply=True)
    front.close()
    assert drop in told(unit, capsys, "later", apply=True)
    assert "photo" not in {column["name"] for column in inspect(front.engine).get_columns("later")}
    assert not left_behind(unit)

    unit.share(PERSON)
    for text in (left_behind(unit), "\n".join(unit.initialise())):
        assert f"topic {topic} its events" in text
        assert 'DROP TABLE "later";' in text
        assert f"--delete --topic {topic}" in text
    assert "dropped with its 0 rows" in told(unit, capsys, "later")
    done = told(unit, capsys, "later", apply=True)
    assert "What this agent's own tables held of later is deleted" in done
    assert f"--delete --topic {topic}" in done
    assert not inspect(front.engine).has_table("later")
    assert not left_behind(unit)
    with pytest.raises(click.UsageError, match="nobody"):
        app.forget(unit.settings, "nobody", apply=False)


def test_a_table_that_others_have_made_is_left_to_them(
    unit: Unit, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until they have dropped it."""
    front = open_front(unit.settings.front, unit.settings.agent)
    unit.execute("create table later (id int primary key, photo bytea)")
    with front.engine.begin() as connection:
        connection.exec_driver_sql("create table later (id integer primary key, photo blob)")
    unit.share(PERSON, LATER).initialise()
    unit.share(PERSON)
    capsys.readouterr()
    assert app.forget(unit.settings, "later", apply=True) == 1
    text = capsys.readouterr().out
    assert "nobody knows whether this agent has made" in text
    assert 'DROP TABLE "later";' in text
    assert inspect(front.engine).has_table("later")
    assert left_behind(unit)
    with front.engine.begin() as connection:
        connection.exec_driver_sql("drop table later")
    assert app.forget(unit.settings, "later", apply=True) == 0
    assert not left_behind(unit)
