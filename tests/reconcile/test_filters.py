"""Tests rows that must not leave, whatever type their filter tests.

It does not matter what becomes of that type while the agent runs.
"""

import json

import pytest

from tests.checker.inputs import big_number, one_of, sometimes
from tests.checker.unit import UnitTable
from tests.reconcile.system import Ground, equal, execute, states, wait_state
from tests.waiting import eventually

SOON = 30.0  # seconds until a change of the catalogue is noticed and dealt with, on a busy machine
PERSONS = UnitTable(
    "persons",
    "人员",
    """ ("编号" bigint PRIMARY KEY, "区划" char(8), "涉密" boolean, "额" numeric, "类别" text)""",
    {"编号": big_number},
    {
        "区划": sometimes(one_of("000000", "310101")),
        "涉密": sometimes(one_of("true", "false")),
        "额": sometimes(one_of("1", "1.0", "1.00", "2.0")),
        "类别": one_of("公开", "内部", "机密"),
    },
    settings="""
[[resource.filter]]
column = "区划"
not_in = ["000000"]
[[resource.filter]]
column = "涉密"
not_in = ["true"]
[[resource.filter]]
column = "额"
not_in = ["2"]
[[resource.filter]]
column = "类别"
is_in = ["公开", "内部"]
""",
    condition="""coalesce("区划" <> '000000', true) and "涉密" is not true
    and coalesce("额" <> 2, true) and "类别"::text in ('公开', '内部')""",
)


def typed(source: str) -> None:
    """Gives a column a type of the unit's own."""
    execute(source, """CREATE TYPE "业务"."类" AS ENUM ('公开', '内部', '机密')""")
    execute(
        source,
        """ALTER TABLE "业务"."人员" ALTER "类别" TYPE "业务"."类" USING "类别"::"业务"."类\"""",
    )


@pytest.mark.usefixtures("looks_often")
def test_rows_that_are_kept_back_stay_whatever_is_altered(ground: Ground) -> None:
    """Rows are kept back in copy and stream.

    A column of another type gets other texts; a label renamed away suspends its table alone.
    """
    place = ground.installed([PERSONS], 200, typed)
    found = json.loads(place.command("check", "--json", expect=78).stdout)
    tried = [finding for finding in found if finding["code"] == "FILTER"]
    assert [finding["level"] for finding in tried] == ["ok"] * 5
    with place.start() as agent:
        wait_state(place, agent, "live")
        equal(place)
        execute(
            place.source,
            """INSERT INTO "业务"."人员" VALUES
            (-1, '000000', false, 1, '公开'), (-2, '310101', true, 1, '公开'),
            (-3, '310101', false, 2.00, '公开'), (-4, '310101', false, 1, '机密'),
            (-5, '310101', false, 1, '公开'), (-6, null, null, null, '内部')""",
        )
        equal(place)
        execute(place.source, """ALTER TABLE "业务"."人员" ALTER "区划" TYPE varchar(6)""")
        eventually(
            lambda: "catalogue_changed resource=persons parts=columns" in agent.log,
            SOON,
            "the other type is noticed",
            0.2,
        )
        wait_state(place, agent, "live")
        execute(place.source, """UPDATE "业务"."人员" SET "区划" = '000000' WHERE "编号" = -5""")
        equal(place)
        execute(place.source, """ALTER TYPE "业务"."类" RENAME VALUE '公开' TO '开放'""")
        wait_state(place, agent, "suspended", timeout=SOON)
        suspended = json.loads(place.command("status", "--json").stdout)["tables"][0]
        assert suspended["code"] == "TABLE_CHANGED"
        assert "resource[0].filter[3].is_in[0]" in suspended["reason"]
        assert states(place) == {"persons": "suspended"}
