"""What `init`, `check` and `status` do at a database with a trigger log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import Settings
from agent.connectors.opening import check_identity, open_source, setup_of
from agent.connectors.position import position_text
from agent.connectors.resume import CommitMark, Resume
from agent.connectors.setup import Setup
from agent.connectors.trigger.source import TriggerSource
from agent.errors import FrontReplaced, InitRefused, SourceUnfit
from tests.source.noting import CREATE_ORDERS, KINDS, ORDERS, Noting
from tests.source.reading import silent_never


@pytest.fixture(params=["sqlite", "mariadb", "mysql9", "postgres18", "firebird"])
def noting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Noting]:
    """Yields a database of each kind, with a table of the application and no log."""
    make, server = KINDS[request.param]
    with make(request, tmp_path, server) as made:
        made.administer(*made.log.drop_log(), CREATE_ORDERS)
        yield made


def configured(noting: Noting, **resource: Any) -> Settings:
    """Returns a configuration that shares the table `orders`."""
    shared = {"name": "orders", "table": "orders", "columns": ["id", "note"], **resource}
    url = noting.url.render_as_string(hide_password=False)
    return Settings.model_validate(
        {
            "name": "unit",
            "source": {"type": "trigger", "url": url},
            "kafka": {"bootstrap_servers": ["nowhere:1"], "prefix": "p"},
            "resource": [shared],
        }
    )


def prepared(setup: Setup, before: Resume | None = None) -> list[str]:
    """Does what `init --apply` does at the source; returns what it tells."""
    told: list[str] = []
    with setup.prepare(told.append, None, before) as source:
        assert set(source.tables) == {"orders"}
        source.finish()
    with setup.start(told.append, before):
        pass
    return told


def codes(setup: Setup) -> dict[str, str]:
    """Returns what `check` finds: level by code."""
    return {finding.code: finding.level for finding in setup.check(None).findings}


def test_init_makes_log_and_triggers_once(noting: Noting) -> None:
    """`check` names the statements until then; afterwards changes are noted."""
    setup = setup_of(configured(noting))
    planned = "\n".join(setup.plan(None).lines)
    assert "CREATE TABLE" in planned
    assert planned.count("CREATE TRIGGER") == len(noting.log.expected(ORDERS))
    assert codes(setup)["TRIGGERS_MISSING"] == "error"

    assert any("CREATE TRIGGER" in line for line in prepared(setup))
    assert codes(setup) == {"SOURCE_OK": "ok", "LOG_SIZE": "ok", "LOG_GIVEN_UP": "ok"}
    assert not [line for line in prepared(setup) if "CREATE" in line]
    assert "CREATE" not in "\n".join(setup.plan(None).lines)

    noting.administer("INSERT INTO orders (id) VALUES (1)")
    assert setup.status(()).values["notes"] == 1


def missed(setup: Setup) -> list[str]:
    """Returns the resources that `init --apply` would have copied again."""
    with setup.prepare(print, None, None) as source:
        return list(source.missed)


def test_triggers_that_are_gone_are_made_again(noting: Noting) -> None:
    """What was changed meanwhile nobody knows: the table is copied again."""
    setup = setup_of(configured(noting))
    prepared(setup)
    assert missed(setup) == []
    noting.administer(*noting.log.drop_triggers(ORDERS))
    assert codes(setup)["TRIGGERS_MISSING"] == "error"
    assert missed(setup) == ["orders"]
    prepared(setup)
    assert "TRIGGERS_MISSING" not in codes(setup)


@pytest.mark.parametrize("noting", ["postgres18"], indirect=True)
def test_a_table_that_becomes_a_partition_is_given_other_triggers(noting: Noting) -> None:
    """Its statements would not see what is written through the table above it."""
    prepared(setup_of(configured(noting)))
    noting.administer(
        "CREATE TABLE every (LIKE orders INCLUDING ALL) PARTITION BY RANGE (id)",
        "ALTER TABLE every ATTACH PARTITION orders FOR VALUES FROM (0) TO (100)",
    )
    setup = setup_of(configured(noting))
    assert codes(setup)["TRIGGERS_MISSING"] == "error"
    assert missed(setup) == ["orders"]
    prepared(setup)
    assert "TRIGGERS_MISSING" not in codes(setup)
    noting.administer("INSERT INTO every (id) VALUES (1), (2)")
    assert len(noting.notes()) == 2


def objects(noting: Noting) -> list[str]:
    """Returns everything of ours that the catalogue of the database names."""
    prefix = "'sync%agent%'"
    tables = f"information_schema.tables WHERE table_name LIKE {prefix}"
    triggers = f"information_schema.triggers WHERE trigger_name LIKE {prefix}"
    asked = f"SELECT table_name FROM {tables} UNION SELECT trigger_name FROM {triggers}"
    if noting.backend == "postgresql":
        asked += f" UNION SELECT proname FROM pg_proc WHERE proname LIKE {prefix}"
    elif noting.backend == "firebird":
        made = "WHERE rdb$relation_name STARTING WITH 'SYNC_AGENT'"
        asked = f"SELECT rdb$relation_name FROM rdb$relations {made}"
        asked += " UNION ALL SELECT rdb$trigger_name FROM rdb$triggers"
        asked += " WHERE rdb$trigger_name STARTING WITH 'SYNC_AGENT'"
    elif noting.backend == "sqlite":
        asked = f"SELECT name FROM sqlite_master WHERE name LIKE {prefix}"
    else:
        asked = asked.replace(" WHERE", " WHERE table_schema = database() AND", 1)
        asked = asked.replace("triggers WHERE", "triggers WHERE trigger_schema = database() AND")
    with noting.engine.connect() as connection:
        return list(connection.exec_driver_sql(asked.replace("%", "%%")).scalars())


def test_removal_leaves_nothing_of_ours(noting: Noting) -> None:
    """Nor triggers of tables that are shared no more; the application goes on."""
    others = "CREATE TABLE others (id INT NOT NULL PRIMARY KEY, note VARCHAR(9))"
    noting.administer(others)
    prepared(setup_of(configured(noting)))
    both = setup_of(configured(noting, table="others"))
    prepared(both)
    renamed = "others"
    if noting.backend != "firebird":
        # Firebird renames no tables
        renamed = "renamed"
        noting.administer("ALTER TABLE others RENAME TO renamed")
    assert len(objects(noting)) > 2 * len(noting.log.expected(ORDERS))

    setup = setup_of(configured(noting))
    planned = setup.removal(None).statements
    assert len(planned) == len(dict.fromkeys(planned))
    assert planned[-1:] == noting.log.drop_log()
    assert objects(noting)
    told: list[str] = []
    setup.remove(told.append, None)
    assert len(told) == len(planned)
    assert objects(noting) == []
    assert setup.removal(None).statements == []
    setup.remove(told.append, None)
    for table in ("orders", renamed):
        noting.administer(f"INSERT INTO {table} (id) VALUES (1)")

    assert missed(setup) == ["orders"]
    prepared(setup)
    noting.administer("INSERT INTO orders (id) VALUES (2)")
    assert setup.status(()).values["notes"] == 1


def test_the_log_of_another_agent_stays(noting: Noting) -> None:
    """Each has triggers of its own, and takes away no other."""
    one = configured(noting)
    source = {**one.model_dump(exclude_unset=True)["source"], "log_table": "other_log"}
    other = Settings.model_validate({**one.model_dump(exclude_unset=True), "source": source})
    for settings in (one, other):
        prepared(setup_of(settings))
    setup_of(one).remove(print, None)
    assert codes(setup_of(other)) == {"SOURCE_OK": "ok", "LOG_SIZE": "ok", "LOG_GIVEN_UP": "ok"}
    noting.administer("INSERT INTO orders (id) VALUES (1)")
    assert setup_of(other).status(()).values["notes"] == 1


def test_a_long_log_is_a_concern_and_a_missing_one_a_trouble(noting: Noting) -> None:
    settings = configured(noting)
    source = {**settings.model_dump(exclude_unset=True)["source"], "warn_rows": 1}
    setup = setup_of(Settings.model_validate({**settings.model_dump(), "source": source}))
    prepared(setup)
    noting.administer("INSERT INTO orders (id) VALUES (1)")
    assert setup.status(()).concern is None
    noting.administer("INSERT INTO orders (id) VALUES (2)", "INSERT INTO orders (id) VALUES (3)")
    concern = setup.status(()).concern
    assert concern is not None
    assert concern[0] == "LOG_SIZE"
    assert "> 1 notes wait" in concern[1]
    assert codes(setup)["LOG_SIZE"] == "warning"

    setup.remove(print, None)
    trouble = setup.status(()).trouble
    assert trouble is not None
    assert trouble[0] == "TRIGGER_LOG_MISSING"


@pytest.mark.parametrize("noting", ["mariadb"], indirect=True)  # others have no such right
def test_what_an_account_cannot_see_keeps_its_log(noting: Noting) -> None:
    """A trigger without the table of its notes would make the application's statements fail."""
    prepared(setup_of(configured(noting)))
    user = "remover"
    name = noting.url.database
    noting.administer(
        f"CREATE USER {user}@'%' IDENTIFIED BY ''",
        f"GRANT SELECT, DROP ON {name}.sync_agent_log TO {user}@'%'",
        f"GRANT SELECT ON {name}.orders TO {user}@'%'",
    )
    blind = configured(noting).model_dump(exclude_unset=True)
    url = noting.url.set(username=user).render_as_string(hide_password=False)
    blind["source"]["url"] = url
    try:
        with pytest.raises(SourceUnfit):
            setup_of(Settings.model_validate(blind)).remove(print, None)
    finally:
        noting.administer(f"DROP USER {user}@'%'")
    noting.administer("INSERT INTO orders (id) VALUES (1)")


