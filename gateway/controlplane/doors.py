"""Guessing and flooding at the portal are slowed down: by address, by mail address, by both together."""

from __future__ import annotations

from collections import OrderedDict

from aiohttp import web

from gateway.clock import Clock
from gateway.controlplane.problems import Problem, too_many_attempts
from gateway.model.networks import address_block
from gateway.throttle import Throttle

QUARTER_S = 900
HOUR_S = 3600
MOST_REMEMBERED = 20_000


def caller_of(request: web.Request) -> str:
    """The caller's address. Of IPv6 the network: whoever has one address of it has them all."""
    return address_block(request.remote or "")


class Doors:
    """Counts tries and raises Problem 429 for those beyond. None of it depends on who is registered."""

    def __init__(self, clock: Clock) -> None:
        self._log_ins_of_caller = Throttle(clock, 30, QUARTER_S)
        self._log_ins_of_email = Throttle(clock, 50, QUARTER_S)
        self._log_ins_of_both = Throttle(clock, 10, QUARTER_S)
        self._codes = Throttle(clock, 10, HOUR_S)
        self._tokens = Throttle(clock, 30, QUARTER_S)
        self._requests = Throttle(clock, 20, HOUR_S)
        self._mails = Throttle(clock, 5, HOUR_S)
        self._friends: OrderedDict[tuple[str, str], None] = OrderedDict()

    def log_in(self, caller: str, email: str) -> None:
        """Somebody gives a password. Who logged in from here before is not locked out by what others try."""
        both = f"{caller} {email.casefold()}"
        _pass(self._log_ins_of_both.take(both))
        if (caller, email.casefold()) in self._friends:
            return
        try:
            _pass(self._log_ins_of_caller.take(caller))
            _pass(self._log_ins_of_email.take(email.casefold()))
        except Problem:
            self._log_ins_of_both.give_back(both)
            raise

    def logged_in(self, caller: str, email: str) -> None:
        """The password was right."""
        pair = caller, email.casefold()
        self._log_ins_of_both.give_back(" ".join(pair))
        if pair not in self._friends:
            self._log_ins_of_caller.give_back(caller)
            self._log_ins_of_email.give_back(email.casefold())
        self._friends[pair] = None
        self._friends.move_to_end(pair)
        if len(self._friends) > MOST_REMEMBERED:
            self._friends.popitem(last=False)

    def code(self, person: str) -> None:
        """Somebody who knows the password gives a code."""
        _pass(self._codes.take(person))

    def code_was_right(self, person: str) -> None:
        """It was no guess."""
        self._codes.give_back(person)

    def token(self, caller: str) -> None:
        """Somebody gives a token of a mail or of a session."""
        _pass(self._tokens.take(caller))

    def token_was_right(self, caller: str) -> None:
        """It was no guess."""
        self._tokens.give_back(caller)

    def mail(self, caller: str, email: str) -> None:
        """Somebody wants us to send a mail."""
        _pass(self._requests.take(caller))
        _pass(self._mails.take(email.casefold()))


def _pass(wait_s: int) -> None:
    if wait_s:
        raise too_many_attempts("That has been tried too often. Try again later.", wait_s)
