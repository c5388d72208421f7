"""What connections to https targets are secured with."""

from __future__ import annotations

import os
import ssl

from gateway.errors import UpstreamUnreachable
from gateway.model.policies import Tls


class TlsFiles:
    """The TLS context of one upstream, made of its files. Made again when one of them changes."""

    def __init__(self, spec: Tls) -> None:
        self._spec = spec
        named = (("ca", spec.ca), ("client_cert", spec.client_cert), ("client_key", spec.client_key))
        self._files = tuple((key, path) for key, path in named if path is not None)
        self._context: ssl.SSLContext | None = None
        self._made_of: tuple[tuple[int, int], ...] = ()

    def context(self) -> ssl.SSLContext:
        """What new connections use. Raises UpstreamUnreachable when a file is missing or no good.

        Files that turned bad under a context that works change nothing until they are good again.
        """
        try:
            states = tuple(self._state(key, path) for key, path in self._files)
            if self._context is None or states != self._made_of:
                self._context, self._made_of = self._make(), states
        except UpstreamUnreachable:
            if self._context is None:
                raise
        return self._context

    @staticmethod
    def _state(key: str, path: str) -> tuple[int, int]:
        try:
            with open(path, "rb"):  # noqa: PTH123  the quickest way to learn that it can be read
                status = os.stat(path)  # noqa: PTH116  as above
        except OSError as error:
            raise UpstreamUnreachable(internal=f"tls.{key}: {path}: {error.strerror}") from error
        return status.st_mtime_ns, status.st_size

    def _make(self) -> ssl.SSLContext:
        spec = self._spec
        try:
            context = ssl.create_default_context(cafile=spec.ca)
        except (ssl.SSLError, OSError) as error:
            raise UpstreamUnreachable(
                internal=f"tls.ca: {spec.ca}: holds no certificate in PEM format"
            ) from error
        if not spec.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if spec.client_cert is not None:
            try:
                # An empty passphrase: an encrypted key must fail, not ask at the terminal.
                context.load_cert_chain(spec.client_cert, spec.client_key, password="")
            except (ssl.SSLError, OSError) as error:
                message = (
                    f"tls.client_cert: {spec.client_cert}: is no certificate in PEM format, or "
                    f"{spec.client_key} is not its key, or has a passphrase"
                )
                raise UpstreamUnreachable(internal=message) from error
        context.set_alpn_protocols(["http/1.1"])
        return context
