"""Defines a schedule of faults as data.

The same seed gives the same schedule, and no clock decides when a fault comes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple, Self, get_args

from agent.failpoints import OF_BINARY_LOG, PLACES

Stage = Literal["capture", "publish"]
FrontEnd = Literal["sqlite", "postgres", "mariadb"]
Client = Literal["kafka-python", "librdkafka"]
# The business database; one of the MySQL family is read by its binary log
Source = Literal["postgresql", "mariadb", "mysql8", "mysql9"]
SOURCES: tuple[Source, ...] = get_args(Source)

_FIRST_OF_PAGES = PLACES.index("before_page_snapshot")
PAGES = (*PLACES[_FIRST_OF_PAGES:], "before_high_position")  # of a copy
PUBLISHED = PLACES[PLACES.index("before_kafka_begin") : _FIRST_OF_PAGES]  # the publisher's
PLACES_OF: Mapping[Source, tuple[str, ...]] = {
    "postgresql": PLACES,
    **dict.fromkeys(("mariadb", "mysql8", "mysql9"), (*PLACES, *OF_BINARY_LOG)),
}
# So many passes of a place are sure to come in the life of a process, in the workload below.
OFTEN: Mapping[str, int] = {
    "after_read_begin": 20,
    "mid_rows": 60,
    "after_read_commit": 20,
    "mid_apply": 60,
    "mid_produce": 60,
    "before_published_mark": 1,  # once a second
    **dict.fromkeys(PAGES, 3),  # the first tables
    "after_log_asked": 1,
    "mid_event": 200,
    "after_definition": 1,
}
OTHERWISE = 5  # commits of the front end, transactions of Kafka
# The share of the schedules without a fault in a copy whose tables hold rows at the beginning.
COPIED = 0.3
ROWS = (200, 900, 2500)  # of the table with the most
FEWEST, MOST = 20, 60  # transactions after the last fault

# What may happen around the agent in a mixed schedule: deeds of tests/faults/nemesis.py. A deed on
# a line carries the peer's name.
_LINE = ("line_breaks", "line_is_silent", "line_half_closes", "line_is_slow")
DEEDS = (
    "capture_dies", "publisher_dies", "service_dies", "service_stops",
    "capture_freezes", "publisher_freezes", "second_agent",
    "clock_jumps:forwards", "clock_jumps:backwards",
    "source_restarts", "source_sessions_end", "source_password_changes", "column_added",
    "front_table_locked", "broker_dies", "broker_dies_and_returns", "broker_restarts",
    "broker_freezes", "end_of_transaction_unanswered",
    *(f"{deed}:{peer}" for peer in ("source", "kafka") for deed in _LINE),
)  # fmt: skip
_OF_A_SERVER = (
    "front_restarts",
    "front_sessions_end",
    "commit_unanswered",
    *(f"{deed}:front" for deed in _LINE),
)
OF_A_FRONT: Mapping[FrontEnd, tuple[str, ...]] = {
    "sqlite": ("front_disk_full",),
    "postgres": (*_OF_A_SERVER, "front_disk_full"),
    "mariadb": _OF_A_SERVER,
}
# What the schedules of seeds from here on know besides. A seed that has been run means the same for
# ever.
LATER_FROM = 61
_LATER = ("source_log_full", "broker_disk_full", "kafka_password_changes")
LATER_DEEDS: Mapping[FrontEnd, tuple[str, ...]] = {
    "sqlite": _LATER,
    "postgres": (*_LATER, "front_password_changes"),
    "mariadb": (*_LATER, "front_password_changes", "front_disk_full"),
}
# Around a source that is read by its binary log, in place of what only PostgreSQL has
_OF_A_LOG = (
    "source_stops", "source_dump_ends", "log_rotates", "log_compresses", "table_swapped",
)  # fmt: skip
MIXED_FRONTS: tuple[FrontEnd, ...] = ("sqlite", "postgres", "mariadb")
CLIENTS: tuple[Client, ...] = ("kafka-python", "librdkafka")


class Fault(NamedTuple):
    """Happens once, when a process passes a place for the `hit`-th time in its life."""

    place: str
    hit: int
    action: str  # kill, raise, stall=<seconds>

    @property
    def stage(self) -> Stage:
        """The process that passes the place."""
        return "publish" if self.place in PUBLISHED else "capture"

    def __str__(self) -> str:
        return f"{self.place}:{self.hit}:{self.action}"


class Disturbance(NamedTuple):
    """Something that happens around the agent, and is over after a while."""

    # It begins after so many transactions of the workload, counted from when the agent is connected
    # to all its peers.
    step: int
    deed: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.deed}@{self.step}+{self.seconds:g}s"


class Schedule(NamedTuple):
    """What happens in one run."""

    seed: int
    front: FrontEnd
    writers: int
    transactions: int  # after the last fault has come
    faults: tuple[Fault, ...]
    rows: int = 0  # in a table when the agent begins: the others have fewer; 0: all are empty
    stale: bool = (
        False  # the front end holds rows by then, outdated ones and some the source does not have
    )
    client: Client = "kafka-python"
    disturbances: tuple[
        Disturbance, ...
    ] = ()  # in the order of their steps; with any, the schedule has servers of its own
    source: Source = "postgresql"

    @classmethod
    def of(cls, seed: int, source: Source = "postgresql") -> Self:
        """Returns the schedule of a seed, counted from 1.

        Its first fault kills. As many seeds in a row as there are places begin with all of them.
        """
        random = Random(seed if source == "postgresql" else f"log {seed}")
        places = PLACES_OF[source]
        first = places[7 * seed % len(places)]  # 7 has no common factor with 25 nor with 30
        others = random.sample(
            [place for place in places if place != first], random.choice((0, 1, 1, 2))
        )
        faults = (
            _fault(random, first, "kill"),
            *(_fault(random, place, _action(random)) for place in others),
        )
        front: FrontEnd = "sqlite" if seed % 3 else "postgres"
        rows = (
            random.choice(ROWS)
            if random.random() < COPIED or any(fault.place in PAGES for fault in faults)
            else 0
        )
        return cls(
            seed,
            front,
            random.randint(2, 3),
            random.randint(FEWEST, MOST),
            faults,
            rows,
            rows > 0 and random.random() < 0.5,
            source=source,
        )

    @classmethod
    def mixed(cls, seed: int, source: Source = "postgresql") -> Self:
        """Returns the mixed schedule of a seed.

        It has one to four disturbances, which may overlap, and up to two faults at failpoints. Six
        seeds in a row have every pair of front end and client; every third seed begins its list
        with the next deed that its front end can meet.
        """
        logged = source != "postgresql"
        random = Random(f"mixed log {seed}" if logged else f"mixed {seed}")
        front = MIXED_FRONTS[seed % 3]
        deeds = deeds_of(front, source) if logged or seed >= LATER_FROM else _at_first(front)
        first = deeds[seed // 3 % len(deeds)]
        chosen = [
            first,
            *random.sample([deed for deed in deeds if deed != first], random.choice((0, 1, 2, 3))),
        ]
        steps = sorted(random.randint(5, 120) for _ in chosen)
        disturbances = tuple(
            Disturbance(step, deed, random.choice((0.5, 2.0, 5.0)))
            for step, deed in zip(steps, chosen, strict=True)
        )
        places = random.sample(
            [place for place in PLACES_OF[source] if place not in PAGES],
            random.choice((0, 1, 1, 2)),
        )
        faults = tuple(_fault(random, place, _action(random)) for place in places)
        client = CLIENTS[seed % 2]
        return cls(
            seed,
            front,
            random.randint(2, 3),
            random.randint(FEWEST, MOST),
            faults,
            client=client,
            disturbances=disturbances,
            source=source,
        )

    @property
    def setting(self) -> str:
        """The faults as the agent's environment takes them."""
        return ",".join(map(str, self.faults))

    @property
    def happenings(self) -> tuple[Disturbance | Fault, ...]:
        """Everything that happens."""
        return (*self.disturbances, *self.faults)

    @property
    def needs_ground(self) -> bool:
        """Whether it needs servers of its own, and the lines to them (tests/faults/ground.py)."""
        return bool(self.disturbances) or self.front == "mariadb" or self.client != "kafka-python"

    @classmethod
    def loads(cls, text: str) -> Self:
        """Returns the schedule of a file."""
        fields = json.loads(text)
        fields.pop("found")
        things = {
            "faults": tuple(Fault(**fault) for fault in fields["faults"]),
            "disturbances": tuple(Disturbance(**deed) for deed in fields["disturbances"]),
        }
        return cls(**fields | things)

    def dumps(self, found: str) -> str:
        """As a file; `found` says in a line what it has found."""
        things = {
            "faults": [fault._asdict() for fault in self.faults],
            "disturbances": [disturbance._asdict() for disturbance in self.disturbances],
        }
        fields = {"found": found} | self._asdict() | things
        if self.source == "postgresql":
            # Files that were kept before there was another source do not name it
            del fields["source"]
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def deeds_of(front: FrontEnd, source: Source = "postgresql") -> tuple[str, ...]:
    """Returns what may happen around an agent between this source and this front end."""
    deeds = _at_first(front) + LATER_DEEDS[front]
    if source == "postgresql":
        return deeds
    return tuple(deed for deed in deeds if deed != "source_log_full") + _OF_A_LOG


def _at_first(front: FrontEnd) -> tuple[str, ...]:
    return DEEDS + OF_A_FRONT[front]


def _fault(random: Random, place: str, action: str) -> Fault:
    return Fault(place, random.randint(1, OFTEN.get(place, OTHERWISE)), action)


def _action(random: Random) -> str:
    return random.choices(
        ("kill", "raise", f"stall={random.choice((0.2, 0.6, 1.2))}"), weights=(70, 15, 15)
    )[0]


class Kept(NamedTuple):
    """Holds a schedule that has found a fault of the product.

    `make faults` runs it for ever, as it was then, whatever its seed gives by now.
    """

    name: str
    found: str
    schedule: Schedule


def kept(folder: Path) -> tuple[Kept, ...]:
    """Returns the schedules kept in a folder, a file each."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.json"))}
    return tuple(
        Kept(name, json.loads(text)["found"], Schedule.loads(text)) for name, text in texts.items()
    )


SCHEDULES = Path(__file__).parent / "schedules"
KEPT = kept(SCHEDULES)
