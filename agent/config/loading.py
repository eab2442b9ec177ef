"""Reads the configuration file into `Settings`, or names everything that is wrong with it."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.config.inconsistent import Inconsistent
from agent.config.problems import Expectations, Place, Problem
from agent.config.resource import ResourceSettings
from agent.config.settings import Settings
from agent.config.source import place_of
from agent.config.uniqueness import doubles
from agent.errors import ConfigInvalid
from agent.messages import mark, system_reason, translate

FRONT_DRIVERS = ("sqlite", "postgresql+psycopg", "mariadb+pymysql", "mysql+pymysql")
_AGENT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def load(path: Path) -> Settings:
    """The settings of a configuration file, its `name` filled in.

    Raises ConfigInvalid with every problem found; none of the texts holds a value of the file.
    """
    text = _read(path)
    data = parsed(path, text)
    settings, problems = judged(data)
    if settings is None or problems:
        raise invalid(path, problems, _headers(text)) from None
    return settings


def read_file(path: Path) -> dict[str, Any]:
    """Returns what stands in a file, right or wrong, its `name` filled in.

    Raises ConfigInvalid for a file that cannot be read, or is no TOML.
    """
    return parsed(path, _read(path))


def parsed(path: Path, text: str) -> dict[str, Any]:
    """Returns the data of a configuration's text, its `name` filled in from the path if it can be.

    Raises ConfigInvalid for a text that is no TOML.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise invalid(path, [_syntax(error)]) from None
    if "name" not in data and _AGENT_NAME.fullmatch(path.stem):
        data["name"] = path.stem
    return data


def judged(data: dict[str, Any]) -> tuple[Settings | None, list[Problem]]:
    """Returns the settings of a configuration's data, and every problem of them.

    None where they are no settings. They can be used only where there is no problem.
    """
    problems: list[Problem] = []
    if "name" not in data:
        text = mark(
            "missing, and the file's name is none: add name = "
            '"...", lower-case letters, digits and _'
        )
        problems.append(Problem(("name",), translate(text)))
    settings = None
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems += _translated(error)
        problems += _doubles(data)
    problems += _secrets(data)
    problems += _front_url(data)
    problems += _client(data)
    return settings, problems


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # Windows editors put a mark at the head
    except OSError as error:
        reason = translate(mark("the file cannot be read: {reason}"), reason=system_reason(error))
    except UnicodeDecodeError as error:
        reason = translate(
            mark("the file is not UTF-8 text (byte {offset}); save it as UTF-8"), offset=error.start
        )
    raise invalid(path, [Problem((), reason)])


def invalid(
    path: Path | str, problems: Iterable[Problem], headers: dict[int, int] | None = None
) -> ConfigInvalid:
    """The error that lists the problems of a configuration, named by its file or its agent."""
    lines = tuple(
        dict.fromkeys(problem.line(headers or {}) for problem in sorted(problems, key=_order))
    )
    error = ConfigInvalid(
        path=path, count=len(lines), listing="\n".join(f"  {line}" for line in lines)
    )
    error.problems = lines
    return error


def _order(problem: Problem) -> list[tuple[int, str]]:
    return [(step, "") if isinstance(step, int) else (0, step) for step in problem.place]


def _syntax(error: tomllib.TOMLDecodeError) -> Problem:
    """The words of tomllib name characters and keys, never values."""
    detail = str(error)
    found = _POSITION.search(detail)
    if found and found[1]:
        text = mark("line {line}, column {column}: this is not TOML: {detail}")
        return Problem(
            (), translate(text, line=found[1], column=found[2], detail=detail[: found.start()])
        )
    return Problem(
        (), translate(mark("the file ends too early: {detail}"), detail=_POSITION.sub("", detail))
    )


def _headers(text: str) -> dict[int, int]:
    """The line of each [[resource]]."""
    lines = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(r"\s*\[\[\s*resource\s*\]\]", line)
    ]
    return dict(enumerate(lines))


def _translated(error: ValidationError) -> Iterator[Problem]:
    expected = Expectations(Settings.model_json_schema())
    for item in error.errors(include_url=False, include_input=False):
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, Inconsistent):
            base, _ = expected.walk(item["loc"])
            for place, message, values in cause.contradictions:
                yield Problem((*base, *place), translate(message, None, **values))
        else:
            yield expected.problem(item["type"], item["loc"])


