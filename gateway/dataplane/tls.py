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
        found = self._read()
        if isinstance(found, str):
            raise StartupError(f"{settings}_CERT and {settings}_KEY can not be used: {found}.")
        self.context = self._in_use = found
        self.context.sni_callback = self._present

    def reload_if_changed(self) -> bool:
        """Take changed files into use; whether they were. Files that do not fit change nothing."""
        seen = self._fingerprint()
        if seen == self._seen:
            return False
        self._seen = seen
        found = self._read()
        if isinstance(found, str):
            log.error("the new certificate is not used, the old one stays", extra={"error": found})
            return False
        self._in_use = found
        log.info("certificate replaced", extra={"file": str(self._chain)})
        return True

    async def watch(self) -> None:
        """Look for changed files until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            self.reload_if_changed()

    def _read(self) -> ssl.SSLContext | str:
        """A context of what the files hold now, or why they can not be used.

        Each time another one: a load that fails, as of files that change between two looks, spoils a context.
        """
        try:
            return _context(self._chain, self._key)
        except ssl.SSLError as error:
            return f"{self._chain} and {self._key}: {error.reason or 'not a certificate with its key'}"
        except OSError as error:
            return f"{error.filename or self._chain}: {error.strerror}"

    def _present(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:  # noqa: ARG002  its shape is given
        """Called in each handshake, with or without a name in it: this connection gets what is in use."""
        connection.context = self._in_use

    def _fingerprint(self) -> object:
        try:
            # The time of the last change, since files that are made readable, or copied with the times of the
            # old ones, have no other mark.
            return [(status.st_ctime_ns, status.st_ino) for status in (self._chain.stat(), self._key.stat())]
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
