"""Runs the service as supervised processes.

Starts capture and publisher, restarts whichever stops making progress, ends both within seconds.
"""

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from agent import failpoints
from agent.errors import EX_CONFIG, EX_TEMPFAIL, AgentError
from agent.messages import Phrase, phrase, plain
from agent.service.control import CONTROL_FD, NONCE, WAKE_FD
from agent.service.last_end import LastEnd
from agent.service.metrics import ERRORS, RESTARTS, Metrics
from agent.service.notify import Notifier
from agent.service.restarts import End, Kill, Restarts, Start
from agent.service.summary import summary

_log = logging.getLogger(__name__)
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # SIGHUP reloads where that is possible
_LONGEST_SLEEP = 5.0  # so that health sees the loop turn


class Supervisor:
    """Runs two commands as children until a signal or their own word ends the service.

    `commands` in order: capture, which gets the write end of the wake pipe, then publish, which
    gets the read end. The rules are `Restarts`'; this class does what they say. `run` must be
    called in the main thread, where the signals arrive.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        nonce: str,
        metrics: Metrics,
        restarts: Restarts,
        last_end: LastEnd | None = None,
        notifier: Notifier | None = None,
        reload: Callable[[], bool] | None = None,
    ) -> None:
        """Takes, besides, whom to tell how the service is, and what SIGHUP does.

        `reload` reads the configuration again and tells whether it can be used. Without it, SIGHUP
        ends the service: its terminal is gone.
        """
        self._commands = commands
        self._nonce = nonce
        self._metrics = metrics
        self._restarts = restarts
        self._last_end = last_end
        self._notifier = notifier or Notifier()
        self._reload = reload
        self._halted = ""  # the stage that ends the service
        self._at_work: set[str] = set()  # stages that have made progress
        self._asked: set[str] = set()  # stages that were asked to end
        self._silent: set[str] = set()  # stages that were killed for want of a sign of life
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._received: dict[str, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._exit_code: int | None = None

    def run(self) -> int:
        """Runs the service and returns its exit code."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._selector.close)
            self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, self._wake[0])
            stack.callback(os.close, self._wake[1])
            self._catch_signals(stack)
            stack.callback(self._kill_all)
            self._restarts.begin(time.monotonic())
            while self._exit_code is None:
                self._turn()
        if self._exit_code == 0 and self._all_work:
            self._forget()
        _log.info("service_ended status=%d", self._exit_code)
        return self._exit_code

    def _turn(self) -> None:
        self._metrics.turn()
        self._notifier.status(summary(self._metrics))
        if not self._restarts.is_stuck:
            self._notifier.alive(time.monotonic())
        for action in self._restarts.due(time.monotonic()):
            match action:
                case Start(stage, attempt):
                    self._start(stage, attempt)
                case Kill(stage, number, reason):
                    _log.log(
                        logging.WARNING if number is signal.SIGKILL else logging.INFO,
                        "child_signalled stage=%s signal=%s reason=%s",
                        stage,
                        number.name,
                        reason,
                    )
                    self._children[stage].send_signal(number)
                    if number is signal.SIGTERM:
                        self._asked.add(stage)
                    if reason == "silent":
                        self._silent.add(stage)
                case End(code):
                    self._exit_code = code
                    return
        wait = min(_LONGEST_SLEEP, max(0.0, self._restarts.next_time - time.monotonic()))
        for key, _ in self._selector.select(wait):
            if key.data is None:
                self._take_signals()
            else:
                self._receive(key.data)
        self._reap()

    # ---- signals ----

    def _catch_signals(self, stack: contextlib.ExitStack) -> None:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        stack.callback(os.close, read)
        stack.callback(os.close, write)
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write, warn_on_full_buffer=False))
        for number in (*_ENDS, signal.SIGCHLD):
            before = signal.signal(number, self._on_signal)
            stack.callback(signal.signal, number, before)
        self._signal_pipe = read
        self._selector.register(read, selectors.EVENT_READ, None)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """The work is done in the loop, which the wake-up descriptor wakes."""

    def _take_signals(self) -> None:
        for number in os.read(self._signal_pipe, 4096):
            if number == signal.SIGHUP and self._reload is not None:
                self._take_up_configuration(self._reload)
            elif number in _ENDS:
                _log.info("service_stopping signal=%s", signal.Signals(number).name)
                self._notifier.stopping()
                self._restarts.stop(time.monotonic())

    def _take_up_configuration(self, reload: Callable[[], bool]) -> None:
        """Has both stages begin again with the configuration as it is now, if it can be used."""
        self._notifier.reloading()
        if reload():
            self._restarts.reload(time.monotonic())
        else:
            self._notifier.ready()

    # ---- children ----

    def _start(self, stage: str, attempt: int) -> None:
        ours, theirs = socket.socketpair()
        wake = self._wake[1] if stage == next(iter(self._commands)) else self._wake[0]
        environment = os.environ | {
            CONTROL_FD: str(theirs.fileno()),
            WAKE_FD: str(wake),
            NONCE: self._nonce,
        }
        with theirs:
            child = subprocess.Popen(
                self._commands[stage],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=(theirs.fileno(), wake, *failpoints.inherited()),
            )
        ours.setblocking(False)
        self._children[stage], self._sockets[stage], self._received[stage] = child, ours, b""
        self._selector.register(ours, selectors.EVENT_READ, stage)
        self._metrics.started(stage, child.pid)
        if attempt > 1:
            self._metrics.count(f"{RESTARTS}/{stage}")
        _log.info("child_started stage=%s pid=%d attempt=%d", stage, child.pid, attempt)

    def _receive(self, stage: str) -> None:
        try:
            data = self._sockets[stage].recv(1 << 20)
        except OSError:
            data = b""
        if not data:  # the child is ending or has closed its end: its exit tells the rest
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._sockets[stage])
            return
        *lines, self._received[stage] = (self._received[stage] + data).split(b"\n")
        for line in lines:
            self._message(stage, json.loads(line))

    def _message(self, stage: str, message: dict[str, Any]) -> None:
        self._restarts.beat(stage, time.monotonic())
        match message:
            case {"ready": _}:
                self._restarts.ready(stage, time.monotonic())
                if stage == next(iter(self._commands)):
                    self._notifier.ready()
                _log.info("child_ready stage=%s", stage)
            case {"failed": {"code": str(code), "values": dict(values)}}:
                self._metrics.failed(stage, code, values)
            case {"suspended": {"resource": str(name), "code": str(code), "values": dict(values)}}:
                self._metrics.suspended(name, code, values)
            case {"well": _}:
                self._well(stage)
            case {"active": _}:
                self._metrics.active()
            case {"standby": {"host": str(host), "since": float(since)}}:
                self._stands_by(host, since)
            case _:
                self._beat(stage, message)

    def _stands_by(self, active: str, since: float) -> None:
        """Another host is active. Where this one was, the service ends, to begin as its standby.

        Its publisher and its figures are those of an active one.
        """
        if self._metrics.is_active:
            self._restarts.give_up(EX_TEMPFAIL, time.monotonic())
            return
        self._metrics.standby(active, since)
        self._notifier.ready()
        self._forget()

    def _beat(self, stage: str, message: dict[str, Any]) -> None:
        try:
            self._metrics.beat(message["gauges"], message["counters"], message["observations"])
        except (KeyError, ValueError) as error:
            _log.warning("metric_unknown stage=%s name=%s", stage, error)

    def _well(self, stage: str) -> None:
        """A stage has made progress; when both have, what ended the service before is past."""
        over = self._metrics.well(stage)
        if over is not None:
            _log.info(
                "stage_well stage=%s code=%s attempts=%d seconds=%d",
                stage,
                over.error.code,
                over.attempts,
                int(time.time() - over.since),
            )
        if stage not in self._at_work:
            self._at_work.add(stage)
            if self._all_work:
                self._forget()

    @property
    def _all_work(self) -> bool:
        return self._at_work == self._commands.keys()

    def _forget(self) -> None:
        if self._last_end is not None:
            self._last_end.forget()

    def _reap(self) -> None:
        for stage, child in list(self._children.items()):
            status = child.poll()
            if status is None:
                continue
            self._receive_rest(stage)
            del self._children[stage]
            self._sockets.pop(stage).close()
            self._metrics.ended(stage)
            self._note_end(stage, status)
            _log.log(
                logging.INFO if status == 0 else logging.WARNING,
                "child_ended stage=%s pid=%d status=%d",
                stage,
                child.pid,
                status,
            )
            self._restarts.ended(stage, status, time.monotonic())

    def _note_end(self, stage: str, status: int) -> None:
        """Notes what the end of a child means for its stage, and why the service has ended."""
        was_asked = stage in self._asked
        self._asked.discard(stage)
        # One that has just begun does not handle the signal yet
        if status == 0 or (was_asked and status == -signal.SIGTERM):
            return
        if status not in (EX_CONFIG, EX_TEMPFAIL):
            self._metrics.count(f"{ERRORS}/{stage}/{AgentError.code}")
            self._metrics.failed(
                stage, AgentError.code, {"detail": plain(self._how(stage, status))}
            )
        elif not self._halted:
            self._halted = stage
            failure = self._metrics.failures[stage]
            error = failure.error if failure else AgentError(detail=self._how(stage, status))
            if self._last_end is not None:
                self._last_end.note(stage, error)
        self._silent.discard(stage)

    def _how(self, stage: str, status: int) -> Phrase:
        """How a child ended."""
        if stage in self._silent:
            return phrase("the process {stage} gave no sign of life and was killed", stage=stage)
        if status < 0:
            number = -status
            name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
            return phrase("the process {stage} was ended by {signal}", stage=stage, signal=name)
        return phrase(
            "the process {stage} ended with exit status {status}", stage=stage, status=status
        )

    def _receive_rest(self, stage: str) -> None:
        while self._sockets[stage].fileno() in self._selector.get_map():
            self._receive(stage)

    def _kill_all(self) -> None:
        for child in self._children.values():
            child.kill()
            child.wait()
        for sock in self._sockets.values():
            sock.close()
