"""Packs the parts of a support bundle into one archive."""

import io
import os
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.support.parts import Part

CONTENTS = "CONTENTS.txt"


def pack(target: Path, parts: Sequence[Part], say: Callable[[str], None]) -> list[str]:
    """Writes the archive, which its owner alone can read; returns the parts that are missing.

    A part that cannot be collected is left out; the list of contents says why. `say` is given the
    name of each part before it is collected. Raises OSError where the archive cannot be written,
    FileExistsError where there is a file of that name.
    """
    folder = target.name.removesuffix(".tar.gz")
    contents, missing = [], []
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for part in parts:
            say(part.file)
            began = time.monotonic()
            try:
                text = part.collect()
            # Whatever it is: the other parts are wanted all the more
            except Exception as error:  # noqa: BLE001
                missing.append(part.file)
                contents.append(f"{part.file}: not collected: {type(error).__name__}")
                continue
            seconds = time.monotonic() - began
            size = _add(archive, f"{folder}/{part.file}", text)
            contents.append(f"{part.file}: {size} bytes, collected in {seconds:.1f} s")
        _add(archive, f"{folder}/{CONTENTS}", "\n".join(contents) + "\n")
    return missing


def _add(archive: tarfile.TarFile, name: str, text: str) -> int:
    content = text.encode()
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(content), int(time.time()), 0o600
    archive.addfile(info, io.BytesIO(content))
    return len(content)
