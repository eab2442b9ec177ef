"""Holds the certificate of `service.listen`, and takes up a renewed one."""

import logging
import os
import ssl
import threading

from agent.config import ServiceTlsSettings
from agent.errors import CertificateRefused
from agent.messages import phrase, system_reason

_log = logging.getLogger(__name__)
_State = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate with its key, in two files.

    They are looked at before each connection: who renews them need tell nobody. As long as the new
    ones cannot be used, the old ones are.
    """

    def __init__(self, settings: ServiceTlsSettings) -> None:
        """Raises CertificateRefused where the files cannot be used."""
        self._settings = settings
        self._lock = threading.Lock()
        self._state = self._look()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """Returns what the next connection is made with."""
        with self._lock:
            state = self._look()
            if state != self._state:
                self._state = state
                self._renew()
            return self._context

    def _renew(self) -> None:
        try:
            self._context = self._load()
        except CertificateRefused as error:
            _log.warning("certificate_unusable code=%s error=%s", error.code, error.text("en"))
        else:
            _log.info("certificate_renewed file=%s", self._settings.cert_file)

    def _look(self) -> _State:
        """Returns what changes when the files do."""
        states = []
        for file in (self._settings.cert_file, self._settings.key_file):
            try:
                found = os.stat(file)  # noqa: PTH116 - the settings hold texts
                states.append((found.st_ino, found.st_mtime_ns, found.st_size))
            except OSError:
                states.append((0, 0, 0))
        return tuple(states)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        settings = self._settings
        try:
            # Without a password OpenSSL would ask for that of an encrypted key at the terminal
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
        except OSError as error:  # ssl.SSLError is one
            raise CertificateRefused(reason=_reason(error)) from None
        return context


def _reason(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return system_reason(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return phrase("the key is that of another certificate")
    return phrase("there is no certificate and key in PEM form, or the key has a password")
