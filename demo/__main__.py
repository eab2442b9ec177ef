"""Starts the demonstration; whatever ends it, nothing stays behind.

Call `python -m demo [--source kind] [--business kind] [--front kind] [--client name]
[--kafka host:port] [--keep]`.
"""

import argparse
import os
import signal
import sys
import tempfile
from contextlib import ExitStack, suppress
from types import FrameType

from demo.businesses import BUSINESSES
from demo.parts import CLIENTS, FRONTS, LOGS, SOURCES, Parts
from demo.play import Play
from demo.screen import Screen
from tests.services.postgres import child_pids
from tests.services.processes import LIBC, Workspace

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Plays, and returns the exit code.

    It is 0 only when source, front end and topics were found equal.
    """
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="The sync agent at work, judged by an independent comparison.",
    )
    parser.add_argument(
        "--kafka",
        metavar="HOST:PORT",
        help="use this broker instead of the embedded one; "
        "the demo's topics are deleted at the end",
    )
    parser.add_argument(
        "--source",
        choices=SOURCES,
        default="postgresql",
        help="how the agent reads the business database: the log of PostgreSQL (postgresql) or "
        "of MariaDB (mysql), or another one that is polled or has a trigger log",
    )
    parser.add_argument(
        "--business",
        choices=BUSINESSES,
        help="the business database of --source polling and trigger (sqlite)",
    )
    parser.add_argument(
        "--front", choices=FRONTS, default="sqlite", help="kind of the front-end database (sqlite)"
    )
    parser.add_argument(
        "--client",
        choices=CLIENTS,
        default="kafka-python",
        help="the agent's Kafka client (kafka-python)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave everything running until Ctrl-C, and say where to look",
    )
    arguments = parser.parse_args()
    if arguments.business and arguments.source in LOGS:
        parser.error("--business: is for --source polling and trigger; a log has its own database")
    for number in ENDINGS:
        signal.signal(number, leave)
    # What loses its parent comes to us, so that `sweep` finds it
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with ExitStack() as everything:
        try:
            everything.enter_context(folder_of_all())
            parts = Parts(
                arguments.front,
                arguments.client,
                arguments.kafka,
                arguments.source,
                arguments.business or "sqlite",
            )
            play = Play(Screen(), everything, parts)
            code = play.perform(stays=arguments.keep)
            if arguments.keep and code == 0:
                wait_for_end()
        finally:
            undisturbed()
    return code


def folder_of_all() -> ExitStack:
    """Returns a stack over one folder for all files.

    It removes the folder last, after every process is gone.
    """
    everything = ExitStack()
    workspace = Workspace("demo")
    everything.callback(workspace.close)
    everything.callback(sweep)
    workspace.path.chmod(0o755)  # the server's unprivileged user must pass
    tempfile.tempdir = str(workspace.path)
    return everything


def leave(number: int, _frame: FrameType | None) -> None:
    """Ends the performance on a signal; what was started is taken away on the way out."""
    raise SystemExit(128 + number)


def undisturbed() -> None:
    """Makes signals wait until everything is taken away."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)


def wait_for_end() -> None:
    """Waits for a signal; after a good verdict that is a good end."""
    sys.stdout.flush()
    with suppress(SystemExit):
        while True:
            signal.pause()


def sweep() -> None:
    """Ends every process that is still below us, e.g. one whose start a signal has interrupted."""
    while children := child_pids(os.getpid()):
        for pid in children:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main())
