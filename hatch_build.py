"""Compiles the translations when a wheel or an editable install is built."""

from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Translations(BuildHookInterface):  # type: ignore[type-arg]
    """Writes the .mo file beside each .po file; the wheel takes them in as artifacts."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build."""
        for source in Path(self.root, "agent", "locale").glob("*/LC_MESSAGES/*.po"):
            with source.open("rb") as text:
                catalogue = read_po(text)
            compiled = BytesIO()
            write_mo(compiled, catalogue)
            _replace(source.with_suffix(".mo"), compiled.getvalue())


def _replace(file: Path, content: bytes) -> None:
    """Makes `file` hold `content`. A program that reads it meanwhile finds one or the other."""
    if file.exists() and file.read_bytes() == content:
        return

    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.replace(file)
