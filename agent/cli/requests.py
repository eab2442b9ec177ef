"""Asks the running service for what `resume`, `reconcile`, `verify`, `retry` and `republish` want.

The requests go over a table in the front end.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select

from agent.errors import ServiceAway
from agent.outbox.reader import Reader
from agent.service.health import asked

TAKEN_UP = 30.0  # seconds in which a service that runs takes a request up
_LOOK = 0.2


class Answer(NamedTuple):
    """How far the service is with one table. `state` is asked, running, done or failed."""

    resource: str
    state: str
    report: dict[str, Any]


def ask(
    reader: Reader,
    listen: str,
    kind: str,
    resources: Sequence[str],
    allow_deletes: bool,
    progress: Callable[[Answer], None],
) -> list[Answer]:
    """Asks for each resource in turn and waits for the answers, `done` or `failed`.

    `listen`: where the service answers whether it runs. An interrupt withdraws what is under way.

    Raises ServiceAway when the service does not run, FrontUnreachable, NotInitialised.
    """
    reader.identity()
    return [_asked(listen, reader, kind, name, allow_deletes, progress) for name in resources]


def _asked(
    listen: str,
    reader: Reader,
    kind: str,
    resource: str,
    allow_deletes: bool,
    progress: Callable[[Answer], None],
) -> Answer:
    request = str(uuid.uuid4())
    row = {
        "id": request,
        "kind": kind,
        "resource": resource,
        "allow_deletes": int(allow_deletes),
        "state": "asked",
        "report": "{}",
    }
    with reader.writing() as connection:
        connection.execute(
            insert(reader.own.requests).values(**row, asked_us=time.time_ns() // 1000)
        )
    try:
        for answer in _answers(listen, reader, request, resource):
            progress(answer)
            if answer.state in ("done", "failed"):
                return answer
        raise ServiceAway(agent=reader.agent, seconds=f"{TAKEN_UP:g}")
    finally:
        with reader.writing() as connection:
            connection.execute(
                delete(reader.own.requests).where(reader.own.requests.c.id == request)
            )


def _answers(listen: str, reader: Reader, request: str, resource: str) -> Iterator[Answer]:
    """Yields each answer that says something new.

    Ends when the service has not taken the request up, or has gone, for a while.
    """
    last, deadline = None, time.monotonic() + TAKEN_UP
    while time.monotonic() < deadline:
        with reader.connection() as connection:
            state, report = connection.execute(
                select(reader.own.requests.c.state, reader.own.requests.c.report).where(
                    reader.own.requests.c.id == request
                )
            ).one()
        if (state, report) != last or (
            state == "running" and asked(listen, reader.agent, _LOOK) is not None
        ):
            deadline = time.monotonic() + TAKEN_UP
        if (state, report) != last:
            last = (state, report)
            yield Answer(resource, state, json.loads(report))
        time.sleep(_LOOK)
