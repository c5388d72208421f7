"""Every way the gateway can say no, in one file.

`str(error)` is for the caller and reveals nothing; `internal` is for our log. Codes are public API: they are
documented in `docs/errors.md` and never reused.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.outcomes import Outcome

QUOTA_EXCEEDED_TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY_TYPE = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"


class TollwayError(Exception):
    """Root of everything this project raises on purpose."""


class StartupError(TollwayError):
    """The process can not start. The message is one clear line for the person at the terminal."""


class StoreUnavailable(TollwayError):
    """The store (Redis) did not answer, or answered that it can not work now. Says nothing secret.

    `unsent`: nothing reached the store, so asking again can not do the same thing twice.
    `told`: an outage, which is in the log already.
    """

    def __init__(self, message: str, *, unsent: bool = False, told: bool = False) -> None:
        self.unsent, self.told = unsent, told
        super().__init__(message)


class StoreRefused(StoreUnavailable):
    """The store answered, and did not do it. `said`: its own words."""

    def __init__(self, said: str, *, told: bool = False) -> None:
        self.said = said
        super().__init__(f"Redis refused the call: {said}", told=told)


class CountersLost(StoreUnavailable):
    """The store works, but its quota counters may have been lost and are not rebuilt from the ledger yet."""


class NotFound(TollwayError):
    """There is no such record."""


class Conflict(TollwayError):
    """What is there does not go together with what was asked for."""


class Invalid(TollwayError):
    """A value can not be taken. `field` is the name of the argument; the message never repeats the value."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message
        super().__init__(f"{field}: {message}")


class GatewayError(TollwayError):
    """A call that ends without (or before) an answer of the upstream's.

    `detail` is sent to the caller; `internal` only to the log, as is `target`, the one of an upstream's that
    failed the call. `headers` are complete header lines for the answer, `extensions` further members of the
    problem document (RFC 9457, section 3.2).
    """

    code = "internal_error"
    status = 500
    title = "Internal Error"
    problem_type = "about:blank"
    outcome = Outcome.UNEXPECTED
    default_detail = "The gateway failed. The failure has been recorded."

    def __init__(
        self,
        detail: str | None = None,
        *,
        internal: str = "",
        headers: bytes = b"",
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        self.detail = detail or self.default_detail
        self.internal = internal
        self.target = ""
        self.headers = headers
        self.extensions: Mapping[str, object] = extensions or {}
        super().__init__(self.detail)


class BadRequest(GatewayError):
    """The bytes are not a request we accept. Never echoes them."""

    code, status, title = "bad_request", 400, "Bad Request"
    outcome = Outcome.BAD_REQUEST
    default_detail = "The request is not valid HTTP/1.1."


class RequestTimeout(GatewayError):
    """The caller began a request and did not finish sending it."""

    code, status, title = "request_timeout", 408, "Request Timeout"
    outcome = Outcome.CLIENT_ABORTED
    default_detail = "The request did not arrive in time."


class BodyTooLarge(GatewayError):
    """The request body is, or says that it will be, larger than the route takes."""

    code, status, title = "body_too_large", 413, "Content Too Large"
    outcome = Outcome.BAD_REQUEST

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            f"The request body is larger than the {most_bytes} bytes that are taken here.",
            extensions={"max_body_bytes": most_bytes},
        )


class LengthRequired(GatewayError):
    """The call's cost depends on the size of its body, and the caller does not say it."""

    code, status, title = "length_required", 411, "Length Required"
    outcome = Outcome.BAD_REQUEST
    default_detail = "This route is charged by size. Send a Content-Length."


class TargetTooLong(GatewayError):
    """The request target is longer than we accept."""

    code, status, title = "target_too_long", 414, "URI Too Long"
    outcome = Outcome.BAD_REQUEST
    default_detail = "The request target is too long."


class HeadTooLarge(GatewayError):
    """More header bytes or lines than we accept."""

    code, status, title = "head_too_large", 431, "Request Header Fields Too Large"
    outcome = Outcome.BAD_REQUEST
    default_detail = "The request head is too large."


