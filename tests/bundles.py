"""Reads the support bundles that `sync-agent doctor` writes."""

import tarfile
from pathlib import Path


def texts_in(bundle: Path) -> dict[str, str]:
    """Returns the texts in a bundle, by their names without that of its folder."""
    found = {}
    with tarfile.open(bundle) as packed:
        for member in packed:
            file = packed.extractfile(member)
            assert file is not None
            found[member.name.partition("/")[2]] = file.read().decode()
    return found
