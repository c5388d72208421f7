"""Answers that are neither the upstream's nor a refusal: to preflights, and to `OPTIONS *`."""

from __future__ import annotations

import time
from email.utils import formatdate

from gateway.dataplane.answering import drainable
from gateway.model.exchange import Exchange
from gateway.model.own_answer import OwnAnswer
from gateway.outcomes import Outcome


def answer_itself(exchange: Exchange, own: OwnAnswer) -> None:
    """Note the outcome and send the answer. It has no body; one that the request has is not used."""
    downstream = exchange.downstream
    exchange.outcome = Outcome.ANSWERED
    if not drainable(exchange):
        downstream.close_after_answer = True
    date = b"Date: %b\r\n" % formatdate(time.time(), usegmt=True).encode()
    downstream.answer(204, b"No Content", [date, own.lines], None)
    downstream.complete()
    exchange.route = own.route  # for the books; not before, since this is no answer to a call on it
