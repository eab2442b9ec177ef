"""Runs a real Chromium without a window, and asks it over its debugging pipe."""

import base64
import json
import os
import select
import subprocess
import time
from types import TracebackType
from typing import Any, Self

from tests.services.processes import Workspace
from tests.waiting import PATIENCE

# Commands come in on descriptor 3, answers go out on 4
_START = 'exec "$@" 3<&{read} 4>&{write}'
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # it runs as root in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)


class Chromium:
    """One browser with one tab."""

    def __init__(self) -> None:
        self._workspace = Workspace("chromium")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        options = [*_OPTIONS, f"--user-data-dir={self._workspace.path}"]
        start = _START.format(read=theirs_in, write=theirs_out)
        self._process = subprocess.Popen(
            ["bash", "-c", start, "bash", "chromium", *options, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._received = b""
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session = ""
        try:
            self.ask("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._in)
            os.close(self._out)
            self._workspace.close()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Has the browser do something and returns its answer; events go to `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                found = answer["result"]
                assert isinstance(found, dict)
                return found
            self.events.append(answer)

    def load(self, address: str, width: int, height: int, scheme: str = "light") -> list[str]:
        """Loads a page in a window of this size; returns the addresses that were asked."""
        phone = width < 500
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        answer = self.ask("Page.navigate", url=address)
        assert not answer.get("errorText"), answer
        while not self._seen("Page.loadEventFired"):
            self.events.append(self._next())
        requests = self._seen("Network.requestWillBeSent")
        return [request["params"]["request"]["url"] for request in requests]

    def run(self, script: str) -> Any:
        """Evaluates a script in the page and returns its plain value."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self) -> bytes:
        """Returns what the window shows, as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])

    def _seen(self, method: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("method") == method]

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], deadline - time.monotonic())
            assert ready, "Chromium does not answer"
            data = os.read(self._in, 1 << 20)
            assert data, "Chromium has ended"
            self._received += data
        line, _, self._received = self._received.partition(b"\0")
        found = json.loads(line)
        assert isinstance(found, dict)
        return found