class ExpectationUnknown(GatewayError):
    """An `Expect` other than `100-continue` (RFC 9110, section 10.1.1)."""

    code, status, title = "expectation_unknown", 417, "Expectation Failed"
    outcome = Outcome.BAD_REQUEST
    default_detail = "Only `Expect: 100-continue` is understood."


class VersionRefused(GatewayError):
    """Neither HTTP/1.1 nor HTTP/1.0."""

    code, status, title = "version_refused", 505, "HTTP Version Not Supported"
    outcome = Outcome.BAD_REQUEST
    default_detail = "Only HTTP/1.1 and HTTP/1.0 are spoken here."


class MethodRefused(GatewayError):
    """TRACE and CONNECT are never relayed."""

    code, status, title = "method_refused", 405, "Method Not Allowed"
    outcome = Outcome.BAD_REQUEST
    default_detail = "This method is not relayed."


class NotImplementedHere(GatewayError):
    """A transfer coding the gateway does not speak."""

    code, status, title = "not_implemented", 501, "Not Implemented"
    outcome = Outcome.BAD_REQUEST
    default_detail = "The gateway does not relay this transfer coding."


class NoRoute(GatewayError):
    """No route of the policies matches method, host and path."""

    code, status, title = "no_route", 404, "Not Found"
    outcome = Outcome.NO_ROUTE
    default_detail = "No route matches this request."


class Unauthenticated(GatewayError):
    """No key, or none that works. Unknown, malformed, expired and revoked keys look alike."""

    code, status, title = "unauthenticated", 401, "Unauthorized"
    outcome = Outcome.UNAUTHENTICATED
    default_detail = "Send a valid API key as `Authorization: Bearer <key>` or `X-API-Key: <key>`."

    def __init__(self, *, internal: str = "") -> None:
        super().__init__(internal=internal, headers=b'WWW-Authenticate: Bearer realm="tollway"\r\n')


