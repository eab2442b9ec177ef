"""Says how an agent is, in one word and one exit code, from what `status` has collected.

This is for monitoring and for the last line of `status`. The levels and their numbers are those of
Nagios plugins, which Icinga, Zabbix and cron jobs understand too.
A new kind of trouble is one more `yield` in `problems`.
"""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from agent.errors import AgentError
from agent.messages import mark, translate
from agent.service.summary import stands_by

Level = Literal["ok", "warning", "critical", "unknown"]
EXIT_CODES: dict[Level, int] = {
    "ok": 0,
    "warning": 1,
    "critical": 2,
    "unknown": 3,
}
_WORDS = {
    "ok": mark("OK"),
    "warning": mark("WARNING"),
    "critical": mark("CRITICAL"),
    "unknown": mark("UNKNOWN"),
}
LATE = 60.0  # seconds behind; heartbeats move the position every 10 s, even where nobody writes
STANDS = 600.0
CONNECTING = 30.0  # seconds in which a service that has just started may be without its peers
STAGES = {
    "capture": mark("the capture process"),
    "publish": mark("the publisher"),
}
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
    """Returns everything that is not as it should be, the worst first."""
    found: list[Problem] = []
    found += _service(status)
    found += _source(status)
    found += _lag(status)
    found += _pair(status)
    for row in status["tables"]:
        found += _table(row)
    found.sort(key=lambda problem: EXIT_CODES[problem.level], reverse=True)
    return found


def unknown(cause: AgentError, status: Mapping[str, Any]) -> list[Problem]:
    """Returns the troubles of an agent whose state cannot be read.

    `status` holds what is known all the same, nothing at the least.
    """
    problem = Problem(cause.code, "unknown", cause.text())
    found = [problem]
    if not status:
        return found

    for problem in _service(status):
        if problem.error is not None:
            found.append(problem)
    return found


def failing(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the stages that fail, as users call them, and what the service says of each."""
    stages = status.get("stages", {})
    for name, stage in stages.items():
        if not stage["ok"]:
            shown = translate(STAGES.get(name, name))
            yield shown, stage


def level(found: list[Problem]) -> Level:
    """Returns the worst level of them."""
    worst: Level = "ok"
    for problem in found:
        if EXIT_CODES[problem.level] > EXIT_CODES[worst]:
            worst = problem.level
    return worst


def line(found: list[Problem], tables: int, standby: str = "") -> str:
    """Writes one line for people and for Nagios: the level, then what is wrong.

    `standby` says that another host is active, where it is so.
    """
    word = translate(_WORDS[level(found)])
    if not found and standby:
        return translate(mark("{level}: {said}"), level=word, said=standby)
    if not found:
        text = mark("{level}: {count} tables are live, everything is connected")
        return translate(text, level=word, count=tables)

    texts = []
    for problem in found[:_NAMED]:
        on_one_line = " ".join(problem.text.split())
        texts.append(on_one_line)
    said = "; ".join(texts)

    more = len(found) - _NAMED
    if more > 0:
        text = mark("{level}: {said}; and {count} more")
        return translate(text, level=word, said=said, count=more)
    return translate(mark("{level}: {said}"), level=word, said=said)


def plain(found: list[Problem]) -> dict[str, Any]:
    """Returns the same for `status --json`."""
    worst = level(found)
    return {
        "level": worst,
        "exit_code": EXIT_CODES[worst],
        "problems": [problem._asdict() for problem in found],
    }


def _service(status: Mapping[str, Any]) -> Iterator[Problem]:
    service = status["service"]
    if not service["running"]:
        yield _not_running(status.get("ended"))
        return

    fails = False
    for name, stage in failing(status):
        fails = True
        code = stage["code"]
        text = translate(
            mark("{stage} has failed {attempts} times in a row: {code}: {reason}"),
            stage=name,
            attempts=stage["attempts"],
            code=code,
            reason=stage["reason"],
        )
        yield Problem("STAGE_FAILING", "critical", text, error=code)

    away = peers_away(service)
    if away:
        text = mark("the service runs, but is not connected: {peers}")
        text = translate(text, peers=away)
        how_bad: Level = "warning" if _connecting(service) else "critical"
        yield Problem("NOT_CONNECTED", how_bad, text)
    elif not service["ready"] and not fails:
        text = translate(mark("the service runs, but is not ready"))
        yield Problem("NOT_READY", "critical", text)

    doubted = service.get("doubted_tables")
    if doubted:
        text = mark(
            "{count} tables may differ, since the business database has logged statements in place "
            "of rows: they wait to be compared"
        )
        text = translate(text, count=doubted)
        yield Problem("TABLES_DOUBTED", "warning", text)


def _not_running(ended: Mapping[str, Any] | None) -> Problem:
    """Describes that the service does not run. `ended`: what has ended it, if that is known."""
    if not ended:
        text = translate(mark("the service does not run"))
        return Problem("SERVICE_NOT_RUNNING", "critical", text)

    code = ended["code"]
    text = mark("the service does not run: it has ended with {code}: {reason}")
    text = translate(text, code=code, reason=ended["reason"])
    return Problem("SERVICE_NOT_RUNNING", "critical", text, error=code)


def peers_away(service: Mapping[str, Any]) -> str:
    """Names the peers to which the service is not connected; '' if there are none."""
    away = []
    for name, check in service["checks"].items():
        if not check["ok"]:
            away.append(name)
    return ", ".join(away)


def _connecting(service: Mapping[str, Any]) -> bool:
    """Says whether every missing peer has been away for less than `CONNECTING` seconds."""
    now = time.time()
    for check in service["checks"].values():
        if check["ok"]:
            continue
        since = check.get("since")
        if since is None or now - datetime.fromisoformat(since).timestamp() > CONNECTING:
            return False
    return True


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
    elif source.get("concern"):
        code, text = source["concern"]
        yield Problem(code, "warning", text)


def _lag(status: Mapping[str, Any]) -> Iterator[Problem]:
    lag = status["lag_seconds"]
    if lag is None or lag <= LATE:
        return
    how_bad: Level = "critical" if lag > STANDS else "warning"
    text = mark("the front end is {seconds} s behind")
    text = translate(text, seconds=f"{lag:.0f}")
    yield Problem("BEHIND", how_bad, text)


def _pair(status: Mapping[str, Any]) -> Iterator[Problem]:
    """`standbys` is None where no host is asked to stand by, or where nobody can tell."""
    if status.get("standbys") == 0:
        text = mark("no other host stands by to take over")
        yield Problem("NO_STANDBY", "warning", translate(text))


def standby(status: Mapping[str, Any]) -> str:
    """Says that the service stands by, and for whom; '' where it does not."""
    pair = status["service"].get("standby")
    return "" if pair is None else stands_by(pair["active"], pair["since"])


def _table(row: Mapping[str, Any]) -> Iterator[Problem]:
    name = row["name"]
    match row["state"]:
        case "suspended":
            code = row["code"]
            text = translate(mark("{name} is suspended ({code})"), name=name, code=code)
            yield Problem("TABLE_SUSPENDED", "critical", text, name, code)
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
        text = translate(text, name=name, count=row["withheld"])
        yield Problem("ROWS_WITHHELD", "warning", text, name)
