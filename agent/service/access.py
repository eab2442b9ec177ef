"""Decides who is shown what at `service.listen`: by a password, and by the name that was asked."""

import base64
import hmac
import ipaddress
import logging
import socket
import threading
import time
from email.message import Message
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from agent.config import ServiceSettings
from agent.errors import SecretMissing
from agent.messages import mark, phrase
from agent.reach import is_loopback, place

HEALTH = ("/-/healthy", "/-/ready")
METRICS = "/metrics"
_SETTING = "service.password"
_LOG_AGAIN = 60.0  # seconds between two lines of the log about what was refused
_log = logging.getLogger(__name__)


class Request(NamedTuple):
    """What is known of who asks."""

    path: str  # without a query
    headers: Message
    client: str  # its address
    from_here: bool  # from this very host


class Refusal(NamedTuple):
    """What a request is answered that gets nothing else."""

    status: HTTPStatus
    text: str  # a catalogue message
    headers: dict[str, str]


class Access:
    """The rules, in one place.

    - Where a password is set, everything but health needs it. Any user name will do.
    - Without it, pages are shown only to who asks for a name of this host, or for an address. A
      browser that was led here under a foreign name (DNS rebinding) gets nothing. Monitors may use
      any name, unless the address is this host's own.
    - Health is answered to all. Who lacks the password, and asks from another host, learns only
      whether all is well.
    """

    def __init__(self, service: ServiceSettings, agent: str) -> None:
        """Raises SecretMissing where a password is set and cannot be read, or is empty."""
        self._secret = service.password
        self._agent = agent
        host, _ = place(service.listen)
        self._loopback = is_loopback(host)
        machine = socket.gethostname().lower()
        self._names = {"localhost", host.lower(), machine, machine.partition(".")[0]}
        self._lock = threading.Lock()
        self._refused = 0  # since the last line of the log
        self._logged = float("-inf")
        if self._secret is not None:
            self._password()

    def refusal(self, request: Request) -> Refusal | None:
        """Returns why a request is refused; None where it is answered."""
        if request.path in HEALTH:
            return self._misdirected(request) if self._loopback else None
        if self._secret is not None:
            return self._unauthorised(request)
        if request.path == METRICS and not self._loopback:
            return None
        return self._misdirected(request)

    def sees_causes(self, request: Request) -> bool:
        """Tells whether health may say what is wrong, which names hosts and users."""
        if self._secret is None:
            return True
        if request.from_here and self._is_ours(request):
            return True
        return self._unauthorised(request) is None

    # ---- the password ----

    def _password(self) -> bytes:
        """Reads it anew, so that a changed one needs no restart. Raises SecretMissing."""
        assert self._secret is not None
        password = self._secret.read(_SETTING)
        if not password:
            raise SecretMissing(setting=_SETTING, reason=phrase("it is empty"))
        return password.encode()

    def _unauthorised(self, request: Request) -> Refusal | None:
        try:
            password = self._password()
        except SecretMissing as error:
            self._log_refusal(request, error.code)
            text = mark("The password of this page cannot be read; the service's log says why.")
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, text, {})

        given = _given(request.headers.get("Authorization", ""))
        if given is not None and hmac.compare_digest(given, password):
            return None
        if given is not None:
            self._log_refusal(request, "WRONG_PASSWORD")
        realm = f'Basic realm="sync-agent {self._agent}", charset="UTF-8"'
        text = mark("This needs the password of service.password; any user name will do.")
        return Refusal(HTTPStatus.UNAUTHORIZED, text, {"WWW-Authenticate": realm})

    def _log_refusal(self, request: Request, code: str) -> None:
        """Logs it, and how many there were since the last line."""
        now = time.monotonic()
        with self._lock:
            self._refused += 1
            if now - self._logged < _LOG_AGAIN:
                return
            self._logged, number = now, self._refused
            self._refused = 0
        _log.warning("access_refused code=%s client=%s requests=%d", code, request.client, number)

    # ---- the name ----

    def _misdirected(self, request: Request) -> Refusal | None:
        if self._is_ours(request):
            return None
        text = mark(
            "This host is not known under that name. Use its own name or address; "
            "for other names set service.password."
        )
        return Refusal(HTTPStatus.MISDIRECTED_REQUEST, text, {})

    def _is_ours(self, request: Request) -> bool:
        """Tells whether the name that was asked for is one of this host.

        An address is: no foreign name can stand for it. Who sends none is no browser.
        """
        asked = request.headers.get("Host")
        if asked is None:
            return True
        try:
            name = (urlsplit(f"//{asked}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _given(header: str) -> bytes | None:
    """Returns the password of HTTP's basic authentication; None where there is none."""
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except ValueError:  # binascii.Error is one; another is raised for what is not ASCII
        return None
