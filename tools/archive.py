"""Makes the archive for hosts without network: `make archive`, into dist/.

It holds the wheels of the product and of all it needs, for one architecture and one Python, their
hashes and licences, the bill of materials, the handbook as a site, and `install.sh`.
With `--python ARCHIVE` it brings its own Python (an `install_only` archive of
python-build-standalone); without, the host has to have the version that this program runs with.
"""

import argparse
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from cyclonedx.model.bom import Bom
from packaging.markers import Marker

from tools import bill, site
from tools.lock import EXTRAS, LOCK, PRODUCT, locked_lines, pins, shipped

ROOT = LOCK.parent
# What every archive holds; drivers of other business databases are added by name
CORE = ("", "binary", "fast", "mariadb")
ARCHITECTURES = ("x86_64", "aarch64")
# Of the oldest C library first: Kylin V10 and openEuler 20.03 have 2.28
_GLIBC = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux1")
_OWN_PYTHON = re.compile(r"^cpython-(3\.\d+)\.\d+.*-(x86_64|aarch64)-.*\.tar\.gz$")
_LICENCE = re.compile(
    r"\.dist-info/(?:.*/)?(?:licen[cs]e|copying|notice|authors)[^/]*$", re.IGNORECASE
)
# Of the native libraries inside wheels, whose texts the wheels do not bring; by SPDX
_NATIVE = {
    "libcom_err": "MIT",
    "libcrypt": "LGPL-2.1-or-later",
    "libcrypto": "Apache-2.0",
    "libdmdpi": "LicenseRef-Dameng",
    "libgssapi_krb5": "MIT",
    "libk5crypto": "MIT",
    "libkeyutils": "LGPL-2.1-or-later",
    "libkrb5": "MIT",
    "libkrb5support": "MIT",
    "liblber": "OLDAP-2.8",
    "libldap": "OLDAP-2.8",
    "libpcre": "BSD-3-Clause",
    "libpcre2-8": "BSD-3-Clause",
    "libpq": "PostgreSQL",
    "librdkafka": "BSD-2-Clause",
    "libsasl2": "BSD-3-Clause-Attribution",
    "libselinux": "LicenseRef-Public-Domain",
    "libssl": "Apache-2.0",
    "zstd": "BSD-3-Clause",
}
_NO_TIME = 0  # of every file in the archive: the same input makes the same archive


class Target(NamedTuple):
    """What an archive is for."""

    architecture: str
    python: str  # 3.11

    @property
    def markers(self) -> dict[str, str]:
        """The environment by which requirements are chosen."""
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "platform_machine": self.architecture,
            "sys_platform": "linux",
            "platform_system": "Linux",
            "os_name": "posix",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }


def target_of(architecture: str, own_python: Path | None) -> Target:
    """Returns what the archive is for. Raises SystemExit where both do not fit together."""
    if own_python is None:
        return Target(architecture, ".".join(platform.python_version_tuple()[:2]))
    found = _OWN_PYTHON.match(own_python.name)
    if found is None or found[2] != architecture:
        sys.exit(
            f"archive: {own_python.name} is no install_only archive of python-build-standalone "
            f"for {architecture}: cpython-3.x.y+DATE-{architecture}-unknown-linux-gnu-"
            "install_only.tar.gz"
        )
    return Target(architecture, found[1])


def requirements(target: Target, extras: Iterable[str] = CORE) -> str:
    """Returns what an installation holds beside the product, each with the hashes of the lock."""
    needed = shipped(extras)
    lines = locked_lines()
    found = []
    for pin in pins():
        _, _, marker = lines[pin.name].partition(";")
        if pin.name not in needed or (marker and not Marker(marker).evaluate(target.markers)):
            continue
        hashes = "".join(f" \\\n    --hash=sha256:{value}" for value in pin.hashes)
        found.append(f"{pin.name}=={pin.version}{hashes}\n")
    return "".join(found)


def add_dependencies(folder: Path, target: Target, extras: Iterable[str] = CORE) -> None:
    """Puts the wheels of all that the product needs into a folder."""
    wanted = folder / "requirements.txt"
    wanted.write_text(requirements(target, extras), encoding="utf-8")

    platforms = []
    for glibc in _GLIBC:
        platforms += ["--platform", f"{glibc}_{target.architecture}"]
    place = ["--dest", str(folder / "wheels"), "--only-binary", ":all:", "--no-deps"]
    place += [*platforms, "--python-version", target.python, "--implementation", "cp"]
    _pip("download", *place, "--require-hashes", "-r", str(wanted))
    # The host's Python need not bring it
    _pip("download", *place, f"pip=={metadata.version('pip')}")


