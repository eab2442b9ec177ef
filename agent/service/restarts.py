"""Decides when which child process is started, stopped and killed.

These are the supervisor's rules, without I/O and with the time handed in.
"""

import math
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from agent.errors import EX_CONFIG, EX_TEMPFAIL


class Start(NamedTuple):
    """Start this stage's process; `attempt` counts from 1."""

    stage: str
    attempt: int


class Kill(NamedTuple):
    """Send this signal to the stage's process."""

    stage: str
    number: signal.Signals
    reason: str


class End(NamedTuple):
    """No process is left: the service ends with this code."""

    code: int


Action = Start | Kill | End


class State(Enum):
    """Where a stage stands."""

    HELD = "held"  # waits for the first stage's word that it is ready
    DUE = "due"  # is started at `time`
    RUNNING = "running"  # hangs when it is silent until `time`
    RENEWING = "renewing"  # has been asked to end and is started again; is killed at `time`
    ENDING = "ending"  # has been asked to end; is killed at `time`
    KILLED = "killed"
    ENDED = "ended"


@dataclass
class _Stage:
    state: State
    time: float = math.inf
    attempt: int = 0
    started: float = -math.inf
    back_off: float = 0.0

    def enter(self, state: State, time: float = math.inf) -> None:
        self.state, self.time = state, time


class Restarts:
    """The rules for a chain of stages, of which the later ones wait for the first to be ready.

    - A process that ends by itself is started again, after 0.2 s, doubling to 3 s; after 0.2 s
      again once it has lived for 30 s.
    - Exit status 78 or 75 of one ends the service with that code: the others get SIGTERM, and
      SIGKILL when their grace is over.
    - A process that has given no sign of life for `silence` seconds is killed and started again.
    - `reload` ends all in good order and starts them again, the later ones once the first is ready.
    - `stop` ends all with 0; a second `stop` kills at once.

    Report what happened (`beat`, `ready`, `ended`, `reload`, `stop`), then carry out what `due`
    returns; nothing is due before `next_time`.
    """

    FIRST_WAIT, LONGEST_WAIT, LONG_LIFE = 0.2, 3.0, 30.0

    def __init__(self, stages: Sequence[str], silence: float = 60.0, grace: float = 8.0) -> None:
        self._first = stages[0]
        self._first_is_ready = False  # since the service began, or was asked to reload
        self._stages = {stage: _Stage(State.HELD) for stage in stages}
        self._silence, self._grace = silence, grace
        self._code: int | None = None  # set: the service is ending
        self._pending: list[Kill] = []

    def begin(self, now: float) -> None:
        """Begins the service."""
        self._stages[self._first].enter(State.DUE, now)

    def ready(self, stage: str, now: float) -> None:
        """Notes that a stage works."""
        if stage == self._first:
            self._first_is_ready = True
            for other in self._stages.values():
                if other.state is State.HELD:
                    other.enter(State.DUE, now)

    def beat(self, stage: str, now: float) -> None:
        """Notes a sign of life of a stage."""
        if self._stages[stage].state is State.RUNNING:
            self._stages[stage].time = now + self._silence

    def ended(self, name: str, status: int, now: float) -> None:
        """Notes that a stage's process has ended.

        `status` is as subprocess gives it (negative: the signal).
        """
        stage = self._stages[name]
        # It has ended before it was asked to
        self._pending = [kill for kill in self._pending if kill.stage != name]
        if self._code is None and status not in (EX_CONFIG, EX_TEMPFAIL):
            if stage.state is State.RENEWING:
                self._renew(name, stage, now)
                return
            long_life = now - stage.started >= self.LONG_LIFE
            if long_life or not stage.back_off:
                stage.back_off = self.FIRST_WAIT
            else:
                stage.back_off = min(stage.back_off * 2, self.LONGEST_WAIT)
            stage.enter(State.DUE, now + stage.back_off)
            return
        stage.enter(State.ENDED)
        if self._code is None:
            self._end(status, now, f"{name}_exited_{status}")

    def reload(self, now: float) -> None:
        """Has every process end in good order and begin again; nothing where the service ends."""
        if self._code is not None:
            return
        self._first_is_ready = False
        for name, stage in self._stages.items():
            if stage.state is State.RUNNING:
                self._pending.append(Kill(name, signal.SIGTERM, "reload"))
                stage.enter(State.RENEWING, now + self._grace)

    def _renew(self, name: str, stage: _Stage, now: float) -> None:
        """Starts a process again that has ended for a reload: it is no failed attempt."""
        stage.attempt, stage.back_off = 0, 0.0
        if name == self._first or self._first_is_ready:
            stage.enter(State.DUE, now)
        else:
            stage.enter(State.HELD)

    @property
    def is_stuck(self) -> bool:
        """Tells whether a process has been killed and still has not ended."""
        return any(stage.state is State.KILLED for stage in self._stages.values())

    def stop(self, now: float) -> None:
        """Ends the service; the second call ends it at once."""
        if self._code is None:
            self._end(0, now, "service_stops")
            return
        for stage in self._stages.values():
            if stage.state is State.ENDING:
                stage.time = now

    def give_up(self, code: int, now: float) -> None:
        """Ends the service, whose place another host has taken."""
        if self._code is None:
            self._end(code, now, "place_taken")

    def _end(self, code: int, now: float, reason: str) -> None:
        self._code = code
        for name, stage in self._stages.items():
            if stage.state is State.RUNNING:
                self._pending.append(Kill(name, signal.SIGTERM, reason))
                stage.enter(State.ENDING, now + self._grace)
            elif stage.state is State.RENEWING:  # it has been asked already
                stage.enter(State.ENDING, stage.time)
            elif stage.state in (State.HELD, State.DUE):
                stage.enter(State.ENDED)

    @property
    def _all_gone(self) -> bool:
        return all(stage.state is State.ENDED for stage in self._stages.values())

    @property
    def next_time(self) -> float:
        """The time before which nothing becomes due unless something happens."""
        if self._pending or self._all_gone:
            return -math.inf
        return min(stage.time for stage in self._stages.values())

    def due(self, now: float) -> list[Action]:
        """Returns what is to be done now, in this order; each action is handed out once."""
        actions: list[Action] = [*self._pending]
        self._pending = []
        for name, stage in self._stages.items():
            if stage.time > now:
                continue
            if stage.state is State.DUE:
                stage.attempt += 1
                stage.started = now
                stage.enter(State.RUNNING, now + self._silence)
                actions.append(Start(name, stage.attempt))
            elif stage.state in (State.RUNNING, State.RENEWING, State.ENDING):
                reason = "silent" if stage.state is State.RUNNING else "still_alive"
                stage.enter(State.KILLED)
                actions.append(Kill(name, signal.SIGKILL, reason))
        if self._code is not None and self._all_gone:
            actions.append(End(self._code))
        return actions
