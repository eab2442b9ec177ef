"""How an agent is, in one word and one exit code, from what `status` has collected: for monitoring and for the last line of `status`.

The levels and their numbers are those of Nagios plugins, which Icinga, Zabbix and cron jobs understand too.
A new kind of trouble is one more `yield` in `problems`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from agent.errors import AgentError
from agent.messages import mark, translate

Level = Literal["ok", "warning", "critical", "unknown"]
EXIT_CODES: dict[Level, int] = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
_WORDS = {
    "ok": mark("OK"),
    "warning": mark("WARNING"),
    "critical": mark("CRITICAL"),
    "unknown": mark("UNKNOWN"),
}
LATE = 60.0  # seconds behind; heartbeats move the position every 10 s, even where nobody writes
STANDS = 600.0
_NAMED = 5  # troubles that the one line names


class Problem(NamedTuple):
    """One trouble. `resource` is None where it concerns the whole agent; `error` is the code of a suspended table."""

    code: str
    level: Level
    text: str
    resource: str | None = None
    error: str | None = None


def problems(status: Mapping[str, Any]) -> list[Problem]:
    """Everything that is not as it should be, the worst first."""
    found = [*_service(status), *_source(status), *_lag(status)]
    for row in status["tables"]:
        found += _table(row)
    return sorted(found, key=lambda problem: -EXIT_CODES[problem.level])


def unknown(cause: AgentError) -> Problem:
    """The one trouble of an agent whose state cannot be read."""
    return Problem(cause.code, "unknown", cause.text())


def level(found: list[Problem]) -> Level:
    """The worst level of them."""
    return max((problem.level for problem in found), key=EXIT_CODES.__getitem__, default="ok")


def line(found: list[Problem], tables: int) -> str:
    """One line for people and for Nagios: the level, then what is wrong."""
    word = translate(_WORDS[level(found)])
    if not found:
        text = mark("{level}: {count} tables are live, everything is connected")
        return translate(text, level=word, count=tables)
    said = "; ".join(" ".join(problem.text.split()) for problem in found[:_NAMED])
    if len(found) > _NAMED:
        text = mark("{level}: {said}; and {count} more")
        return translate(text, level=word, said=said, count=len(found) - _NAMED)
    return translate(mark("{level}: {said}"), level=word, said=said)


def plain(found: list[Problem]) -> dict[str, Any]:
    """The same for `status --json`."""
    worst = level(found)
    return {
        "level": worst,
        "exit_code": EXIT_CODES[worst],
        "problems": [problem._asdict() for problem in found],
    }


def _service(status: Mapping[str, Any]) -> Iterator[Problem]:
    service = status["service"]
    if not service["running"]:
        yield Problem(
            "SERVICE_NOT_RUNNING", "critical", translate(mark("the service does not run"))
        )
        return
    away = [name for name, peer in service["checks"].items() if not peer["ok"]]
    if away:
        text = mark("the service runs, but is not connected: {peers}")
        yield Problem("NOT_CONNECTED", "critical", translate(text, peers=", ".join(away)))
    elif not service["ready"]:
        yield Problem(
            "NOT_READY", "critical", translate(mark("the service runs, but is not ready"))
        )


def _source(status: Mapping[str, Any]) -> Iterator[Problem]:
    source = status["source"]
    if not source["reachable"]:
        text = mark("the business database does not answer `status`")
        yield Problem("SOURCE_SILENT", "warning", translate(text))
    elif not source["exists"]:
        text = mark("replication slot {slot} does not exist")
        yield Problem("SLOT_MISSING", "critical", translate(text, slot=source["slot"]))


def _lag(status: Mapping[str, Any]) -> Iterator[Problem]:
    lag = status["lag_seconds"]
    if lag is not None and lag > LATE:
        text = translate(mark("the front end is {seconds} s behind"), seconds=f"{lag:.0f}")
        yield Problem("BEHIND", "critical" if lag > STANDS else "warning", text)


def _table(row: Mapping[str, Any]) -> Iterator[Problem]:
    name = row["name"]
    match row["state"]:
        case "suspended":
            text = translate(mark("{name} is suspended ({code})"), name=name, code=row["code"])
            yield Problem("TABLE_SUSPENDED", "critical", text, name, row["code"])
        case "copying":
            text = translate(mark("{name} is being copied"), name=name)
            yield Problem("TABLE_COPYING", "warning", text, name)
        case "live":
            pass
        case _:
            text = translate(mark("{name} has not been taken up by the service yet"), name=name)
            yield Problem("TABLE_NOT_TAKEN_UP", "warning", text, name)
    if row["withheld"]:
        text = mark("{name}: {count} rows are withheld, too large for Kafka")
        told = translate(text, name=name, count=row["withheld"])
        yield Problem("ROWS_WITHHELD", "warning", told, name)
