"""What stands at the ends of the pipeline when nobody calls: one who listens, no journal, no upstream."""

from __future__ import annotations

import json
from collections.abc import Mapping

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from gateway.accounts.keys import mint
from gateway.accounts.records import FoundKey
from gateway.auth.authenticator import Authenticator
from gateway.clock import Clock
from gateway.dataplane.head import HeadReader
from gateway.errors import BadRequest, GatewayError
from gateway.metering.request_ids import RequestIds
from gateway.model.exchange import Exchange, RequestHead
from gateway.model.principal import Mode, Principal
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots


class HeadOf:
    """Reads a head as workers do. `broken` is why it can not be, if it can not."""

    def __init__(self, method: str, target: str, host: str, headers: Mapping[str, str]) -> None:
        reader = HeadReader()
        self.head = RequestHead()
        self.broken: GatewayError | None = None
        self.on_url, self.on_header, self._reader = reader.url, reader.header, reader
        self._parser = HttpRequestParser(self)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            self._parser.feed_data("\r\n".join([*lines, "", ""]).encode("ascii"))
        except HttpParserUpgrade:
            pass  # the head is read, and nothing comes behind it
        except HttpParserError:
            self.broken = self.broken or BadRequest()

    def on_headers_complete(self) -> None:
        """The parser has seen all of it."""
        parser = self._parser
        try:
            self.head = self._reader.finish(
                parser.get_method(), keep_alive=parser.should_keep_alive(), version=parser.get_http_version
            )
        except GatewayError as error:
            self.broken = error


class Listener:
    """Stands where the caller's connection is: hears the answer and keeps it."""

    def __init__(self) -> None:
        self.close_after_answer = False
        self.status: int | None = None
        self.lines = b""
        self._body = b""

    @property
    def problem(self) -> dict[str, object] | None:
        """The document of a refusal."""
        found: dict[str, object] | None = json.loads(self._body) if self._body else None
        return found

    def answer(self, status: int, reason: bytes, lines: list[bytes], length: int | None) -> None:  # noqa: ARG002  as `Downstream` says
        self.status, self.lines = status, b"".join(lines)

    def body(self, data: bytes) -> None:
        self._body += data

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None:
        """Nobody forwards, so there is none."""

    def switch(self, reason: bytes, lines: list[bytes]) -> None:
        """As above."""

    def hang_up(self, farewell: bytes) -> None:
        """As above."""

    def flush(self) -> None:
        """Everything is kept anyway."""

    complete = abort = end_tunnel = pause_upload = resume_upload = flush


class Ends:
    """Stands where journal, upstream and overload are."""

    share = 0.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reached_upstream = False

    def identify(self, exchange: Exchange) -> None:
        """An id that no call has."""
        exchange.started_at_us = self._clock.now_us()
        exchange.started_monotonic_us = self._clock.monotonic_us()
        exchange.request_id = RequestIds.make(exchange.started_at_us).text(0)

    def begin(self, exchange: Exchange) -> None:
        """Nothing is noted."""

    def end(self, exchange: Exchange) -> None:
        """As above."""

    def sheds(self) -> bool:
        """Workers know whether they are overloaded; here nobody is."""
        return False

    async def forward(self, exchange: Exchange) -> None:  # noqa: ARG002  as `Forwarding` says
        """It would go to the upstream now."""
        self.reached_upstream = True


class Shown:
    """Lets a caller who is known by its id pass for one who shows a key, to a worker's authenticator."""

    def __init__(
        self, found: FoundKey | None, clock: Clock, tasks: Tasks, key_prefix: str, *, nothing: bool
    ) -> None:
        """`found`: who it is; None: a key that does not work. `nothing`: nothing is shown at all."""

        async def look_up(_: bytes) -> FoundKey | None:
            return found

        self._found = found
        self._nothing = nothing
        self._secret = mint(key_prefix, Mode.LIVE).secret.encode()
        self._authenticator = Authenticator(look_up, Slots.in_memory(), clock, tasks, key_prefix)

    async def authenticate(self, exchange: Exchange) -> Principal:
        route, found = exchange.route, self._found
        if route is not None and not route.access.keys and route.access.issuers and found is not None:
            # Callers of this route show a token that names their account.
            return self._authenticator.usable(found.principal, exchange, active=found.active)
        if not self._nothing:
            exchange.head.api_key = self._secret
        return await self._authenticator.authenticate(exchange)
