"""Says in one line how the service is."""

from datetime import UTC, datetime

from agent.messages import mark, translate
from agent.service.metrics import Metrics


def summary(metrics: Metrics) -> str:
    """Returns the line, in the language of the environment: what is wrong first, then the tables.

    It changes only with the service, not with time, so that it can be compared with the last one.
    """
    host = metrics.stands_by_for
    for stage, failure in metrics.failures.items():
        if failure is not None:
            since = datetime.fromtimestamp(failure.since, UTC).isoformat(timespec="seconds")
            return translate(
                mark("{stage} fails since {since}: {code}: {reason}"),
                stage=stage,
                since=since,
                code=failure.error.code,
                reason=" ".join(failure.error.text().split()),
            )

    if host is not None:
        since = datetime.fromtimestamp(host.since, UTC).isoformat(timespec="seconds")
        return stands_by(host.name, since)

    away = []
    for peer, connection in metrics.connections.items():
        if not connection.connected:
            away.append(peer)
    if away:
        return translate(mark("not connected yet: {peers}"), peers=", ".join(away))

    live = list(metrics.states.values()).count("live")
    return translate(
        mark("{live} of {tables} tables are live"), live=live, tables=len(metrics.states)
    )


def stands_by(host: str, since: str) -> str:
    """Says that another host is active since a time; '': it is not known which."""
    if not host:
        return translate(mark("standby; another process holds the front end"))
    return translate(mark("standby; active is {host} since {since}"), host=host, since=since)
