"""Every metric, its meaning and its closed label values. `docs/metrics.md` is tested against this file."""

from __future__ import annotations

from enum import IntEnum
from zlib import crc32

from gateway.model.billing import Found
from gateway.outcomes import Outcome
from gateway.telemetry.metric import Kind, Metric


class State(IntEnum):
    """How far a process is, as in the metric `state`."""

    STARTING = 0
    READY = 1
    DRAINING = 2
    STOPPED = 3
    RETIRED = 4  # its work is another's; only what it counted is of interest


HEARTBEAT_MAX_US = 5_000_000
"""A process that has not given a sign of life for this long is not counted on."""


def worker_names(number: int) -> tuple[str, str]:
    """The names of a worker and of the one that replaces it, by turns: each counts in a file of its own."""
    return f"worker-{number}", f"worker-{number}b"


_OUTCOMES = ("outcome", tuple(outcome.label for outcome in Outcome))
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_ACTIONS = (
    "action",
    (
        "register", "verify", "login", "refresh", "forgot_password", "reset_password", "change_password",
        "accept_invitation", "totp_enable", "totp_confirm", "totp_disable",
    ),
)  # fmt: skip
_RESULTS = ("result", ("done", "refused", "code_needed", "wrong_code", "slowed", "invalid", "failed"))

NAMES_MAX = 64
OTHER = "other"
"""The label of what is counted under names for which there is no place left."""
_PLACES = (*(str(number) for number in range(NAMES_MAX)), OTHER)

_RECORDER = ("recorder",)
_SUPERVISOR = ("supervisor",)
_CONTROL = ("control",)
_EVERY: tuple[str, ...] = ()

