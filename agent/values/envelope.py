"""Debezium's envelope, built from value forms that are already JSON (docs/events.md)."""

from agent.values.connect import Shell


class Envelope:
    """The values of one table's events. What is the same for all is written once, a schema too."""

    def __init__(self, shell: Shell) -> None:
        self._head = shell.head + b'{"before":'
        self._tail = shell.tail
        # What stands behind the operation, with the time at which events are processed
        self._now_ns = -1
        self._times = b""

    def value(
        self,
        op: bytes,
        before: bytes,
        after: bytes,
        source: bytes,
        now_ns: int,
        transaction: bytes = b"null",
    ) -> bytes:
        """Writes the whole value of an event.

        `before` and `after` are JSON (`null` where there is none), `now_ns` is the time of
        processing. `transaction`: the event's place in its source transaction as JSON, where
        somebody wants to know it.
        """
        if now_ns != self._now_ns:
            self._now_ns = now_ns
            self._times = self._written_times(now_ns)
        return b"".join(
            (
                self._head,
                before,
                b',"after":',
                after,
                b',"source":',
                source,
                b',"transaction":',
                transaction,
                b',"op":"',
                op,
                self._times,
            )
        )

    def _written_times(self, now_ns: int) -> bytes:
        """Writes the end of a value: it is the same for all events that are processed at once."""
        ms = now_ns // 1_000_000
        us = now_ns // 1_000
        return b'","ts_ms":%d,"ts_us":%d,"ts_ns":%d}%b' % (ms, us, now_ns, self._tail)
