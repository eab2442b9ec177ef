"""Writes the files of a set-up: all of them, or none."""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from agent.errors import SetupRefused
from agent.files import agent_account, user_name
from agent.messages import mark, phrase, system_reason

_CONFIG_MODE = 0o640  # the service reads it by its group
_SECRET_MODE = 0o600  # the service owns it


class NewFile(NamedTuple):
    """A file to be written."""

    path: Path
    text: str
    secret: bool
    replace: bool = False  # one that is there


def refuse_target(config: Path, example: str, *, overwrite: bool) -> None:
    """Raises SetupRefused where the configuration cannot be written, before anything is asked.

    A file that is still the example, as an installation leaves it, may be replaced.
    """
    folder = config.absolute().parent
    if not folder.is_dir():
        raise SetupRefused(reason=phrase("there is no folder {folder}: make it", folder=folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        user = user_name(os.geteuid())
        text = mark(
            "user {user} may not write into {folder}: run it as root, or name another file by -c"
        )
        raise SetupRefused(reason=phrase(text, user=user, folder=folder))
    if not overwrite and is_kept(config, example):
        text = mark("{path} is there already: name another file by -c, or add --overwrite")
        raise SetupRefused(reason=phrase(text, path=config))


def is_kept(config: Path, example: str) -> bool:
    """Tells whether there is a configuration that somebody has written."""
    try:
        return config.read_text(encoding="utf-8") != example
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):
        return True


def write(files: Sequence[NewFile], account_folders: Sequence[Path]) -> None:
    """Writes the files; where one cannot be, none is there afterwards that was not before.

    They belong to the agent's user where root writes them; `account_folders` tell who that is.
    Raises SetupRefused.
    """
    written: list[Path] = []
    waiting: list[tuple[Path, NewFile]] = []
    try:
        for file in files:
            waiting.append((_temporary(file, account_folders), file))
        for temporary, file in waiting:
            fresh = not file.path.exists()
            _place(temporary, file)
            if fresh:
                written.append(file.path)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            path = files[len(written)].path if len(written) < len(files) else files[-1].path
            reason = phrase("{path}: {reason}", path=path, reason=system_reason(error))
            raise SetupRefused(reason=reason) from None
        raise
    finally:
        for temporary, _ in waiting:
            temporary.unlink(missing_ok=True)


def _temporary(file: NewFile, account_folders: Sequence[Path]) -> Path:
    """Writes a file beside its place, with its rights; nobody else can read it meanwhile."""
    folder = file.path.parent
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{file.path.name}.")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(file.text)
            stream.flush()
            _give(stream.fileno(), file, account_folders)
            os.fsync(stream.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return path


def _give(descriptor: int, file: NewFile, account_folders: Sequence[Path]) -> None:
    account = agent_account(*account_folders) if os.geteuid() == 0 else None
    if account is not None:
        uid, gid = account
        os.fchown(descriptor, uid if file.secret else 0, gid)
    os.fchmod(descriptor, _SECRET_MODE if file.secret else _CONFIG_MODE)


def _place(temporary: Path, file: NewFile) -> None:
    """Gives a file its name in one step. Raises FileExistsError unless one may be replaced."""
    if file.replace:
        temporary.replace(file.path)
    else:
        os.link(temporary, file.path)
