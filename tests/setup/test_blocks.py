"""Tests blocks of configuration made of tables: they load as they are, and share no guess."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import load
from agent.config.loading import judged
from agent.connectors.discovery import FoundTable
from agent.findings import error
from agent.setup.blocks import block, one_line, size_text
from agent.setup.names import resource_name, taken_by
from agent.setup.patterns import matching, split
from agent.setup.proposals import Proposals, fitted
from tests.setup.found import column, found, names, tables

POSTGRES = '[source]\nhost = "h"\ndatabase = "d"\nuser = "u"\n'
POLLING = '[source]\ntype = "polling"\nurl = "sqlite:////d.db"\n'
KAFKA = '[kafka]\nbootstrap_servers = ["k:9092"]\nprefix = "p"\n'
FRONTS = (
    "sqlite:////folder/front.db",
    "postgresql+psycopg://u@h/db",
    "mariadb+pymysql://u@h/db",
)


def blocks(listed: list[FoundTable], front: str, *, polled: bool) -> str:
    proposals = Proposals(polled=polled)
    made = fitted([proposals.of(table) for table in listed], front)
    return "\n".join([block(proposal) for proposal in made])


def settings(text: str) -> dict[str, Any]:
    """Returns the block of one table, which has no line that is not a setting or a comment."""
    (found_block,) = tomllib.loads(text)["resource"]
    made: dict[str, Any] = found_block
    return made


@given(tables(), st.sampled_from(FRONTS), st.booleans())
def test_blocks_of_any_tables_load(listed: list[FoundTable], front: str, polled: bool) -> None:
    text = blocks(listed, front, polled=polled)
    source = POLLING if polled else POSTGRES
    data = tomllib.loads(f'{source}{KAFKA}[front]\nurl = "{front}"\n{text}')
    if "resource" not in data:
        return  # each has something to be decided
    made, problems = judged({"name": "agent", **data})
    assert problems == []
    assert made is not None
    assert len(made.resource) == sum(proposed(table) for table in listed)


def proposed(table: FoundTable) -> bool:
    """Whether nothing has to be decided before the table is shared."""
    return Proposals(polled=False).of(table).ready


@given(tables(), st.sampled_from(FRONTS))
def test_what_is_commented_out_loads_as_well(listed: list[FoundTable], front: str) -> None:
    """Whoever takes the # away from a block gets settings, and not a riddle."""
    for table in listed:
        text = blocks([table], front, polled=False)
        lines = text.splitlines()
        first = [line.removeprefix("# ") for line in lines].index("[[resource]]")
        bare = "\n".join([line.removeprefix("# ") for line in lines[first:]])
        assert tomllib.loads(bare)["resource"][0]["table"] == table.full_name


@given(tables())
def test_the_same_tables_make_the_same_blocks(listed: list[FoundTable]) -> None:
    assert blocks(listed, FRONTS[0], polled=True) == blocks(listed, FRONTS[0], polled=True)


def test_guesses_are_left_out_and_named(tmp_path: Path) -> None:
    table = found(
        "person",
        [
            column("id"),
            column("name"),
            column("sfzh", "公民身份号码\n第二行"),
            column("phone"),
            column("shape", readable=False, declared="POLYGON"),
        ],
        ["id"],
        comment="人口基本信息",
    )
    text = blocks([table], FRONTS[0], polled=False)
    assert settings(text) == {"name": "person", "table": "public.person", "columns": ["id", "name"]}
    assert "public.person: 人口基本信息\n" in text
    assert "sfzh: identity card" in text
    assert "(公民身份号码 第二行)" in text
    assert "shape (POLYGON)" in text

    path = tmp_path / "agent.toml"
    path.write_text(POSTGRES + KAFKA + text, encoding="utf-8")
    assert load(path).resource[0].columns == ["id", "name"]


def test_what_has_to_be_decided_is_a_comment_that_says_what_to_do() -> None:
    keyless = found("log", [column("a")])._replace(
        obstacles=(error("KEY_MISSING", "log: public.log has no key", "ALTER TABLE log;\nADD;"),)
    )
    personal = found("person", [column("sfzh"), column("name")], ["sfzh"])
    text = blocks([keyless, personal], FRONTS[0], polled=False)
    assert "resource" not in tomllib.loads(text)
    assert "# KEY_MISSING: log: public.log has no key\n#     ALTER TABLE log;\n#     ADD;\n" in text
    assert '# columns = ["sfzh", "name"]\n' in text
    assert "#   sfzh: identity card" in text


def test_a_table_of_personal_data_alone_is_a_comment() -> None:
    """Here its key cannot be read."""
    columns = [column("id", readable=False), column("phone", "手机")]
    text = block(Proposals(polled=True).of(found("contact", columns)))
    assert all(line.startswith("#") for line in text.splitlines())
    assert "seems to hold personal data" in text


