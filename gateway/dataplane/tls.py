"""TLS of a port: a certificate that can be replaced while it is in use."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from gateway.errors import StartupError

log = logging.getLogger("tollway.dataplane")

WATCH_S = 2.0


class Certificate:
    """A server's certificate chain and key in PEM files, and the context that presents them.

    New connections get what the files held when they last fitted together; open ones are not touched.
    """

    def __init__(self, chain: Path, key: Path, settings: str = "TOLLWAY_TLS") -> None:
        """StartupError in one line if the files can not be used. `settings`: how those of the port begin."""
        self._chain, self._key = chain, key
        self._seen = self._fingerprint()
        problem = self._problem()
        if problem:
            raise StartupError(f"{settings}_CERT and {settings}_KEY can not be used: {problem}.")
        self.context = _context(chain, key)

    def reload_if_changed(self) -> bool:
        """Take changed files into use; whether they were. Files that do not fit change nothing."""
        seen = self._fingerprint()
        if seen == self._seen:
            return False
        self._seen = seen
        problem = self._problem()
        if problem:
            log.error("the new certificate is not used, the old one stays", extra={"error": problem})
            return False
        self.context.load_cert_chain(self._chain, self._key)
        log.info("certificate replaced", extra={"file": str(self._chain)})
        return True

    async def watch(self) -> None:
        """Look for changed files until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            self.reload_if_changed()

    def _problem(self) -> str:
        """Why the files can not be used; empty if they can. Tried apart: a failed load spoils a context."""
        try:
            _context(self._chain, self._key)
        except ssl.SSLError as error:
            return f"{self._chain} and {self._key}: {error.reason or 'not a certificate with its key'}"
        except OSError as error:
            return f"{error.filename or self._chain}: {error.strerror}"
        return ""

    def _fingerprint(self) -> object:
        try:
            return [(status.st_mtime_ns, status.st_ino) for status in (self._chain.stat(), self._key.stat())]
        except OSError as error:
            return error.errno


def _context(chain: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(chain, key, password=_no_password)
    return context


def _no_password() -> str:
    """An encrypted key is refused instead of asking at a terminal nobody watches."""
    return ""
