"""Says how an agent is, in one word and one exit code, from what `status` has collected.

This is for monitoring and for the last line of `status`. The levels and their numbers are those of
Nagios plugins, which Icinga, Zabbix and cron jobs understand too.
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
STAGES = {"capture": mark("the capture process"), "publish": mark("the publisher")}
_NAMED = 5  # troubles that the one line names


class Problem(NamedTuple):
    """One trouble. `resource` is None where it concerns the whole agent.

    `error` is the code of a suspended table, of what a stage fails with, or of what ended the
    service.
    """

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


def unknown(cause: AgentError, status: Mapping[str, Any]) -> list[Problem]:
    """Returns the troubles of an agent whose state cannot be read.

    `status` holds what is known all the same, nothing at the least.
    """
    found = [Problem(cause.code, "unknown", cause.text())]
    if status:
        found += [problem for problem in _service(status) if problem.error is not None]
    return found


def failing(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The stages that fail, as users call them, and what the service says of each."""
    for name, stage in status.get("stages", {}).items():
        if not stage["ok"]:
            yield translate(STAGES.get(name, name)), stage


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
    ended = status.get("ended")
    if not service["running"] and ended:
        text = mark("the service does not run: it has ended with {code}: {reason}")
        told = translate(text, code=ended["code"], reason=ended["reason"])
        yield Problem("SERVICE_NOT_RUNNING", "critical", told, error=ended["code"])
        return
    if not service["running"]:
        yield Problem(
            "SERVICE_NOT_RUNNING",
            "critical",
            translate(mark("the service does not run")),
        )
        return
    for name, stage in failing(status):
        text = mark("{stage} has failed {attempts} times in a row: {code}: {reason}")
        values = {key: stage[key] for key in ("attempts", "code", "reason")}
        told = translate(text, stage=name, **values)
        yield Problem("STAGE_FAILING", "critical", told, error=stage["code"])
    away = [name for name, peer in service["checks"].items() if not peer["ok"]]
    if away:
        text = mark("the service runs, but is not connected: {peers}")
        yield Problem("NOT_CONNECTED", "critical", translate(text, peers=", ".join(away)))
    elif not service["ready"] and not any(failing(status)):
        yield Problem(
            "NOT_READY",
            "critical",
            translate(mark("the service runs, but is not ready")),
        )


def _source(status: Mapping[str, Any]) -> Iterator[Problem]:
    source = status["source"]
    if source.get("code"):
        yield Problem(source["code"], "warning", source["reason"])
    elif not source["reachable"]:
        text = mark("the business database does not answer `status`")
        yield Problem("SOURCE_SILENT", "warning", translate(text))
    elif source["trouble"]:
        code, text = source["trouble"]
        yield Problem(code, "critical", text)


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