def test_what_is_not_noted_is_warned_of(noting: Noting) -> None:
    """A foreign key that changes rows by itself; another unique column under REPLACE."""
    noting.administer("CREATE TABLE parents (id INT NOT NULL PRIMARY KEY)")
    foreign = "FOREIGN KEY (parent) REFERENCES parents(id) ON DELETE CASCADE"
    columns = f"id INT NOT NULL PRIMARY KEY, code INT UNIQUE, parent INT, {foreign}"
    noting.administer(f"CREATE TABLE children ({columns})")
    shared = {"name": "orders", "table": "children", "columns": ["id", "code"]}
    found = codes(setup_of(configured(noting, **shared)))
    assert ("CASCADE_UNNOTED" in found) != noting.log.notes_cascades
    assert ("REPLACE_UNNOTED" in found) != noting.log.notes_replaced


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        ({"table": "nowhere"}, "TABLE_MISSING"),
        ({"columns": ["id", "nothing"]}, "COLUMN_MISSING"),
        ({"columns": ["note"]}, "KEY_UNLISTED"),
    ],
)
def test_a_table_that_cannot_be_followed_is_refused(
    noting: Noting, resource: dict[str, Any], code: str
) -> None:
    setup = setup_of(configured(noting, **resource))
    assert codes(setup)[code] == "error"
    with pytest.raises(InitRefused, match=code):
        prepared(setup)


def test_another_database_is_not_followed(noting: Noting) -> None:
    """The configuration opens what `init` has stored, and no other."""
    settings = configured(noting)
    setup = setup_of(settings)
    prepared(setup)
    with setup.start(print, None) as start:
        check_identity(settings.source, start.identity)
        with pytest.raises(FrontReplaced):
            check_identity(settings.source, {**start.identity, "address": "elsewhere"})

    source = open_source(settings)
    assert isinstance(source, TriggerSource)
    source.open(Resume(start.position, CommitMark("", 0, 0), start.identity), silent_never)
    assert list(source.read(0.0)) == []
    source.close()
    assert start.position == position_text(1)
