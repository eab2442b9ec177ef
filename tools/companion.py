"""Builds the compiled modules of the companion package `unit-sync-agent-compiled`.

    python -m tools.companion FOLDER

The folder then holds what the companion's wheel does (`compiled/`): it can be named in PYTHONPATH.
What the modules are for, and how they are chosen: docs/decisions/compiled-wheels.md.
"""

import argparse
import contextlib
import sys
import sysconfig
import tempfile
from pathlib import Path

from agent.compiled import COMPANION, digest

ROOT = Path(__file__).parent.parent

# What runs for each row or event in one of the two processes, by the profile of bench/stream.py;
# `python -m bench.compiled` measures what each part gains
MODULES = (
    # From the stream to messages
    "agent.connectors.changes",
    "agent.connectors.mysql.binary_json",
    "agent.connectors.mysql.charsets",
    "agent.connectors.mysql.columns",
    "agent.connectors.mysql.compression",
    "agent.connectors.mysql.decimals",
    "agent.connectors.mysql.events",
    "agent.connectors.mysql.packing",
    "agent.connectors.mysql.rows",
    "agent.connectors.mysql.table_map",
    "agent.connectors.mysql.temporals",
    "agent.connectors.mysql.transactions",
    "agent.connectors.position",
    "agent.connectors.postgres.origin",
    "agent.connectors.postgres.pgoutput",
    # From messages to rows and events
    "agent.capture.applier",
    "agent.capture.events",
    "agent.capture.row_changes",
    "agent.capture.rows",
    "agent.capture.window",
    "agent.resource",
    "agent.values.connect",
    "agent.values.envelope",
    "agent.values.forms",
    "agent.values.lines",
    "agent.values.rows",
    # The outbox, written and read
    "agent.outbox.frames",
    "agent.outbox.writer",
    # From events to Kafka's records
    "agent.publish.grouping",
    "agent.publish.partition",
    "agent.publish.record_batch",
    "agent.publish.records",
)
_LIBRARY = "unit_sync_agent"  # holds the code of all modules; mypyc adds __mypyc to the name
_HEAD = (
    '"""The compiled modules of unit-sync-agent; agent/compiled.py says when they are used."""\n'
)


def build(folder: Path) -> None:
    """Compiles the modules into `folder`, which is made."""
    # Only a build needs the compiler
    from mypyc.build import mypycify  # noqa: PLC0415
    from setuptools import Distribution  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    folder = folder.absolute()
    files = [name.replace(".", "/") + ".py" for name in MODULES]
    source = digest(ROOT / "agent")
    with tempfile.TemporaryDirectory() as made, contextlib.chdir(ROOT):
        extensions = mypycify(
            ["--config-file=pyproject.toml", *files],
            target_dir=made,
            group_name=_LIBRARY,
        )
        for extension in extensions:
            if extension.name in MODULES:
                extension.name = f"{COMPANION}.{extension.name}"
        command = build_ext(Distribution({"name": COMPANION, "ext_modules": extensions}))
        command.build_lib = str(folder)
        command.build_temp = made
        command.ensure_finalized()
        command.run()

    text = f"{_HEAD}\nSOURCE = {source!r}\nMODULES = {MODULES!r}\n"
    (folder / COMPANION / "__init__.py").write_text(text, encoding="utf-8")


def main() -> None:
    """Builds into the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print(f"companion: {len(MODULES)} modules for {sysconfig.get_platform()} (a minute or two) ...")
    build(folder)
    print(f"companion: built in {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
