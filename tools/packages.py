"""Makes a .deb and an .rpm of an archive that `make archive` has made: `make packages`, into dist/.

nfpm packs them. They hold the archive as it is and run its `install.sh`, so there is one way of
installing.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tools.lock import LOCK, PRODUCT

FOLDER = LOCK.parent / "deploy/packages"
FORMS = ("deb", "rpm")
# As nfpm calls them; it knows what the forms of packages call them
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_NAME = re.compile(rf"^{PRODUCT}-(.+)-linux-(x86_64|aarch64)\.tar\.gz$")


def build(archive: Path, out: Path) -> list[Path]:
    """Makes a package of each form and returns where they are.

    Raises SystemExit where the file is no archive of the product.
    """
    found = _NAME.match(archive.name)
    if found is None:
        sys.exit(f"packages: {archive.name} is no archive of make archive")
    version, architecture = found.groups()
    made = []
    with tempfile.TemporaryDirectory() as work:
        with tarfile.open(archive) as files:
            files.extractall(work, filter="data")
        (folder,) = Path(work).iterdir()
        folder.rename(folder.with_name("archive"))
        for file in FOLDER.iterdir():
            shutil.copy(file, work)

        values = {
            "PACKAGE_VERSION": version,
            "PACKAGE_ARCHITECTURE": _ARCHITECTURES[architecture],
        }
        for form in FORMS:
            package = out / f"{PRODUCT}-{version}-{architecture}.{form}"
            nfpm = [str(Path(sys.executable).with_name("nfpm")), "package", "--packager", form]
            subprocess.run(
                [*nfpm, "--config", "nfpm.yaml", "--target", str(package.absolute())],
                cwd=work,
                env={**os.environ, **values},
                stdout=subprocess.DEVNULL,
                check=True,
            )
            made.append(package)
    return made


def main() -> None:
    """Packs every archive in dist/."""
    out = Path("dist")
    archives = sorted(out.glob(f"{PRODUCT}-*-linux-*.tar.gz"))
    if not archives:
        sys.exit("packages: there is no archive in dist/: make archive")
    for archive in archives:
        for package in build(archive, out):
            print(f"packages: {package} ({package.stat().st_size / 1e6:.0f} MB)", file=sys.stderr)


if __name__ == "__main__":
    main()
