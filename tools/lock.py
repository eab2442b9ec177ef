"""The packages of requirements.lock, and which of them an installation of the product holds."""

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parent.parent / "requirements.lock"
PRODUCT = "unit-sync-agent"
# What a user may install; the others are for developers
EXTRAS = (
    "",
    "binary",
    "dm",
    "fast",
    "kingbase",
    "mariadb",
    "mssql",
    "opengauss",
    "oracle",
    "psycopg2",
)
_PIN = re.compile(
    r"^([a-z0-9.-]+)==(\S+)[^\n]*\\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


class Pin(NamedTuple):
    """One locked package; `hashes`: SHA-256 of each file that may be installed."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pins(lock: Path = LOCK) -> list[Pin]:
    """Returns every package of the lock file."""
    found = _PIN.findall(lock.read_text(encoding="utf-8"))
    return [
        Pin(name, version, tuple(re.findall(r"sha256:([0-9a-f]+)", hashes)))
        for name, version, hashes in found
    ]


def locked_lines(lock: Path = LOCK) -> dict[str, str]:
    """Returns each package's requirement as pip reads it.

    It has its marker and no hashes: `name==version ; marker`.
    """
    found = re.findall(
        r"^([a-z0-9.-]+)(==[^\\\n]+?) *\\$", lock.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {name: name + rest for name, rest in found}


def shipped(extras: Iterable[str] = EXTRAS) -> set[str]:
    """Returns the names of the installed packages the product needs, however indirectly."""
    names: set[str] = set()
    waiting = [(PRODUCT, extra) for extra in extras]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        names.add(name)
        environment = {str(key): str(value) for key, value in default_environment().items()} | {
            "extra": extra
        }
        for requirement in map(Requirement, metadata.requires(name) or []):
            needed = canonicalize_name(requirement.name)
            if requirement.marker is None or requirement.marker.evaluate(environment):
                further = {(needed, wanted) for wanted in ("", *requirement.extras)} - seen
                seen |= further
                waiting += further
    return names - {PRODUCT}
