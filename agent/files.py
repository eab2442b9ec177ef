"""Tells which user the agent's files belong to.

Root acts as that user, and another one is told what it may not use.

A folder that root has made beside a service that runs as a user of its own is a trap: every command
of root's works, and the service cannot write. So root never makes one: its commands run as the
owner of the state directory.
"""

import contextlib
import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path

from agent.errors import FileRefused
from agent.messages import Phrase, mark, phrase

SERVICE_USER = "unit-sync-agent"  # of the systemd unit
_BESIDE = ("-wal", "-shm", "-journal", ".lock")  # endings of what lies beside a SQLite front end


def is_there(path: Path) -> bool:
    """Whether the file is there and may be seen.

    Path.exists would raise where a folder above is closed.
    """
    return os.path.exists(path)  # noqa: PTH110


def user_name(uid: int) -> str:
    """The user's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def act_as_owner(*folders: Path) -> str | None:
    """Makes a process of root's one of the agent's user, for good.

    Returns the user's name, or None where nothing changed.

    The agent's user is the owner of the first of the folders that is there and not root's, else the
    user of the systemd unit where this host has it. Raises FileRefused where root may not become
    that user, or where that user could not read the program.
    """
    if os.geteuid() != 0:
        return None
    found = _agent_user(folders)
    if found is None:
        return None
    uid, gid, folder = found
    try:
        closed = _closed_to(uid, gid)
        if closed is None:
            os.setgid(gid)
            os.setuid(uid)
    except OSError:
        reason = phrase("it belongs to {owner}", owner=user_name(uid))
        remedy = _act_as(user_name(uid))
        raise FileRefused(user="root", path=folder, reason=reason, remedy=remedy) from None
    if closed is not None:
        remedy = phrase("install the program where that user can read it, for example below /opt")
        reason = phrase("Permission denied")
        raise FileRefused(user=user_name(uid), path=closed, reason=reason, remedy=remedy)
    _environment(uid)
    return user_name(uid)


def _closed_to(uid: int, gid: int) -> Path | None:
    """Returns what of the program the user cannot read.

    Takes on the user's groups, and for the time of the question the user.
    """
    os.setgroups(_groups(uid, gid))
    os.setegid(gid)
    os.seteuid(uid)
    try:
        return next((path for path in _program() if not _readable(path)), None)
    finally:
        os.seteuid(0)
        os.setegid(0)


def _program() -> tuple[Path, ...]:
    """The interpreter, its library and ours: what is imported or started later."""
    return Path(sys.executable).resolve(), Path(os.__file__), Path(__file__)


def _readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


def _agent_user(folders: tuple[Path, ...]) -> tuple[int, int, Path] | None:
    for folder in folders:
        if folder.is_dir() and folder.stat().st_uid != 0:
            return folder.stat().st_uid, folder.stat().st_gid, folder
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid, folders[0]


def agent_account(*folders: Path) -> tuple[int, int] | None:
    """Returns user and group to whom files of the agent belong that root makes; None: root's own.

    See `act_as_owner`.
    """
    found = _agent_user(folders)
    return None if found is None else found[:2]


def _groups(uid: int, gid: int) -> list[int]:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return [gid]
    return os.getgrouplist(entry.pw_name, gid)


def _environment(uid: int) -> None:
    """As sudo has it: files such as ~/.pgpass are the new user's."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return
    os.environ.update(HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)


def refused(database: Path) -> FileRefused | None:
    """Tells why this process may not use a SQLite front end; None where it may.

    Its file need not be there yet.
    """
    database = database.absolute()
    folder = above = database.parent
    for part in reversed([folder, *folder.parents]):
        if not os.path.lexists(part):
            return None if os.access(above, os.W_OK | os.X_OK) else _no_folder(folder, above)
        if part != folder and not os.access(part, os.X_OK):
            return _no_way(folder, part)
        above = part
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return None  # nobody may, whoever owns it
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return _belongs(folder, folder)
    for path in _files(database):
        if os.access(path, os.R_OK | os.W_OK):
            continue
        # SQLite takes its -wal and -shm away as it closes: what is gone is nobody's trouble
        with contextlib.suppress(FileNotFoundError):
            return _belongs(path, folder)
    return None


def unusable(database: Path, cause: BaseException) -> FileRefused | None:
    """Returns the error, if this process may not use the file, or one beside it.

    SQLite itself does not say so.
    """
    words = str(cause)
    return refused(database) if "unable to open" in words or "readonly" in words else None


def _files(database: Path) -> Iterator[Path]:
    for path in database.parent.iterdir():
        beside = path.name.startswith(database.name) and path.name.endswith(_BESIDE)
        if path == database or beside:
            yield path


def denied(error: PermissionError) -> FileRefused:
    """The error for a file nobody asked `refused` about."""
    path = Path(os.fsdecode(error.filename))
    me = user_name(os.geteuid())
    remedy = phrase("let {user} use it, or run the command as the agent's user", user=me)
    return FileRefused(user=me, path=path, reason=phrase("Permission denied"), remedy=remedy)


def _belongs(path: Path, folder: Path) -> FileRefused:
    owner, me = path.stat().st_uid, user_name(os.geteuid())
    remedy = _act_as(user_name(owner))
    if owner == 0:
        remedy = phrase("hand it over as root: `chown -R {user}: {folder}`", user=me, folder=folder)
    elif owner == os.geteuid():
        remedy = phrase("give its owner the rights back: `chmod -R u+rwX {folder}`", folder=folder)
    reason = phrase("it belongs to {owner}", owner=user_name(owner))
    return FileRefused(user=me, path=path, reason=reason, remedy=remedy)


def _no_folder(folder: Path, above: Path) -> FileRefused:
    me = user_name(os.geteuid())
    text = mark("it does not exist, and {above} belongs to {owner}")
    reason = phrase(text, above=above, owner=user_name(above.stat().st_uid))
    remedy = phrase(
        "have it made as root: `install -d -m 750 -o {user} {folder}`", user=me, folder=folder
    )
    return FileRefused(user=me, path=folder, reason=reason, remedy=remedy)


def _no_way(folder: Path, part: Path) -> FileRefused:
    me = user_name(os.geteuid())
    reason = phrase("{part} above it is closed to this user", part=part)
    remedy = phrase("run the command as the agent's user, or choose another folder")
    return FileRefused(user=me, path=folder, reason=reason, remedy=remedy)


def _act_as(owner: str) -> Phrase:
    return phrase("run the command as that user: `sudo -u {owner} sync-agent ...`", owner=owner)
