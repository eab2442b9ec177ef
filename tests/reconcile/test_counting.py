"""Tests keys whose type lies off the search_path, from `init` to `verify`.

The count at the end of a run, which a lost row does not pass, is tested too.
"""

import json
from collections.abc import Callable
from pathlib import Path

from tests.agent_process import Installation
from tests.checker.front import at_front
from tests.checker.inputs import name
from tests.checker.unit import UnitTable
from tests.reconcile.system import Ground, counts, equal, execute, report, verified, wait_state

SECURITY = Path(__file__).parents[2] / "docs" / "SECURITY.md"
ROWS = 5_000
ACCOUNTS = UnitTable(
    "accounts",
    "账号",
    """ ("登录" app.citext PRIMARY KEY, "值" text)""",
    {"登录": name},
    {"值": name},
    before="CREATE SCHEMA IF NOT EXISTS app; CREATE EXTENSION IF NOT EXISTS citext SCHEMA app",
)
MIXED_CASE = f"""
    INSERT INTO "业务"."账号"
    SELECT CASE WHEN n %% 3 = 0 THEN upper(k) WHEN n %% 3 = 1 THEN initcap(k) ELSE k END, 'v' || n
    FROM generate_series(1, {ROWS}) n, LATERAL (SELECT substr(md5(n::text), 1, 12)) s(k)"""


def filled(*statements: str) -> Callable[[str], object]:
    """What runs at the source before the agent is installed."""

    def run(source: str) -> None:
        for statement in statements:
            execute(source, statement)

    return run


def test_a_key_whose_type_is_off_the_search_path(each_ground: Ground) -> None:
    """5,000 logins of mixed case, of which each is copied once, compared and repaired."""
    place = each_ground.installed([ACCOUNTS], before=filled(MIXED_CASE))
    with place.start() as agent:
        wait_state(place, agent, "live")
        assert at_front(place.places.front, 'SELECT count(*) FROM "账号"') == [(ROWS,)]
        verified(place)
        some = 'SELECT min("登录") FROM "账号"'
        at_front(place.places.front, f'DELETE FROM "账号" WHERE "登录" = ({some})')
        at_front(place.places.front, """INSERT INTO "账号" ("登录") VALUES ('手加')""")
        wrong = report(place, "verify", expect=1)["accounts"]
        assert (counts(wrong), wrong["source_rows"], wrong["front_rows"]) == (
            (1, 0, 1),
            ROWS,
            ROWS,
        )
        place.command("reconcile")
        equal(place)


def test_check_names_the_schema_of_a_key(ground: Ground) -> None:
    """Without the right to use it no page could be asked for.

    With the statement of the finding all is well.
    """
    place = ground.installed([ACCOUNTS])
    execute(place.source, f'REVOKE USAGE ON SCHEMA app FROM "{place.name}"')
    found = {finding["code"]: finding for finding in json.loads(check(place))}
    statement = f'GRANT USAGE ON SCHEMA "app" TO "{place.name}";'
    assert found["RIGHT_KEY_SCHEMA"]["fix"] == statement
    documented = SECURITY.read_text(encoding="utf-8")
    assert statement.replace(place.name, "sync_agent") in documented.splitlines()
    execute(place.source, statement)
    assert "RIGHT_KEY_SCHEMA" not in check(place)


def check(place: Installation) -> str:
    """Returns what `check --json` prints.

    The server of the tests has no limit to its log, which is an error.
    """
    return place.command("check", "--json", expect=78).stdout