METRICS: tuple[Metric, ...] = (
    Metric("requests_total", Kind.COUNTER, "Requests ended, by outcome.", (_OUTCOMES,)),
    Metric(
        "request_duration_seconds",
        Kind.HISTOGRAM,
        "From the request's first byte to the answer's last.",
        bounds=_SECONDS,
        scale=1_000_000,
    ),
    Metric("ingress_bytes_total", Kind.COUNTER, "Request body bytes received."),
    Metric("egress_bytes_total", Kind.COUNTER, "Answer body bytes sent."),
    Metric(
        "messages_total",
        Kind.COUNTER,
        "WebSocket messages of calls that ended, by direction.",
        (("direction", ("ingress", "egress")),),
    ),
    Metric(
        "messages_refused_total",
        Kind.COUNTER,
        "WebSockets closed for a message that was too large or no valid frame, by who sent it.",
        (("direction", ("ingress", "egress")),),
    ),
    Metric("connections", Kind.GAUGE, "Open client connections."),
    Metric("connections_total", Kind.COUNTER, "Client connections accepted."),
    Metric("connections_refused_total", Kind.COUNTER, "Client connections cut because there were too many."),
    Metric("long_calls", Kind.GAUGE, "Calls that have been under way for more than a second."),
    Metric(
        "long_calls_ended_total",
        Kind.COUNTER,
        "Open calls ended because their caller lost its right, by what was lost.",
        (("reason", ("key", "account", "feature")),),
    ),
    Metric(
        "proxy_protocol_errors_total",
        Kind.COUNTER,
        "Client connections closed because their PROXY preamble was missing or invalid.",
    ),
    Metric(
        "tls_handshake_errors_total", Kind.COUNTER, "TLS handshakes of callers that did not come to an end."
    ),
    Metric(
        "loop_lag_seconds",
        Kind.HISTOGRAM,
        "How late timers run: what every call waits for the others of its worker.",
        bounds=_SECONDS,
        scale=1_000_000,
    ),
    Metric("memory_bytes", Kind.GAUGE, "Memory of the worker itself, mapped files not counted."),
    Metric(
        "overloaded",
        Kind.GAUGE,
        "1 while the worker turns new calls away, by what there is too much of.",
        (("cause", ("lag", "memory")),),
    ),
    Metric(
        "overloaded_since_us",
        Kind.GAUGE,
        "Since when it does, by the clock of `tollway_alive_us`; 0: it does not.",
    ),
    Metric(
        "overload_shed_total",
        Kind.COUNTER,
        "Calls turned away with 503 `overloaded`.",
        (("cause", ("lag", "memory")),),
    ),
    Metric(
        "upstream_calls_total",
        Kind.COUNTER,
        "Calls that went on to their upstream.",
        (("upstream", _PLACES),),
        named=True,
    ),
    Metric(
        "upstream_failures_total",
        Kind.COUNTER,
        "Of these, calls without a whole answer, or with one of 500 and above.",
        (("upstream", _PLACES),),
        named=True,
    ),
    Metric("upstream_connections", Kind.GAUGE, "Open upstream connections, idle ones included."),
    Metric("upstream_connections_total", Kind.COUNTER, "Upstream connections made."),
    Metric("upstream_waiting", Kind.GAUGE, "Calls that wait because all upstream connections are in use."),
    Metric(
        "upstream_waits_total",
        Kind.COUNTER,
        "Calls that found all upstream connections in use, by how their wait ended.",
        (("result", ("connected", "failed", "full", "late", "left")),),
    ),
    Metric(
        "upstream_wait_seconds",
        Kind.HISTOGRAM,
        "How long calls waited because all upstream connections were in use.",
        bounds=_SECONDS,
        scale=1_000_000,
    ),
    Metric(
        "upstream_retries_total",
        Kind.COUNTER,
        "Times a call was tried again, by why.",
        (("reason", ("connect", "stale")),),
    ),
    Metric(
        "upstream_retries_denied_total",
        Kind.COUNTER,
        "Times a call was not tried again because the budget for that was used up.",
    ),
    Metric(
        "upstream_targets",
        Kind.GAUGE,
        "Targets of all upstreams, by whether they take calls.",
        (("state", ("up", "down")),),
    ),
    Metric(
        "upstream_ejections_total",
        Kind.COUNTER,
        "Times a target was taken out, by what showed that it is not well.",
        (("cause", ("calls", "checks")),),
    ),
    Metric(
        "upstream_checks_total",
        Kind.COUNTER,
        "Health checks of targets; those that a fault of ours kept from being made or judged are `broken`.",
        (("result", ("passed", "failed", "broken")),),
    ),
    Metric("admission_store_calls_total", Kind.COUNTER, "Script calls to Redis."),
    Metric("admission_leased_total", Kind.COUNTER, "Calls admitted from a lease, without Redis."),
    Metric(
        "admission_store_lost_total",
        Kind.COUNTER,
        "Calls whose limits Redis could not decide, by what the policy made of them.",
        (("action", ("refuse", "local", "allow")),),
    ),
    Metric(
        "admission_local_refusals_total",
        Kind.COUNTER,
        "Calls refused by a worker's own part of their limits while Redis was gone.",
    ),
    Metric(
        "shadow_refusals_total",
        Kind.COUNTER,
        "Calls admitted that a limit or quota would have refused, had it been enforced for the account.",
        (("limit", _PLACES),),
        named=True,
    ),
    Metric(
        "enforcement_switches",
        Kind.GAUGE,
        "Switches of operators in force in the worker, by what they leave of limits.",
        (("state", ("shadow", "off")),),
    ),
    Metric(
        "quota_beyond_total",
        Kind.COUNTER,
        "Calls admitted beyond a quota that is soft or has overage.",
        (("quota", _PLACES),),
        named=True,
    ),
    Metric(
        "admission_store_up",
        Kind.GAUGE,
        "1 while the worker is connected to Redis, to all primaries of a cluster.",
    ),
    Metric(
        "quota_counters_trusted",
        Kind.GAUGE,
        "0 while quota counters may have been lost and the worker waits until they are rebuilt.",
    ),
    Metric("concurrency_calls", Kind.GAUGE, "Calls under way that hold a slot of a concurrency limit."),
    Metric(
        "concurrency_refused_total",
        Kind.COUNTER,
        "Calls refused because as many as may be at once were under way.",
    ),
    Metric("concurrency_waiting", Kind.GAUGE, "Calls that queue for a slot of a concurrency limit."),
    Metric(
        "concurrency_waits_total",
        Kind.COUNTER,
        "Calls that queued for a slot of a concurrency limit, by how that ended.",
        (("result", ("admitted", "failed", "full", "late", "left", "refused")),),
    ),
    Metric(
        "concurrency_wait_seconds",
        Kind.HISTOGRAM,
        "How long calls queued for a slot of a concurrency limit.",
        bounds=_SECONDS,
        scale=1_000_000,
    ),
    Metric(
        "key_cache_total",
        Kind.COUNTER,
        "Key look-ups by where they ended.",
        (("result", ("hit", "negative_hit", "miss", "malformed", "unavailable")),),
    ),
    Metric(
        "key_guesses_refused_total",
        Kind.COUNTER,
        "Keys not looked up as too many that do not work came from that address, or begin alike.",
        (("by", ("address", "beginning")),),
        roles=("worker", *_CONTROL),
    ),
    Metric(
        "people_attempts_total",
        Kind.COUNTER,
        "Attempts of people to get in, or to change what proves that it is them, by what came of it.",
        (_ACTIONS, _RESULTS),
        roles=_CONTROL,
    ),
    Metric("key_cache_entries", Kind.GAUGE, "Keys in the cache of a worker."),
    Metric("key_lookup_errors_total", Kind.COUNTER, "Questions to Postgres about keys that failed."),
    Metric("key_listener_up", Kind.GAUGE, "1 while key changes are heard of at once; 0: within a minute."),
    Metric("key_listener_lost_total", Kind.COUNTER, "Connections lost on which key changes are heard."),
    Metric("journal_records_total", Kind.COUNTER, "Records written to journals."),
    Metric("journal_errors_total", Kind.COUNTER, "Journal writes that failed."),
    Metric(
        "meter_values_total",
        Kind.COUNTER,
        "Values of declared meters looked for in answers of billed calls, by what came of it; "
        "capped besides: more than the max of a call.",
        (("result", tuple(found.value for found in Found)),),
    ),
    Metric("unrecorded_total", Kind.COUNTER, "Calls that were served and could not be recorded."),
    Metric("recorder_events_total", Kind.COUNTER, "Usage events booked in Postgres.", roles=_RECORDER),
    Metric(
        "recorder_batches_total", Kind.COUNTER, "Transactions committed by the recorder.", roles=_RECORDER
    ),
    Metric(
        "recorder_errors_total",
        Kind.COUNTER,
        "Batches that failed and will be tried again.",
        roles=_RECORDER,
    ),
    Metric(
        "recorder_corrupt_records_total",
        Kind.COUNTER,
        "Journal bytes skipped because a checksum failed.",
        roles=_RECORDER,
    ),
    Metric(
        "recorder_losses_total",
        Kind.COUNTER,
        "Times usage was found gone: segments deleted unbooked, or a ledger older than what it had.",
        roles=_RECORDER,
    ),
    Metric(
        "recorder_lag_seconds",
        Kind.GAUGE,
        "Age of the oldest event not yet booked.",
        scale=1_000_000,
        roles=_RECORDER,
    ),
    Metric(
        "quota_drift_units",
        Kind.GAUGE,
        "Units by which quota counters differed from the ledger when they were last compared.",
        (("standing", ("behind", "ahead", "under_way")),),
        roles=_CONTROL,
    ),
    Metric(
        "quota_repairs_total",
        Kind.COUNTER,
        "Quota counters that were set right, by how they stood to the ledger.",
        (("standing", ("behind", "ahead")),),
        roles=_CONTROL,
    ),
    Metric(
        "quota_rebuilds_total",
        Kind.COUNTER,
        "Times that all quota counters were rebuilt from the ledger, since Redis may have lost some.",
        roles=_CONTROL,
    ),
    Metric(
        "quota_events_total",
        Kind.COUNTER,
        "Thresholds of quotas that accounts reached: below 100 percent, at it, beyond it.",
        (("threshold", ("below", "full", "beyond")),),
        roles=_CONTROL,
    ),
    Metric(
        "reconcile_errors_total",
        Kind.COUNTER,
        "Times that quota counters could not be compared with the ledger, or rebuilt from it.",
        roles=_CONTROL,
    ),
    Metric("keys_file_listed", Kind.GAUGE, "Keys in the file of listed keys that is in use.", roles=_CONTROL),
    Metric(
        "keys_file_failed_total",
        Kind.COUNTER,
        "Files of listed keys refused because of problems; the one before stays in use.",
        roles=_CONTROL,
    ),
    Metric(
        "policy_generation",
        Kind.GAUGE,
        "Grows with each policy snapshot taken into use.",
        roles=("worker", "control"),
    ),
    Metric(
        "policy_reload_failed_total",
        Kind.COUNTER,
        "Reloads refused because the folder has problems.",
        roles=_SUPERVISOR,
    ),
    Metric(
        "worker_restarts_total",
        Kind.COUNTER,
        "Processes restarted after they ended unexpectedly.",
        roles=_SUPERVISOR,
    ),
    Metric(
        "rolling_restarts_total",
        Kind.COUNTER,
        "Rolling restarts, by how they ended.",
        (("result", ("done", "stopped")),),
        roles=_SUPERVISOR,
    ),
    Metric("heartbeat_us", Kind.GAUGE, "Last sign of life, microseconds since the epoch.", roles=_EVERY),
    Metric(
        "alive_us",
        Kind.GAUGE,
        "The same by the machine's monotonic clock, which no step of the time moves.",
        roles=_EVERY,
    ),
    Metric("state", Kind.GAUGE, "0 starting, 1 ready, 2 draining, 3 stopped.", roles=_EVERY),
)


def layout() -> dict[str, int]:
    """First slot of each metric."""
    first: dict[str, int] = {}
    position = 0
    for metric in METRICS:
        first[metric.name] = position
        position += len(metric.series()) * metric.slots_per_series
    return first


LAYOUT = layout()
SLOT_COUNT = sum(len(metric.series()) * metric.slots_per_series for metric in METRICS)
BY_NAME = {metric.name: metric for metric in METRICS}
FINGERPRINT = crc32(repr([(one.name, one.labels, one.bounds, one.scale) for one in METRICS]).encode())


def slot(name: str, *labels: str) -> int:
    """The slot of one series; label values in the order of the catalogue. KeyError/ValueError on a typo."""
    metric = BY_NAME[name]
    return LAYOUT[name] + metric.series().index(labels) * metric.slots_per_series