def test_names_that_would_meet_are_told_apart() -> None:
    listed = [
        found("person", [column("id"), column("ID")], ["id"]),
        found("Person", [column("id")], ["id"], schema="tax"),
        found("person", [column("id")], ["id"], schema="old"),
    ]
    made = tomllib.loads(blocks(listed, FRONTS[0], polled=False))["resource"]
    assert [one["name"] for one in made] == ["person", "tax_Person", "old_person"]
    assert [one.get("target") for one in made] == [None, "tax_Person", "old_person"]
    assert made[0]["rename"] == {"ID": "c2_ID"}


def test_tables_that_are_configured_already_keep_their_names() -> None:
    resources = [{"name": "person", "table": "public.citizen", "target": "people"}]
    proposals = Proposals(polled=False, resources=resources)
    listed = [found(name, [column("id")], ["id"]) for name in ("person", "people")]
    made = fitted([proposals.of(table) for table in listed], FRONTS[0], resources)
    person, people = [proposal.settings for proposal in made]
    assert (person["name"], person.get("target")) == ("public_person", None)
    assert (people["name"], people["target"]) == ("people", "people_2")


@given(st.lists(st.tuples(names, names), unique=True, max_size=30))
def test_every_resource_has_a_name_of_its_own(places: list[tuple[str, str]]) -> None:
    given: list[str] = []
    for place in places:
        name = resource_name(place, taken_by(given))
        assert len(name) <= 40
        assert name.replace("_", "").replace("-", "").isascii()
        assert name.lower() not in [one.lower() for one in given]
        given.append(name)


def test_a_name_in_chinese_stays_the_same_whatever_is_beside_it() -> None:
    alone = resource_name(("public", "人口"), taken_by([]))
    assert alone.startswith("table_")
    assert resource_name(("public", "人口"), taken_by(["person"])) == alone
    assert resource_name(("public", "法人_info"), taken_by([])) == "info"


@pytest.mark.parametrize(
    ("found_columns", "key", "poll"),
    [
        (
            [column("id"), column("update_time")._replace(cursor="timestamp")],
            ["id"],
            {"mode": "timestamp", "column": "update_time", "compare": "02:00"},
        ),
        (
            [column("id"), column("gxrq", "更新日期")._replace(cursor="timestamp")],
            ["id"],
            {"mode": "timestamp", "column": "gxrq", "compare": "02:00"},
        ),
        # A time of creation shows no change, and one without an index costs too much
        (
            [
                column("id"),
                column("create_time")._replace(cursor="timestamp"),
                column("update_time"),
            ],
            ["id"],
            {"mode": "compare", "compare": "02:00"},
        ),
        ([column("a")], [], {"mode": "compare", "compare": "02:00", "key": []}),
    ],
)
def test_how_changes_are_found(
    found_columns: list[Any], key: list[str], poll: dict[str, Any]
) -> None:
    table = found("permit", found_columns, key)
    assert Proposals(polled=True).of(table).settings["poll"] == poll


def test_a_number_finds_the_rows_of_a_table_to_which_rows_are_added() -> None:
    columns = [column("id")._replace(cursor="sequence"), column("what")]
    proposals = Proposals(polled=True)
    log = proposals.of(found("op_log", columns, ["id"])).settings["poll"]
    assert log == {"mode": "sequence", "column": "id", "compare": "02:00"}
    # Rows of others are changed, too
    assert proposals.of(found("permit", columns, ["id"])).settings["poll"]["mode"] == "compare"


@pytest.mark.parametrize(
    ("pattern", "place", "fits"),
    [
        ("public.*", ("public", "person"), True),
        ("public.*", ("tax", "person"), False),
        ("p*", ("public", "person"), True),
        ("p*", ("tax", "person"), False),
        ("*.p?rson", ("tax", "person"), True),
        ("*.p?rson", ("tax", "parson2"), False),
        ("public.[a]", ("public", "[a]"), True),
        ("public.[a]", ("public", "a"), False),
        ("公共.人*", ("公共", "人口"), True),
        ("public.Person", ("public", "person"), False),
    ],
)
def test_patterns(pattern: str, place: tuple[str, str], fits: bool) -> None:
    assert matching([pattern], "public")(place) == fits


def test_a_list_is_split_at_commas_and_blanks_of_both_languages() -> None:
    assert split(" a, b，c、d  e ") == ["a", "b", "c", "d", "e"]


@given(st.text())
def test_a_comment_is_one_line_that_toml_takes(text: str) -> None:
    line = one_line(text)
    assert tomllib.loads(f"# {line}\nx = 1") == {"x": 1}


def test_sizes_are_readable() -> None:
    assert [size_text(size) for size in (0, 999, 3_200_000, 5 * 10**15)] == [
        "0 B",
        "999 B",
        "3.2 MB",
        "5000.0 TB",
    ]
