"""The files that come with the program: the example configuration, the systemd unit, the documents.

A wheel carries them below `agent/share`; a checkout of the project has them at its root. Both lay
them out in the same way,
so that the paths that errors name (`docs/OPERATIONS.md`) hold in either.
"""

import re
from pathlib import Path

from agent.messages import language

EXAMPLE = "config/agent.example.toml"
RUNBOOK = "docs/OPERATIONS.md"
_AGENT = Path(__file__).parent.parent
_SHARED = _AGENT / "share"
_PATTERNS = (
    "README*.md",
    "LICENSE",
    "constraints.txt",
    "config/*",
    "deploy/**/*",
    "docs/**/*.md",
)


def folder() -> Path:
    """The folder below which the files lie."""
    return _SHARED if _SHARED.is_dir() else _AGENT.parent


def names() -> list[str]:
    """The path of every file, below `folder`."""
    root = folder()
    found = [path for pattern in _PATTERNS for path in sorted(root.glob(pattern))]
    return [path.relative_to(root).as_posix() for path in found if path.is_file()]


def text(name: str) -> str:
    """The text of a file of `names`."""
    return (folder() / name).read_text(encoding="utf-8")


def find(wanted: str) -> str | None:
    """Returns the text somebody asks for; None where there is no such text.

    `wanted` is a path of `names`, the last part of one, or an error code or alert, which gives its
    runbook.
    Where a page exists in both languages and `wanted` names neither, it is the user's.
    """
    if re.fullmatch(r"[A-Z][A-Z_]+|Agent\w+", wanted) and (section := runbook(wanted)) is not None:
        return section
    for name in names():
        if wanted in (name, Path(name).name):
            return text(name)
    for name in names():
        if wanted in (Path(name).stem, name.removesuffix(".md")):
            return text(_in_language(name))
    return None


def runbook(code: str) -> str | None:
    """What the user's runbook says of an error code or alert, with its heading; None: nothing."""
    page = text(_in_language(RUNBOOK))
    found = re.search(rf"^### {code}\n.*?(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    return found[0].rstrip() + "\n" if found else None


def write_to(target: Path) -> list[Path]:
    """Writes every file below `target`; returns the paths written."""
    written = []
    for name in names():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((folder() / name).read_bytes())
        written.append(path)
    return written


def _in_language(name: str) -> str:
    """The page's Chinese version, where the user reads Chinese and there is one."""
    chinese = f"{name.removesuffix('.md')}.zh-CN.md"
    return chinese if language() == "zh_CN" and chinese in names() else name
