"""Makes copies of the product with one deliberate mistake each, its planted bugs."""

import shutil
from pathlib import Path
from typing import Literal, NamedTuple

Tier = Literal["real", "model", "simulation", "states", "log"]

ROOT = Path(__file__).parent.parent.parent


class PatchFailed(Exception):
    """The product has changed so that a planted bug no longer fits: the registry must follow."""


class Edit(NamedTuple):
    """`old` stands once in `file` and becomes `new`."""

    file: str
    old: str
    new: str


class Bug(NamedTuple):
    """A deliberately broken variant of the product."""

    name: str
    what: str
    edits: tuple[Edit, ...]
    # Where it is looked for: on real servers, with PostgreSQL as the source or (log) with MariaDB,
    # or in memory (tests/faults/batch.py)
    tier: Tier = "real"

    @property
    def mark(self) -> str:
        """Returns what each process of the variant writes on stderr as it begins.

        It proves that the variant is what runs.
        """
        return f"planted_bug name={self.name}"

    def patched(self, file: str, text: str) -> str:
        """Returns the text of a file with this bug's edits. Raises PatchFailed."""
        for edit in self.edits:
            if edit.file == file:
                if text.count(edit.old) != 1:
                    raise PatchFailed(
                        f"planted bug {self.name}: {file} has {text.count(edit.old)} times, "
                        f"instead of once:\n{edit.old}"
                    )
                text = text.replace(edit.old, edit.new)
        return text

    def plant(self, directory: Path) -> Path:
        """Makes the variant in `directory`, for use as PYTHONPATH, and returns that folder.

        Raises PatchFailed.
        """
        shutil.copytree(
            ROOT / "agent", directory / "agent", ignore=shutil.ignore_patterns("__pycache__")
        )
        for file in {edit.file for edit in self.edits}:
            path = directory / "agent" / file
            path.write_text(self.patched(file, path.read_text(encoding="utf-8")), encoding="utf-8")
        with (directory / "agent" / "__init__.py").open("a", encoding="utf-8") as package:
            package.write(
                f"\nimport os, sys\nsys.stderr.write(f'{self.mark} pid={{os.getpid()}}\\n')\n"
            )
        return directory
