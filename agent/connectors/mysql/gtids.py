"""Positions by the names of transactions: MySQL's sets, and MariaDB's last one of each domain.

Sources: MySQL 9.7, sql/rpl_gtid_set.cc; MariaDB 11.8, sql/rpl_gtid.cc.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final

from agent.connectors.mysql.packing import Damaged, number, octets

_UUID_BYTES: Final = 16
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TAG: Final = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL: Final = re.compile(r"([1-9][0-9]{0,18})(?:-([1-9][0-9]{0,18}))?")
_TAGGED: Final = 1  # stands in the first and the last byte of the count where sources have tags
_MARIADB: Final = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,20})")

Interval = tuple[int, int]  # first number, and the one behind the last


class GtidSet:
    """The transactions that a MySQL server has executed, or that were applied of it."""

    def __init__(self) -> None:
        # By source, which is `uuid` or `uuid:tag`; in rising order, with gaps between them
        self.intervals: dict[str, list[Interval]] = {}

    @classmethod
    def parse(cls, text: str) -> "GtidSet":
        """Reads the text that a server writes: `uuid:1-5:7:tag:1,uuid:3`. Raises Damaged."""
        found = cls()
        for part in text.replace("\n", "").split(","):
            if part.strip():
                found._parse_source(part.strip().lower())
        return found

    def _parse_source(self, text: str) -> None:
        uuid, *parts = text.split(":")
        if not _UUID.fullmatch(uuid) or not parts:
            raise Damaged("a set of GTIDs that is none")
        source = uuid
        for part in parts:
            interval = _INTERVAL.fullmatch(part.strip())
            if interval is not None:
                first = int(interval[1])
                self._include(source, first, int(interval[2] or first) + 1)
            elif _TAG.fullmatch(part.strip()):
                source = f"{uuid}:{part.strip()}"
            else:
                raise Damaged("a set of GTIDs that is none")

    def add(self, source: str, counted: int) -> None:
        """Adds one transaction."""
        intervals = self.intervals.setdefault(source, [])
        if intervals and intervals[-1][1] == counted:
            # The next one of its source, as nearly every one is
            intervals[-1] = (intervals[-1][0], counted + 1)
            return
        self._include(source, counted, counted + 1)

    def _include(self, source: str, first: int, behind: int) -> None:
        """Adds an interval, which may touch or overlap others."""
        if first >= behind:
            raise Damaged("an interval of GTIDs that is empty")
        kept = []
        for begin, end in self.intervals.get(source, []):
            if end < first or begin > behind:
                kept.append((begin, end))
            else:
                first, behind = min(first, begin), max(behind, end)
        kept.append((first, behind))
        self.intervals[source] = sorted(kept)

    def has(self, source: str, counted: int) -> bool:
        """Tells whether one transaction is in the set."""
        intervals = self.intervals.get(source, [])
        place = bisect_right(intervals, (counted, 1 << 64)) - 1
        return place >= 0 and intervals[place][0] <= counted < intervals[place][1]

    def contains(self, other: "GtidSet") -> bool:
        """Tells whether every transaction of another set is in this one."""
        for source, intervals in other.intervals.items():
            mine = self.intervals.get(source, [])
            for first, behind in intervals:
                place = bisect_right(mine, (first, 1 << 64)) - 1
                if place < 0 or mine[place][1] < behind:
                    return False
        return True

    def __str__(self) -> str:
        """Writes the set as a server does, but with a source for each tag."""
        texts = []
        for source in sorted(self.intervals):
            parts = []
            for first, behind in self.intervals[source]:
                parts.append(f"{first}-{behind - 1}" if behind - 1 > first else str(first))
            texts.append(":".join((source, *parts)))
        return ",".join(texts)

    def encoded(self) -> bytes:
        """Writes the set for the command that asks for the log after it."""
        tagged = any(":" in source for source in self.intervals)
        count = len(self.intervals)
        head = count.to_bytes(8, "little")
        if tagged:
            head = bytes((_TAGGED,)) + count.to_bytes(6, "little") + bytes((_TAGGED,))
        return head + b"".join(self._encoded_sources(tagged))

    def _encoded_sources(self, tagged: bool) -> Iterator[bytes]:
        for source in sorted(self.intervals):
            uuid, _, tag = source.partition(":")
            yield bytes.fromhex(uuid.replace("-", ""))
            if tagged:
                yield bytes((len(tag) << 1,)) + tag.encode()

            intervals = self.intervals[source]
            yield len(intervals).to_bytes(8, "little")
            for interval in intervals:
                for counted in interval:
                    yield counted.to_bytes(8, "little")

    @classmethod
    def decode(cls, data: bytes) -> "GtidSet":
        """Reads what `encoded` and a server's PREVIOUS_GTIDS event write. Raises Damaged."""
        found = cls()
        tagged = number(data, 7, 1) == _TAGGED
        count = number(data, 1, 6) if tagged else number(data, 0, 8)
        start = 8
        for _ in range(count):
            raw = octets(data, start, _UUID_BYTES).hex()
            source = "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))
            start += _UUID_BYTES
            if tagged:
                size = number(data, start, 1) >> 1
                tag = octets(data, start + 1, size).decode("ascii", "replace")
                source = f"{source}:{tag}" if tag else source
                start += 1 + size

            intervals = number(data, start, 8)
            start += 8
            for _ in range(intervals):
                found._include(source, number(data, start, 8), number(data, start + 8, 8))
                start += 16
        return found


class DomainPositions:
    """The last transaction of each domain of MariaDB, where the log is asked to go on."""

    def __init__(self, last: Mapping[int, tuple[int, int]] | None = None) -> None:
        """`last`: server id and number, by domain."""
        self.last = dict(last or {})

    @classmethod
    def parse(cls, text: str) -> "DomainPositions":
        """Reads the text that a server writes: `0-1-5,2-7-9`. Raises Damaged."""
        last = {}
        for part in text.split(","):
            if not part.strip():
                continue
            found = _MARIADB.fullmatch(part.strip())
            if found is None:
                raise Damaged("a position of GTIDs that is none")
            last[int(found[1])] = (int(found[2]), int(found[3]))
        return cls(last)

    def add(self, source: str, counted: int) -> None:
        """Takes a transaction, whose source is `domain-server`, as the last one of its domain."""
        domain, _, server = source.partition("-")
        self.last[int(domain)] = (int(server), counted)

    def reaches(self, other: "DomainPositions") -> bool:
        """Tells whether no domain of another position is further than here.

        Within a domain numbers rise, whatever server has written them.
        """
        for domain, (_, counted) in other.last.items():
            mine = self.last.get(domain)
            if mine is None or mine[1] < counted:
                return False
        return True

    def __str__(self) -> str:
        """Writes the position as a server does."""
        texts = []
        for domain, (server, counted) in sorted(self.last.items()):
            texts.append(f"{domain}-{server}-{counted}")
        return ",".join(texts)
