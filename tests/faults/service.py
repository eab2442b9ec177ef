"""The service with failpoints armed: the product, or a variant of it with a planted bug."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from agent.failpoints import DESCRIPTOR, SETTING
from tests.agent_process import Agent, Installation
from tests.faults.planting import ROOT
from tests.services.clock import Clock
from tests.services.processes import dying_with_parent


class ArmedAgent(Agent):
    """Runs a service, started with the object.

    What has fired is written into a file in memory that all its processes inherit.

    `clock`: what its processes take for the time.
    """

    def __init__(
        self,
        place: Installation,
        setting: str,
        package: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._log = place.log
        self._listen = place.listen
        self._file = os.memfd_create("fired")
        self.clock = clock
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COV", "SYNC_AGENT_"))
        }
        self._environment = kept | {
            "PYTHONPATH": str(package or ROOT),
            SETTING: setting,
            DESCRIPTOR: str(self._file),
        }
        self._environment |= clock.environment if clock else {}
        self._command = [sys.executable, "-P", "-m", "agent", "-c", str(place.config), "run"]
        self.start()

    def start(self) -> None:
        """Starts the service, also once more after it has ended; what has fired fires no more."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                pass_fds=(self._file,),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop the agent
                preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - see there
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, at)
        with suppress(OSError):
            os.close(self._file)

    def fired(self) -> list[str]:
        """Returns the places that have fired, in their order."""
        return os.pread(self._file, 65536, 0).decode().split()
