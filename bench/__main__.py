"""Runs every bench on the same servers and says what has moved since the stored run.

    python -m bench [--quick] [--store]

The whole takes about a quarter of an hour, `--quick` about three minutes. `--store` keeps the
ratios for later runs, draws the plots of docs/ and writes the tables of docs/BENCHMARKS.md.
"""

import argparse
from pathlib import Path

from bench import figures, idle, latency, page, reconcile, stream
from bench.businesses import PostgresBusinesses
from bench.table import say
from tests.services.kafka import kafka
from tests.services.postgres import postgres

PLOTS = Path("docs/images")


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="three minutes: fewer of everything")
    parser.add_argument("--store", action="store_true", help="keep the ratios, plots and tables")
    given = parser.parse_args()
    quick: bool = given.quick

    with postgres(18) as server, kafka() as broker:
        say(f"bench: {figures.machine()}")
        say("\nbench: idle")
        resting = []
        for client in idle.CLIENTS[:1] if quick else idle.CLIENTS:
            resting.append(idle.run(server, broker, 10, 20 if quick else 60, client))
        say("\nbench: latency")
        if quick:
            late = latency.run(
                server, broker, (100, 500), 5, fronts=("sqlite",), with_debezium=False
            )
        else:
            late = latency.run(server, broker, latency.RATES, 8)
        say("\nbench: stream")
        rows, warm, rounds = (20_000, 10_000, 1) if quick else (40_000, 20_000, 3)
        businesses = PostgresBusinesses(server)
        laps = stream.run(businesses, server, broker, rows, warm, rounds, quick)
        say("\nbench: copy and verify")
        copied = reconcile.run(server, broker, 50_000 if quick else 300_000, not quick)

    found = [
        *idle.figures(resting),
        *latency.figures(late),
        *stream.figures(laps),
        *reconcile.figures(copied),
    ]
    kind = "quick" if quick else "full"
    say("\nAgainst the stored run:")
    for line in figures.comparison(figures.stored(kind), found):
        say(line)

    tables = {
        "machine": [f"Measured on {figures.machine()}; databases and broker on the same cores."],
        "latency": latency.table(late),
        "stream": stream.table(laps),
        "copy": reconcile.table(copied),
        "idle": idle.table(resting),
    }
    for name, lines in tables.items():
        say(f"\n{name}")
        for line in lines:
            say(line)

    if given.store:
        figures.store(kind, found)
        if not quick:
            PLOTS.mkdir(exist_ok=True)
            latency.draw(late, PLOTS)
            stream.draw(laps, PLOTS)
            reconcile.draw(copied, PLOTS)
            page.write(tables)


if __name__ == "__main__":
    main()
