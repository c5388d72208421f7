"""How a refusal looks: one problem document (RFC 9457) with `code`, `detail` and `request_id`, always."""

from __future__ import annotations

import json
import logging
import time
from email.utils import formatdate

from gateway.dataplane.answering import drainable
from gateway.errors import ClientGone, GatewayError, Overloaded
from gateway.model.exchange import Exchange
from gateway.model.usage import Marks
from gateway.outcomes import Outcome

log = logging.getLogger("tollway.dataplane")


def problem_document(error: GatewayError, request_id: str) -> dict[str, object]:
    """The members of the document. Reveals nothing but the error's own words."""
    return {
        "type": error.problem_type,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
        "instance": f"urn:uuid:{request_id}",
        **error.extensions,
    }


def refuse(exchange: Exchange, error: GatewayError) -> None:
    """Note the outcome and send the answer; where one has begun already, cut the connection instead."""
    downstream = exchange.downstream
    _log(exchange, error)
    if exchange.status:
        # Whoever breaks off an answer, by nonsense or by hanging up, has had what came of it: it is not free.
        at_fault = error.outcome is Outcome.BAD_REQUEST
        exchange.outcome = exchange.outcome or (Outcome.CLIENT_ABORTED if at_fault else error.outcome)
        downstream.abort()
        return
    exchange.outcome = exchange.outcome or error.outcome
    if not exchange.begun:  # else its begin is written, and the outcome says enough
        refused_by = error.extensions.get("violated-policies", ())
        assert isinstance(refused_by, list | tuple), "names of policies"
        exchange.marks = Marks(error.code, tuple(map(str, refused_by)))
    if isinstance(error, ClientGone):
        return
    body = json.dumps(problem_document(error, exchange.request_id.decode())).encode()
    lines = [
        b"Content-Type: application/problem+json\r\nCache-Control: no-store\r\n",
        b"Date: %b\r\n" % formatdate(time.time(), usegmt=True).encode(),
        error.headers,
    ]
    if not drainable(exchange):
        downstream.close_after_answer = True
    downstream.answer(error.status, error.title.encode(), lines, len(body))
    if exchange.head.method != "HEAD":
        exchange.egress_bytes += len(body)
        downstream.body(body)
    downstream.complete()


def _log(exchange: Exchange, error: GatewayError) -> None:
    is_ours = (
        error.status >= 500 and error.outcome is not Outcome.BAD_REQUEST
    )  # else anybody could fill the log
    is_news = is_ours and not isinstance(error, Overloaded)  # which the worker has told for all
    level = logging.WARNING if is_news else logging.DEBUG
    if log.isEnabledFor(level):
        fields: dict[str, object] = {
            "code": error.code,
            "status": error.status,
            "request_id": exchange.request_id.decode(),
        }
        if exchange.route is not None:
            fields["route"] = exchange.route.name
            if exchange.begun:  # by then it is known which one the call goes to
                fields["upstream"] = exchange.route.upstream.name
        if error.target:
            fields["target"] = error.target
        if error.internal:
            fields["error"] = error.internal
        log.log(level, "refused", extra=fields)