class TooManyGuesses(GatewayError):
    """So many keys that do not work came from there, or began like this one, that it is not looked up."""

    code, status, title = "too_many_attempts", 429, "Too Many Requests"
    outcome = Outcome.UNAUTHENTICATED
    default_detail = (
        "Too many keys or tokens that do not work came from here, or begin like this one. Try again later."
    )

    def __init__(self, *, by: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        headers = b"Retry-After: %d\r\n" % retry_after_s
        super().__init__(internal=f"too many wrong keys by {by}", headers=headers)


class AddressRefused(GatewayError):
    """The route's rules do not let this address in. Said before anything is asked of the caller."""

    code, status, title = "address_refused", 403, "Forbidden"
    outcome = Outcome.FORBIDDEN
    default_detail = "Calls from this address are not accepted here."


class AccountSuspended(GatewayError):
    """The key is good, the account behind it is not active."""

    code, status, title = "account_suspended", 403, "Forbidden"
    outcome = Outcome.FORBIDDEN
    default_detail = "This account is not active."


class KeyRestricted(GatewayError):
    """The key is good, but not for this route, method or address."""

    code, status, title = "key_restricted", 403, "Forbidden"
    outcome = Outcome.FORBIDDEN
    default_detail = "This key may not be used for this."


class InsufficientScope(GatewayError):
    """The key or token works, but was not given a scope that the route asks for (RFC 6750, section 3.1)."""

    code, status, title = "insufficient_scope", 403, "Forbidden"
    outcome = Outcome.FORBIDDEN
    default_detail = "Your key or token lacks a scope that this call needs."


class FeatureRequired(GatewayError):
    """The tier does not include what the route requires."""

    code, status, title = "feature_required", 403, "Forbidden"
    outcome = Outcome.FEATURE_REQUIRED
    default_detail = "Your tier does not include this feature."


class RateLimited(GatewayError):
    """A token bucket is empty. The caller may try again after `Retry-After`."""

    code, status, title = "rate_limited", 429, "Quota Exceeded"
    problem_type = QUOTA_EXCEEDED_TYPE
    outcome = Outcome.RATE_LIMITED
    default_detail = "Too many requests."


class ConcurrencyExceeded(GatewayError):
    """As many calls as the tier allows at once are under way, and no slot became free in time."""

    code, status, title = "concurrency_exceeded", 429, "Quota Exceeded"
    problem_type = QUOTA_EXCEEDED_TYPE
    outcome = Outcome.RATE_LIMITED
    default_detail = "Too many calls at once."


class QuotaExceeded(GatewayError):
    """The amount of a period is used up."""

    code, status, title = "quota_exceeded", 429, "Quota Exceeded"
    problem_type = QUOTA_EXCEEDED_TYPE
    outcome = Outcome.QUOTA_EXCEEDED
    default_detail = "The quota of this period is used up."


class AdmissionUnavailable(GatewayError):
    """Limits can not be decided right now and the policy says to refuse."""

    code, status, title = "admission_unavailable", 503, "Temporary Reduced Capacity"
    problem_type = REDUCED_CAPACITY_TYPE
    outcome = Outcome.ADMISSION_UNAVAILABLE
    default_detail = "Limits can not be checked right now. Try again shortly."


class KeyLookupUnavailable(GatewayError):
    """A key not seen before can not be looked up right now. Never answered as 401."""

    code, status, title = "key_lookup_unavailable", 503, "Temporary Reduced Capacity"
    problem_type = REDUCED_CAPACITY_TYPE
    outcome = Outcome.ADMISSION_UNAVAILABLE
    default_detail = "Keys can not be checked right now. Try again shortly."

    def __init__(self, *, internal: str = "") -> None:
        super().__init__(internal=internal, headers=b"Retry-After: 2\r\n")


class TierUnknown(GatewayError):
    """The account's tier is not in the policies: an operator's mistake, not the caller's."""

    code, status, title = "tier_unknown", 503, "Service Unavailable"
    outcome = Outcome.ADMISSION_UNAVAILABLE
    default_detail = "The tier of this account is not available. Its operator has been told."


class JournalUnavailable(GatewayError):
    """The call can not be recorded, so it is not made."""

    code, status, title = "journal_unavailable", 503, "Temporary Reduced Capacity"
    problem_type = REDUCED_CAPACITY_TYPE
    outcome = Outcome.OVERLOADED
    default_detail = "Calls can not be recorded right now. Try again shortly."

    def __init__(self, *, internal: str = "") -> None:
        super().__init__(internal=internal, headers=b"Retry-After: 5\r\n")


class Overloaded(GatewayError):
    """This worker can not keep up, so the call is not begun."""

    code, status, title = "overloaded", 503, "Temporary Reduced Capacity"
    problem_type = REDUCED_CAPACITY_TYPE
    outcome = Outcome.OVERLOADED
    default_detail = "The gateway has more to do than it can. Try again shortly."

    def __init__(self) -> None:
        super().__init__(headers=b"Retry-After: 1\r\n")


class UpstreamBusy(GatewayError):
    """Every connection to the upstream is in use, and too many calls wait, or this one has for too long."""

    code, status, title = "upstream_busy", 503, "Service Unavailable"
    outcome = Outcome.OVERLOADED
    default_detail = "The upstream is at its limit of connections. Try again shortly."

    def __init__(self, *, internal: str, retry_after_s: int = 1) -> None:
        super().__init__(internal=internal, headers=b"Retry-After: %d\r\n" % retry_after_s)


class UpstreamUnreachable(GatewayError):
    """No connection to the upstream could be made."""

    code, status, title = "upstream_unreachable", 502, "Bad Gateway"
    outcome = Outcome.UPSTREAM_ERROR
    default_detail = "The upstream can not be reached."


class UpstreamInvalid(GatewayError):
    """The upstream closed early or answered with something that is not HTTP."""

    code, status, title = "upstream_invalid", 502, "Bad Gateway"
    outcome = Outcome.UPSTREAM_ERROR
    default_detail = "The upstream did not answer with a valid response."


class UpstreamTimeout(GatewayError):
    """The upstream did not connect or answer in time."""

    code, status, title = "upstream_timeout", 504, "Gateway Timeout"
    outcome = Outcome.TIMEOUT
    default_detail = "The upstream did not answer in time."


class ClientGone(GatewayError):
    """The caller hung up before there was an answer. Nobody is left to read this."""

    code, status, title = "client_gone", 499, "Client Closed Request"
    outcome = Outcome.CLIENT_ABORTED
    default_detail = "The caller closed the connection."
