"""What a support bundle holds: one part a file, each collected by itself.

No part holds a row's value, a key or a secret. What the agent says of itself holds none; of the
configuration, values in filters and passwords in URLs are left out.
"""

import base64
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from agent.config import ServiceSettings, Settings
from agent.service.health import page
from agent.service.program import program

PATIENCE = 120.0  # seconds for each command
_ASKED = 10.0  # seconds for each byte of a page of the service
_LOG_LINES = 20_000
_LOG_DAYS = 3
_FILTER = re.compile(r"^(filter = ).+$", re.MULTILINE)
# What the service leaves in its folder to be read; databases stay out
_KEPT = ("last-end.json", "last-verify.json", "followed-slot.json")


class Part(NamedTuple):
    """One file of the bundle. `collect` returns its text; it may raise what it likes."""

    file: str
    collect: Callable[[], str]


def parts(config: Path, settings: Settings | None) -> list[Part]:
    """Returns all parts; without settings those that need none, for they are wrong themselves."""
    found = [
        Part("status.json", lambda: _agent(config, "status", "--json")),
        Part("check.json", lambda: _agent(config, "check", "--json")),
        Part("configuration.toml", lambda: _configuration(config)),
        Part("host.txt", _host),
        Part("packages.txt", _packages),
    ]
    if settings is None:
        return found

    name, listen = config.stem, settings.service.listen
    return [
        *found,
        Part("metrics.txt", lambda: _metrics(settings.service)),
        Part("ready.json", lambda: page(listen, "/-/ready", _ASKED).decode()),
        Part("unit.txt", lambda: _unit(name)),
        Part("log.txt", lambda: _log(name)),
        Part("files.txt", lambda: _files(config, settings)),
    ]


# ---- the agent


def _agent(config: Path, *arguments: str) -> str:
    """Has the agent say something in English, as a process of its own: it may hang or break."""
    return _said([*program(config), *arguments], SYNC_AGENT_LANG="en")


def _configuration(config: Path) -> str:
    """Returns the settings in effect without the values in filters, which could be a row's."""
    return _FILTER.sub(r'\1"(left out)"', _agent(config, "show-config"))


# ---- the service


def _metrics(service: ServiceSettings) -> str:
    """Returns /metrics, with the password of the settings where there is one."""
    headers = {}
    if service.password is not None:
        login = f":{service.password.read('service.password')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
    return page(service.listen, "/metrics", _ASKED, headers).decode()


# ---- systemd


def _unit(name: str) -> str:
    unit = f"sync-agent@{name}.service"
    show = ["systemctl", "show", "--no-pager", unit]
    return _said(["systemctl", "cat", "--no-pager", unit]) + "\n" + _said(show)


def _log(name: str) -> str:
    command = ["journalctl", "--no-pager", "--utc", "--output=short-iso"]
    command += [f"--unit=sync-agent@{name}.service", f"--since=-{_LOG_DAYS}d"]
    return _said([*command, f"--lines={_LOG_LINES}"])


# ---- the host


def _host() -> str:
    """Returns what machine this is, and how full and busy."""
    lines = [
        f"time: {datetime.now(UTC).isoformat(timespec='seconds')}",
        f"system: {platform.platform()}",
        f"python: {sys.version}",
        f"processors: {os.cpu_count()}, load: {os.getloadavg()}",
    ]
    for file in (Path("/etc/os-release"), Path("/proc/meminfo")):
        lines += ["", f"{file}:", file.read_text(encoding="utf-8", errors="replace")]
    lines += [_said(["df", "--human-readable", "--local"]), _said(["timedatectl", "show"])]
    return "\n".join(lines)


def _packages() -> str:
    found = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    lines = [f"{name}=={version}" for name, version in found.items()]
    return "\n".join(sorted(lines, key=str.lower))


def _files(config: Path, settings: Settings) -> str:
    """Lists the agent's files with owner and mode; shows those that were left to be read."""
    lines = []
    for folder in (config.parent, Path(settings.state_directory), settings.directory):
        lines.append(f"{folder}:")
        if not folder.is_dir():
            lines.append("  is not there")
            continue
        for file in sorted([folder, *folder.iterdir()]):
            lines.append(f"  {_listed(file)}")
    for name in _KEPT:
        file = settings.directory / name
        if file.is_file():
            lines += ["", f"{file}:", file.read_text(encoding="utf-8")]
    used = shutil.disk_usage(settings.state_directory)
    lines += ["", f"disk of {settings.state_directory}: {used.free} of {used.total} bytes free"]
    return "\n".join(lines)


def _listed(file: Path) -> str:
    """Returns mode, owner, group, size, time of the last change, and name of a file."""
    found = file.lstat()
    changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime))
    mode = stat.filemode(found.st_mode)
    return f"{mode} {found.st_uid}:{found.st_gid} {found.st_size:>12} {changed} {file.name}"


def _said(command: Sequence[str], **variables: str) -> str:
    """Returns what a command prints, and how it ended where that was not well."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except FileNotFoundError:
        return f"# {command[0]}: no such program on this host\n"
    except subprocess.TimeoutExpired:
        return f"# {command[0]}: has not ended within {PATIENCE:g} s\n"

    text = done.stdout
    if done.stderr:
        text += f"\n# standard error:\n{done.stderr}"
    return text
