"""`python -m tests.checker`: judges a running system."""

import argparse
import sqlite3
import sys
import time
import tomllib
from pathlib import Path

import psycopg
from confluent_kafka import KafkaException

from tests.checker.acks import AckSampler
from tests.checker.comparison import Places, compare
from tests.checker.configuration import shared_tables, slot_of
from tests.checker.table import Front, SharedTable, in_mariadb
from tests.checker.verdict import Verdict

EQUAL, DIFFERENT, USAGE = 0, 1, 2
DESCRIPTION = """\
Judges a sync agent: are the source, the front end and the Kafka topics equal,
was each event published once and in order?
It shares no code with the agent and asks every side itself. It only reads.

Let the applications' writes to the shared tables rest and the agent catch up (`sync-agent status`)
before you call it; what is still on its way counts as a difference. Then it reads every shared
table whole, on both sides, and the topics from their beginning (retention must have kept it)."""
EPILOG = """\
oracles, named before each difference:
  O1  every front-end row equals the source's row, and none is missing or too many
    O3  what the topics give when replayed equals the source's rows; each event fits what its key
        held; each delete has its tombstone next to it
  O4  each event was published once; sync.seq is 1, 2, 3 ... without a gap, per topic and generation
  O5  within a partition sync.seq and the order of commits rise; a key never changes its partition
    O7  with --journal: each transaction of the workload that succeeded is in source, front end and
        topic, each that failed in none of them
  O8  while it compares: the replication slot was never told more than the front end has stored
  O9  within a partition no event of an older run of the agent follows one of a newer run

exit status: 0 equal, 1 different, 2 it could not judge (wrong usage, or a side that cannot be read)

example:
    python -m tests.checker --source "host=db dbname=business user=auditor" \\
        --front /var/lib/unit-sync-agent/agent/front.db \\
        --bootstrap kafka:9092 --config /etc/unit-sync-agent/agent.toml"""


def main(arguments: list[str] | None = None) -> int:
    """Prints the verdict and returns the exit status."""
    given = parser().parse_args(arguments)
    try:
        tables, slot = configured(given.config, given.source)
        places = Places(given.source, front(given.front), given.bootstrap, dict(given.kafka))
        with AckSampler(given.source, slot, places.front) as acks:
            verdict = patient(places, tables, given.journal, given.wait)
    except (
        OSError,
        LookupError,
        TimeoutError,
        tomllib.TOMLDecodeError,
        psycopg.Error,
        sqlite3.Error,
        KafkaException,
    ) as error:
        print(
            f"cannot judge: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr
        )
        return USAGE
    acks.report(verdict)
    print(acks)
    print(verdict)
    return EQUAL if verdict.equal else DIFFERENT


def configured(config: Path, source: str) -> tuple[list[SharedTable], str]:
    """Returns the shared tables and the slot."""
    try:
        return shared_tables(config, source), slot_of(config)
    except KeyError as error:
        raise LookupError(f"{config} lacks the setting {error}") from None


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    built = argparse.ArgumentParser(
        prog="python -m tests.checker",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    built.add_argument(
        "--source",
        required=True,
        metavar="CONNINFO",
        help="libpq connection string of the source; "
        "the role must be able to read the shared columns",
    )
    built.add_argument(
        "--front",
        required=True,
        metavar="FILE|CONNINFO|URL",
        help="the front end: a SQLite file, a PostgreSQL connection string, or mariadb://...",
    )
    built.add_argument("--bootstrap", required=True, metavar="HOST:PORT", help="the Kafka cluster")
    built.add_argument(
        "--config",
        required=True,
        type=Path,
        metavar="FILE",
        help="the agent's configuration: tables, columns, filters, topics and slot "
        "are taken from it",
    )
    built.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="journal of the workload generator (tests/checker/workload.py), "
        "whose ledger is a shared table",
    )
    built.add_argument(
        "--kafka",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="librdkafka option, e.g. security.protocol=SASL_SSL; repeatable",
    )
    built.add_argument(
        "--wait",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="compare again for so long while there are differences (default 10)",
    )
    return built


def _option(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError("must be NAME=VALUE")
    return name, value


def front(text: str) -> Front:
    """Returns the front end: a conninfo or URL is a server's, everything else a file.

    The file must exist.
    """
    if in_mariadb(text):
        return text
    if text.startswith(("postgresql://", "postgres://")) or (
        "=" in text and not Path(text).exists()
    ):
        return text
    if not Path(text).is_file():
        raise FileNotFoundError(f"no file {text}")
    return Path(text)


def patient(
    places: Places, tables: list[SharedTable], journal: Path | None, wait: float
) -> Verdict:
    """Compares; a difference must last, for the last events may be on their way."""
    deadline = time.monotonic() + wait
    while True:
        verdict = compare(places, tables, journal)
        if verdict.equal or time.monotonic() > deadline:
            return verdict


if __name__ == "__main__":
    sys.exit(main())
