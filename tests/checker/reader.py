"""Judges O6: a consumer that reads while the faults come sees what one sees that reads at the end.

What was visible once is never taken back.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from tests.checker.replay import messages, read_committed
from tests.checker.verdict import Verdict

Seen = dict[tuple[str, int], list[int]]  # offsets of records by topic and partition
ARRIVES = 30.0  # seconds in which the reader must have come to the end


class LiveReader:
    """Reads the topics with read_committed from its start to its `stop`.

    Use it as a context manager, then call `report`.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._bootstrap, self._topics = bootstrap, topics
        self._seen: Seen = defaultdict(list)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live reader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(ARRIVES)

    def report(self, verdict: Verdict) -> None:
        """Puts into the verdict where the reader saw something else than is there at the end.

        Nothing may be under way then.
        """
        final: Seen = defaultdict(list)
        for message in messages(self._bootstrap, self._topics):
            _note(final, message)
        deadline = time.monotonic() + ARRIVES
        while self._seen != final and time.monotonic() < deadline and not self._taken_back(final):
            time.sleep(0.1)
        for (topic, partition), offsets in final.items():
            seen = self._seen[topic, partition]
            if seen != offsets:
                what = (
                    f"the reader saw {len(seen)} records, {len(offsets)} are there; "
                    f"they part after {_common(seen, offsets)}"
                )
                verdict.differs(f"{topic} {partition}", None, "records", what, "O6")

    def _taken_back(self, final: Seen) -> bool:
        return any(
            offsets[: len(seen)] != seen
            for place, offsets in final.items()
            if (seen := list(self._seen[place]))
        )

    def _run(self) -> None:
        consumer = Consumer(read_committed(self._bootstrap))
        try:
            found = consumer.list_topics(timeout=ARRIVES).topics
            consumer.assign(
                [
                    TopicPartition(topic, partition, OFFSET_BEGINNING)
                    for topic in self._topics
                    for partition in found[topic].partitions
                ]
            )
            while not self._ended.is_set():
                for message in consumer.consume(1000, timeout=0.2):
                    if message.error() is None:
                        _note(self._seen, message)
        finally:
            consumer.close()


def _note(seen: Seen, message: Message) -> None:
    seen[str(message.topic()), message.partition() or 0].append(message.offset() or 0)


def _common(one: list[int], other: list[int]) -> int:
    """Returns how many they have in common from their beginning."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
