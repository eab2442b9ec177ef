"""What is acknowledged to the server, and when: a state machine without I/O.

Times are in the clock of its caller. Rules (docs/decisions/psycopg3.md): only positions the front
end has stored are sent; on a timer, whether anything is read or not; a second keepalive within a
second that asks for a reply means the server shuts down; a front end that has accepted nothing for
30 s must not hold the server up.
"""

from dataclasses import dataclass

from agent.messages import phrase

# Seconds without a success of the front end, after which the connection is given up
FRONT_SILENCE = 30.0
PEER_SILENCE = 25.0  # seconds without a byte from the server, after which the link counts as dead
ASK_AFTER = 8.0  # seconds without a byte, after which a status update asks for an answer
SHUTDOWN_WINDOW = 1.0


@dataclass(frozen=True)
class Status:
    """A standby status update to send. Never past what `durable` was told."""

    position: int
    ask: bool  # ask the server for a reply


class Acknowledgement:
    """Decides on status updates.

    `interval` is a third of the server's wal_sender_timeout. All times are monotonic seconds.
    """

    def __init__(self, position: int, interval: float, now: float) -> None:
        self.position = position  # durable in the front end
        self._interval = interval
        self._sent_at = now
        self._sent = 0
        self._heard_at = now
        self._asked_at = float("-inf")

    def durable(self, position: int, now: float) -> Status | None:
        """The front end has committed up to `position`."""
        self.position = max(self.position, position)
        return self._send(now) if self.position > self._sent else None

    def heard(self, now: float) -> None:
        """Bytes came from the server."""
        self._heard_at = now

    def keepalive(self, reply_asked: bool, now: float) -> tuple[Status | None, bool]:
        """Takes a keepalive; returns the answer, and whether the server is shutting down.

        Then it waits for its end to be confirmed.
        """
        if not reply_asked:
            return None, False
        shutting_down = now - self._asked_at < SHUTDOWN_WINDOW
        self._asked_at = now
        # While it shuts down a server answers each reply with the next keepalive: once durable,
        # `durable` sends the end by itself
        if shutting_down and self.position <= self._sent:
            return None, shutting_down
        return self._send(now), shutting_down

    def due(self, now: float) -> Status | None:
        """The timer: an update if one is due."""
        silent = now - self._heard_at > ASK_AFTER
        if now - self._sent_at >= self._between(silent):
            return self._send(now, ask=silent)
        return None

    def next_time(self, front_silent_since: float | None) -> float:
        """Returns the time up to which neither `due` nor `give_up` has anything to say.

        That holds whatever happens meanwhile: a silence of the front end that begins now lasts for
        longer than the time until the server is asked, and `next_time` is asked again then.
        """
        times = [
            self._sent_at + self._interval,
            max(self._sent_at + self._between(silent=True), self._heard_at + ASK_AFTER),
            self._heard_at + PEER_SILENCE,
        ]
        if front_silent_since is not None:
            times.append(front_silent_since + FRONT_SILENCE)
        return min(times)

    def _between(self, silent: bool) -> float:
        """Returns the seconds between two status updates."""
        return min(self._interval, ASK_AFTER / 4) if silent else self._interval

    def give_up(self, front_silent_since: float | None, now: float) -> str:
        """Tells why the connection must be ended, or ''.

        `front_silent_since`: since when a question to the front end is open, None if none is.
        """
        if front_silent_since is not None and now - front_silent_since > FRONT_SILENCE:
            return phrase(
                "the front end has accepted nothing for {seconds} s", seconds=f"{FRONT_SILENCE:g}"
            )
        if now - self._heard_at > PEER_SILENCE:
            return phrase(
                "the server has sent nothing for {seconds} s", seconds=f"{PEER_SILENCE:g}"
            )
        return ""

    def _send(self, now: float, ask: bool = False) -> Status:
        self._sent_at, self._sent = now, self.position
        return Status(self.position, ask)
