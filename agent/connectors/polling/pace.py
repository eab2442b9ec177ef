"""Bounds how many rows are read from the business database in a second."""

import time
from collections.abc import Callable


class Pace:
    """Rests after what was read, until it is as much as may be read in that time."""

    def __init__(
        self,
        rows_per_second: int | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rows_per_second`: None for no bound. `monotonic` tells the seconds that pass."""
        self._rate = rows_per_second
        self._monotonic = monotonic
        self._rest_until = 0.0

    def limit(self, rows: int) -> int:
        """Returns how many of these rows may be read at once: a second's worth at the most."""
        return rows if self._rate is None else min(rows, self._rate)

    def read(self, rows: int) -> None:
        """Notes that so many rows were read."""
        if self._rate is not None and rows:
            begin = max(self._monotonic(), self._rest_until)
            self._rest_until = begin + rows / self._rate

    def rest(self) -> float:
        """Returns for how many seconds no more rows may be read."""
        return max(0.0, self._rest_until - self._monotonic())
