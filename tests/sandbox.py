"""Runs a program under those walls of a unit file that need no systemd: `python -m tests.sandbox
UNIT PROGRAM ARGUMENTS...`.

They are the filter of system calls, the ban on memory that is written and run, and
NoNewPrivileges. Groups of system calls are those of this machine's systemd.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

_PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 38, 65
_MDWE_REFUSE_EXEC_GAIN = 1
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_EPERM = 1
# What systemd allows beside every list, see SystemCallFilter= in systemd.exec(5)
_ALWAYS = ["@default"]


def directives(unit: Path) -> dict[str, list[str]]:
    """Reads the settings of a unit file, each with all its values in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def members(group: str) -> set[str]:
    """Returns the system calls of a group such as @system-service."""
    if not group.startswith("@"):
        return {group}
    printed = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    found: set[str] = set()
    for line in printed.splitlines()[1:]:
        name = line.strip()
        if name and not name.startswith("#"):
            found |= members(name)
    return found


def allowed(filters: list[str]) -> set[str]:
    """Returns the system calls that SystemCallFilter= lines allow, of which the first allows."""
    found: set[str] = set()
    for group in _ALWAYS:
        found |= members(group)
    for line in filters:
        for group in line.removeprefix("~").split():
            if line.startswith("~"):
                found -= members(group)
            else:
                found |= members(group)
    return found


def enter(unit: Path) -> None:
    """Puts this process, and all that it starts, behind the walls of a unit file."""
    wanted = directives(unit)
    libc = ctypes.CDLL(None, use_errno=True)
    assert wanted["NoNewPrivileges"] == ["yes"]
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    calls = allowed(wanted["SystemCallFilter"])

    assert wanted["MemoryDenyWriteExecute"] == ["yes"]
    if libc.prctl(_PR_SET_MDWE, _MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
        print("sandbox: a kernel before 6.3 lets memory be written and run", file=sys.stderr)

    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_ERRNO | _EPERM)))
    for name in sorted(calls):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert seccomp.seccomp_rule_add(rules, ctypes.c_uint32(_ALLOW), number, 0) == 0
    assert seccomp.seccomp_load(rules) == 0


if __name__ == "__main__":
    enter(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