def _doubles(data: dict[str, Any]) -> Iterator[Problem]:
    """The check for names used twice, for a file in which something else is wrong too."""
    resources: dict[int, ResourceSettings] = {}
    for number, table in enumerate(_tables(data, "resource")):
        texts = {
            key: table[key]
            for key in ("name", "table", "target", "topic")
            if isinstance(table.get(key), str)
        }
        if "name" in texts and "table" in texts:
            resources[number] = ResourceSettings.model_construct(**texts)
    prefix = next((kafka.get("prefix") for kafka in _tables(data, "kafka")), None)
    url = next((front.get("url") for front in _tables(data, "front")), None)
    url = url if isinstance(url, str) else "sqlite:///"
    for place, message, values in doubles(
        resources, place_of(data.get("source")), str(prefix), url
    ):
        yield Problem(place, translate(message, None, **values))


def _secrets(data: dict[str, Any]) -> Iterator[Problem]:
    if data.get("allow_env_secrets") is True:
        return
    for place, table in _all_tables((), data):
        if place and place[-1] == "password" and "env" in table:
            yield Problem(
                place,
                translate(
                    mark(
                        "secrets from the environment need allow_env_secrets = true "
                        '(development only); else write { file = "..." }'
                    )
                ),
            )


def _types(data: dict[str, Any]) -> object:
    return next((front.get("types") for front in _tables(data, "front")), None)


def _front_url(data: dict[str, Any]) -> Iterator[Problem]:
    text = next((front.get("url") for front in _tables(data, "front")), None)
    text = "sqlite:///front.db" if text is None and _types(data) == "text" else text
    if not isinstance(text, str):
        return
    place: Place = ("front", "url")
    # Takes longer to import than all the rest; the supervisor never needs it
    from sqlalchemy import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - see above

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        text = mark(
            'no URL; write "sqlite:////folder/front.db", '
            '"postgresql+psycopg://user@host/database" or "mariadb+pymysql://user@host/database"'
        )
        yield Problem(place, translate(text))
        return
    if url.drivername not in FRONT_DRIVERS:
        yield Problem(
            place,
            translate(
                mark("this version writes to {drivers} only"),
                drivers=", ".join(f"{driver}://" for driver in FRONT_DRIVERS),
            ),
        )
    elif url.drivername == "sqlite" and (url.database or ":memory:") == ":memory:":
        yield Problem(place, translate(mark('name a file: "sqlite:////folder/front.db"')))
    elif url.drivername != "sqlite" and not url.database:
        yield Problem(
            place,
            translate(
                mark('name the database: "{driver}://user@host/database"'), driver=url.drivername
            ),
        )
    if _types(data) == "text" and not url.drivername.startswith(("mariadb", "mysql")):
        text = mark("only a MariaDB or MySQL front end has two forms: take this setting out")
        yield Problem(("front", "types"), translate(text))
    if url.password is not None or any("pass" in key for key in url.query):
        yield Problem(
            place,
            translate(
                mark(
                    "no password here: take it out and add "
                    'password = { file = "..." } below [front]'
                )
            ),
        )


def _client(data: dict[str, Any]) -> Iterator[Problem]:
    if (
        any(kafka.get("client") == "librdkafka" for kafka in _tables(data, "kafka"))
        and find_spec("confluent_kafka") is None
    ):
        text = mark(
            '"librdkafka" needs the package confluent-kafka: install the agent with the extra '
            'fast (docs/OPERATIONS.md, Install); or set "kafka-python"'
        )
        yield Problem(("kafka", "client"), translate(text))


def _tables(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The tables at a top-level key, whatever else stands there."""
    found = data.get(key)
    return [
        table
        for table in (found if isinstance(found, list) else [found])
        if isinstance(table, dict)
    ]


def _all_tables(place: Place, node: object) -> Iterator[tuple[Place, dict[str, Any]]]:
    if isinstance(node, dict):
        yield place, node
        for key, value in node.items():
            yield from _all_tables((*place, key), value)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _all_tables((*place, number), value)
