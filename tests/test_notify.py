"""The messages to systemd, read from a real socket."""

import os
import socket
from contextlib import closing

import pytest

from agent.service.notify import Notifier
from tests.services.systemd import Systemd


def test_messages_of_a_service_s_life(systemd: Systemd) -> None:
    notifier = Notifier(str(systemd.path), watchdog_seconds=10)
    notifier.alive(100)
    notifier.ready()
    notifier.status("3 of 3 tables are live")
    notifier.status("3 of 3 tables are live")
    notifier.alive(104.9)
    notifier.alive(105)
    notifier.stopping()
    assert systemd.messages() == [
        "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=60000000",
        "READY=1",
        "STATUS=3 of 3 tables are live",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_reload_is_told_with_its_time_and_needs_more_time(
    systemd: Systemd,
) -> None:
    notifier = Notifier(str(systemd.path))
    notifier.ready()
    notifier.reloading()
    notifier.alive(0)
    _, reloading, alive = systemd.messages()
    begins, moment = reloading.split("\n")
    assert begins == "RELOADING=1"
    assert int(moment.removeprefix("MONOTONIC_USEC=")) > 0
    assert "EXTEND_TIMEOUT_USEC" in alive


def test_nobody_who_listens_is_no_error(systemd: Systemd) -> None:
    Notifier().ready()
    notifier = Notifier(str(systemd.path))
    systemd.socket.close()
    notifier.ready()
    systemd.path.unlink()
    notifier.ready()


def test_a_name_without_a_file() -> None:
    """Such sockets live in Linux's abstract namespace."""
    name = f"sync-agent-test-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(f"\0{name}")
        listening.setblocking(False)
        Notifier(f"@{name}").ready()
        assert listening.recv(1000) == b"READY=1"


def test_the_environment_is_taken(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.path))
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier.from_environment()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
    notifier.ready()
    for now in (0, 1.9, 2, 3, 4):
        notifier.alive(now)
    assert systemd.messages() == ["READY=1", *["WATCHDOG=1"] * 3]
