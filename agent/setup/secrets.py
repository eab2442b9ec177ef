"""Passwords: where they are is asked, and what is typed is written into files of their own.

Until everything is answered, a typed password is in memory only: in a file without a name, which
the settings of this run read instead of the one that is not there yet.
"""

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from secrets import token_urlsafe
from types import TracebackType
from typing import Any, Self

from agent.messages import mark, translate
from agent.setup.dialogue import Dialogue, Question, Refused, filled, one_of

NONE = "none"

_WAYS = ("type", "new", "file", "credential", NONE)
_BYTES = 24  # of a password that is made


class Secrets:
    """The passwords typed in one run. Closes their files in memory at the end of the context."""

    def __init__(self, folder: Path, agent: str, *, overwrite: bool) -> None:
        """`folder`: of the configuration. `overwrite`: a file that is there may be replaced."""
        self._folder = folder
        self._agent = agent
        self._overwrite = overwrite
        self.typed: dict[Path, str] = {}
        self._open: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def ask(self, dialogue: Dialogue, place: str, peer: str, user: str) -> dict[str, str] | None:
        """Asks where the password of `user` is; None: there is none.

        `place` is the setting's, `peer` names a file of it. Raises AnswerMissing, Refused.
        """
        given = dialogue.given(place)
        if isinstance(given, Mapping):
            return {str(name): str(value) for name, value in given.items()}

        file = self._file(peer)
        default = "file" if is_filled(file) else NONE
        if dialogue.asks_each and default == NONE:
            default = "type"
        how = dialogue.ask(_where(place, user, default), one_of(*_WAYS))
        if how == NONE:
            return None
        if how == "credential":
            text = translate(mark("Name of the systemd credential"))
            name = dialogue.ask(Question(f"{place}.credential", text, f"{peer}-password"), filled)
            return {"credential": name}

        written = how in ("type", "new")
        text = translate(mark("File that holds it"))
        if written:
            text = translate(mark("File to write it into, which the service alone can read"))
        named = dialogue.ask(Question(f"{place}.file", text, str(file)), filled)
        path = Path(named).absolute()
        if written:
            self._refuse(place, path)
            self._keep(path, self._new(dialogue, place, user, how))
        return {"file": str(path)}

    def _file(self, peer: str) -> Path:
        """Returns the file of a password, beside the configuration."""
        name = f"{peer}.password" if self._agent == "agent" else f"{self._agent}.{peer}.password"
        return self._folder / name

    def _refuse(self, place: str, path: Path) -> None:
        """Raises Refused where a password cannot be written into a file."""
        if is_filled(path) and not self._overwrite:
            text = mark("{path} is there already: answer `file` to use it, or name another one")
            raise Refused(place, translate(text, path=path))
        if not path.parent.is_dir():
            raise Refused(place, translate(mark("{path}: there is no such folder"), path=path))

    def _new(self, dialogue: Dialogue, place: str, user: str, how: str) -> str:
        """Returns a password: a made one, which nobody has to know, or what somebody types."""
        if how == "new":
            return token_urlsafe(_BYTES)
        text = translate(mark("Password of {user} (not shown)"), user=user)
        return dialogue.ask(Question(f"{place}.typed", text, hidden=True), filled)

    def _keep(self, path: Path, password: str) -> None:
        descriptor = os.memfd_create("password", os.MFD_CLOEXEC)
        os.write(descriptor, password.encode())
        before = self._open.get(str(path))
        if before is not None:
            os.close(before)
        self._open[str(path)] = descriptor
        self.typed[path] = password

    def live(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Returns settings of which this run can read the typed passwords."""
        return {name: self._live(value) for name, value in copy.deepcopy(dict(data)).items()}

    def _live(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if value.keys() == {"file"} and value["file"] in self._open:
            return {"file": f"/proc/self/fd/{self._open[value['file']]}"}
        return {name: self._live(inner) for name, inner in value.items()}


def _where(place: str, user: str, default: str) -> Question:
    text = mark(
        "Password of {user}: type (typed now, kept in a file), new (made now, for a role that "
        "`init --apply --as` makes), file (one that is there), credential (systemd), none (login "
        "without one)"
    )
    return Question(place, translate(text, user=user), default)


def is_filled(path: Path) -> bool:
    """Tells whether there is a file with something in it: an empty one waits for a password."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False
