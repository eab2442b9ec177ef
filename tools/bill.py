"""Writes the bill of materials (CycloneDX JSON) of the locked packages: `make sbom`.

It also lists the native libraries that their binary wheels bundle. Advisories of Python packages do
not name bundled libraries, so these are listed apart, by name, version and SHA-256.
"""

import hashlib
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import confluent_kafka
import psycopg
import zstandard
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from agent import __version__
from tools.lock import PRODUCT, pins, shipped

FILE = Path("build/sbom.cdx.json")
# Auditwheel's names
_BUNDLED = re.compile(
    r"(?:^|/)[\w.-]+\.libs/([\w.+-]+?)(?:-[0-9a-f]{8,})?(?:-([0-9.]+\d))?\.so(?:\.([0-9.]+))?$"
)

_OPENSSL = re.compile(rb"OpenSSL (\d+\.\d+\.\d+) ")  # the files' names say 3 only


def bill() -> Bom:
    """Returns the bill of the product and every package of the lock file."""
    bom = Bom()
    bom.metadata.component = Component(
        name=PRODUCT,
        version=__version__,
        type=ComponentType.APPLICATION,
        bom_ref=PRODUCT,
    )
    needed = shipped()
    for pin in pins():
        package = Component(
            name=pin.name,
            version=pin.version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{pin.name}=={pin.version}",
            purl=PackageURL("pypi", name=pin.name, version=pin.version),
            scope=ComponentScope.REQUIRED if pin.name in needed else ComponentScope.EXCLUDED,
            properties=[
                Property(name="unit-sync-agent:file:sha256", value=value) for value in pin.hashes
            ],
            components=list(_native(pin.name)),
        )
        bom.components.add(package)
        bom.register_dependency(bom.metadata.component, [package] if pin.name in needed else [])
    return bom


def _native(name: str) -> Iterator[Component]:
    """Yields the native libraries inside an installed package."""
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:  # locked for other systems or Python versions
        return
    for file in files:
        found = _BUNDLED.search(file.as_posix())
        if found:
            content = Path(str(file.locate())).read_bytes()
            told = _OPENSSL.search(content)
            version = told[1].decode() if told else found[2] or found[3] or ""
            yield _library(
                name,
                found[1],
                version,
                [HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(content).hexdigest())],
            )
    yield from (_library(name, library, version, []) for library, version in _asked(name))


def _asked(name: str) -> Iterator[tuple[str, str]]:
    """Libraries that tell their version themselves."""
    if name == "psycopg-binary":
        yield "libpq", _libpq()
    elif name == "confluent-kafka":
        yield "librdkafka", str(confluent_kafka.libversion()[0])
    elif name == "zstandard":
        yield "zstd", ".".join(map(str, zstandard.ZSTD_VERSION))


def _libpq() -> str:
    number = psycopg.pq.version()
    return f"{number // 10000}.{number % 10000}"


def _library(package: str, name: str, version: str, hashes: list[HashType]) -> Component:
    reference = f"{package}/{name}/{version}/{hashes[0].content[:12] if hashes else 'told'}"
    return Component(
        name=name,
        version=version or None,
        type=ComponentType.LIBRARY,
        bom_ref=reference,
        hashes=hashes,
    )


def text(made: Bom) -> str:
    """Returns a bill as JSON."""
    return str(JsonV1Dot6(made).output_as_string(indent=2))


def main() -> int:
    """Runs the command."""
    made = bill()
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text(made), encoding="utf-8")
    native = sum(len(package.components) for package in made.components)
    print(
        f"sbom: {FILE} lists {len(made.components)} packages "
        f"and {native} native libraries inside them"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
