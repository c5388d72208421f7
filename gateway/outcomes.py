"""The closed list of ways a request can end. Exactly one per request."""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """How a request ended. The numbers are written to disk: never reuse one."""

    SERVED = 1  # the upstream answered below 500 and the caller got all of it
    CLIENT_ABORTED = 2  # the caller hung up or never finished its request
    UPSTREAM_ERROR = 3  # no usable answer, or one of 500 and above
    UPSTREAM_ABORTED = 4  # the upstream broke off within its answer
    TIMEOUT = 5  # the upstream took longer than the route allows
    ANSWERED = 6  # by the gateway itself: a preflight, `OPTIONS *`
    RATE_LIMITED = 10
    QUOTA_EXCEEDED = 11
    FEATURE_REQUIRED = 12
    UNAUTHENTICATED = 13
    FORBIDDEN = 14
    NO_ROUTE = 15
    BAD_REQUEST = 16
    OVERLOADED = 17  # a worker, pool, queue or disk of the gateway is full
    ADMISSION_UNAVAILABLE = 18  # Redis or Postgres is needed and gone
    ACCESS_ENDED = 19  # the caller lost its right while it was answered: key, account or feature gone
    INTERRUPTED = 30  # begun, never ended: the worker died
    UNEXPECTED = 31  # a defect of ours: raises an alarm

    @property
    def label(self) -> str:
        """The public name, as in metrics, usage rows and the API."""
        return self.name.lower()
