"""Runs each target of `make fuzz` in a process of its own, guided by coverage.

It ends with 1 when a target found a fault; the input is kept below build/fuzz.
"""

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path("build/fuzz")


def fuzz(name: str, seconds: int) -> None:
    """Runs one target for so long; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["agent"]):
        from tests.fuzz.targets import TARGETS
    target, seeds = TARGETS[name]
    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            "-max_len=20000",
            f"-artifact_prefix={FOLDER}/{name}-",
            str(corpus),
        ],
        target,
    )
    atheris.Fuzz()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="TARGET")
    options = parser.parse_args()
    if options.alone:
        fuzz(options.names[0], options.seconds)
        return 0
    from tests.fuzz.targets import TARGETS  # not before: `fuzz` has it loaded in its own way

    names = options.names or list(TARGETS)
    if unknown := sorted(set(names) - set(TARGETS)):
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    command = [sys.executable, "-m", "tests.fuzz", "--alone", "--seconds", str(options.seconds)]
    failed = [name for name in names if subprocess.run([*command, name], check=False).returncode]
    print(
        f"fuzz: {', '.join(failed)} failed, inputs below {FOLDER}"
        if failed
        else f"fuzz: no fault in {', '.join(names)}"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