def add_product(folder: Path, target: Target, source: Path) -> str:
    """Puts the product's wheel beside those that it needs; returns its version."""
    wheels = folder / "wheels"
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source))
    (own,) = wheels.glob(f"{PRODUCT.replace('-', '_')}-*.whl")
    version = own.name.split("-")[1]
    with (folder / "requirements.txt").open("a", encoding="utf-8") as file:
        file.write(f"{PRODUCT}=={version} --hash=sha256:{_sha256(own)}\n")
    (folder / "version").write_text(
        f"VERSION={version}\nARCHITECTURE={target.architecture}\nPYTHON_VERSION={target.python}\n",
        encoding="utf-8",
    )
    return version


def add_licences(folder: Path) -> None:
    """Puts the licences of all wheels into folders of their names.

    Raises SystemExit for a wheel that brings none and names none either.
    """
    for wheel in sorted((folder / "wheels").glob("*.whl")):
        name = wheel.name.split("-")[0]
        place = folder / "licences" / name
        place.mkdir(parents=True)
        with zipfile.ZipFile(wheel) as files:
            for path in files.namelist():
                if _LICENCE.search(path):
                    flat = path.replace("/", "_")
                    (place / flat).write_bytes(files.read(path))
            (about,) = (path for path in files.namelist() if path.endswith("/METADATA"))
            said = _licence_said(files.read(about).decode())
        if not said and not any(place.iterdir()):
            sys.exit(f"archive: {wheel.name} says nothing about its licence")
        (place / "SAID").write_text(said, encoding="utf-8")


def native_licences(made: Bom, extras: Iterable[str] = CORE) -> str:
    """Returns a line for each native library inside the packages of an installation.

    Raises SystemExit for one whose licence nobody has looked up.
    """
    needed = shipped(extras)
    lines = set()
    for package in made.components:
        if package.name not in needed:
            continue
        for library in package.components:
            if library.name not in _NATIVE:
                sys.exit(f"archive: add the licence of {library.name} ({package.name}) to _NATIVE")
            lines.add(f"{package.name}: {library.name}: {_NATIVE[library.name]}\n")
    return "".join(sorted(lines))


def _licence_said(about: str) -> str:
    """Returns the lines of a package's metadata that name its licence."""
    head = about.partition("\n\n")[0]
    begins = ("License", "Classifier: License")
    lines = [line for line in head.splitlines() if line.startswith(begins)]
    return "".join(f"{line}\n" for line in lines)


def write_sums(folder: Path) -> None:
    """Writes SHA256SUMS, which `install.sh` checks before anything else."""
    sums = folder / "SHA256SUMS"
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != sums:
            lines.append(f"{_sha256(path)}  {path.relative_to(folder)}\n")
    sums.write_text("".join(lines), encoding="utf-8")


def pack(folder: Path, archive: Path) -> None:
    """Packs a folder; nothing of this machine is in it."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = _NO_TIME
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as packed:
        for path in sorted(folder.rglob("*")):
            name = f"{folder.name}/{path.relative_to(folder)}"
            packed.add(path, name, recursive=False, filter=plain)


def build(
    out: Path,
    architecture: str,
    own_python: Path | None = None,
    drivers: Iterable[str] = (),
) -> Path:
    """Makes the archive and returns where it is; `drivers` are extras of other databases."""
    target = target_of(architecture, own_python)
    extras = (*CORE, *drivers)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "new"
        folder.mkdir()
        _say(f"wheels for Python {target.python} on {architecture} (half a minute) ...")
        add_dependencies(folder, target, extras)
        version = add_product(folder, target, ROOT)

        _say("licences, bill of materials, hashes ...")
        add_licences(folder)
        made = bill.bill()
        (folder / "licences/NATIVE").write_text(native_licences(made, extras), encoding="utf-8")
        (folder / "sbom.cdx.json").write_text(bill.text(made), encoding="utf-8")
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        site.write(folder / "handbook")
        (folder / "deploy/archive/install.sh").rename(folder / "install.sh")
        if own_python is not None:
            shutil.copy(own_python, folder / "python.tar.gz")
        write_sums(folder)

        named = folder.rename(folder.with_name(f"{PRODUCT}-{version}-linux-{architecture}"))
        archive = out / f"{named.name}.tar.gz"
        pack(named, archive)
    return archive


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    subprocess.run(command, check=True)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _say(text: str) -> None:
    print(f"archive: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="archive", description=__doc__)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default=platform.machine())
    parser.add_argument("--python", type=Path, help="an install_only archive of a Python")
    parser.add_argument(
        "--driver",
        action="append",
        choices=sorted({*EXTRAS} - {*CORE}),
        default=[],
        help="adds the driver of a business database; repeatable",
    )
    parser.add_argument("--out", type=Path, default=Path("dist"))
    arguments = parser.parse_args()
    archive = build(arguments.out, arguments.architecture, arguments.python, arguments.driver)
    _say(f"{archive} ({archive.stat().st_size / 1e6:.0f} MB)")


if __name__ == "__main__":
    main()
