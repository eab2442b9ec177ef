"""Debezium's envelope, built from value forms that are already JSON (docs/events.md)."""

from agent.values.connect import Shell


class Envelope:
    """The values of one table's events. What is the same for all is written once, a schema too."""

    def __init__(self, shell: Shell) -> None:
        head, tail = (part.replace(b"%", b"%%") for part in shell)
        self._form = (
            head
            + b'{"before":%b,"after":%b,"source":%b,"transaction":null,"op":"%b",'
            + b'"ts_ms":%d,"ts_us":%d,"ts_ns":%d}'
            + tail
        )
        self._placed = self._form.replace(
            b'"transaction":null,"op":"%b"', b'"transaction":%b,"op":"%b"'
        )

    def value(
        self,
        op: bytes,
        before: bytes,
        after: bytes,
        source: bytes,
        now_ns: int,
        transaction: bytes | None = None,
    ) -> bytes:
        """Writes the whole value of an event.

        `before` and `after` are JSON (`null` where there is none), `now_ns` is the time of
        processing. `transaction`: the event's place in its source transaction as JSON, where
        somebody wants to know it.
        """
        if transaction is not None:
            return self._placed % (
                before,
                after,
                source,
                transaction,
                op,
                now_ns // 1_000_000,
                now_ns // 1000,
                now_ns,
            )
        return self._form % (before, after, source, op, now_ns // 1_000_000, now_ns // 1000, now_ns)
