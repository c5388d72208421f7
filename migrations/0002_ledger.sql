-- The ledger: every request once, its sums, and how far each journal has been booked.

-- One row per request. No foreign keys: the ledger takes what happened, whatever became of the account since.
-- `charges` are units by meter that the call pays; empty unless it is billable.
CREATE TABLE usage_events (
    started_at    timestamptz NOT NULL,
    request_id    uuid NOT NULL,
    account_id    bigint,                -- NULL: nobody was recognised
    key_id        bigint,
    ingress_bytes bigint NOT NULL,       -- of the request's body
    egress_bytes  bigint NOT NULL,       -- of the answer's body
    duration_us   bigint NOT NULL,       -- 0 for `interrupted`: nobody saw the end
    first_byte_us bigint NOT NULL,       -- 0: no answer was sent
    status        integer NOT NULL,      -- 0: no answer was sent
    mode          text NOT NULL,         -- live, test
    outcome       text NOT NULL,
    tier          text NOT NULL,
    route         text NOT NULL,         -- empty: none matched
    method        text NOT NULL,
    charges       jsonb NOT NULL,
    PRIMARY KEY (started_at, request_id)
) PARTITION BY RANGE (started_at);

CREATE INDEX usage_events_of_account ON usage_events (account_id, started_at DESC, request_id DESC);

-- Makes the partition for the month (UTC) of `instant`, unless it is there. Safe to call at the same time from
-- anywhere. Attaching, unlike CREATE ... PARTITION OF, does not wait for those who read.
CREATE FUNCTION ensure_usage_month(instant timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month_start timestamp := date_trunc('month', instant AT TIME ZONE 'UTC');
    partition   text := 'usage_events_' || to_char(month_start, 'YYYY_MM');
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('tollway ensure_usage_month', 0));
    -- Asked of the table this time: to_regclass may remember its first answer.
    IF EXISTS (
        SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'usage_events'::regclass AND c.relname = partition
    ) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE usage_events INCLUDING ALL)', partition);
    EXECUTE format(
        'ALTER TABLE usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        partition,
        month_start AT TIME ZONE 'UTC',
        (month_start + interval '1 month') AT TIME ZONE 'UTC'
    );
END
$$;

-- Sums by hour and by month (UTC) of the request's start. They stay when raw rows go.
-- Every request is in a row of the meter `api_calls`, whose `events` therefore counts requests and whose
-- `quantity` counts what they cost; in other meters' rows only if it has something to add.
-- Ids are 0 and the route is empty where the raw row has nobody and nothing.
CREATE TABLE usage_hourly (
    hour_start timestamptz NOT NULL,
    account_id bigint NOT NULL,
    key_id     bigint NOT NULL,
    events     bigint NOT NULL,
    quantity   bigint NOT NULL,          -- units of the meter
    mode       text NOT NULL,
    outcome    text NOT NULL,
    route      text NOT NULL,
    meter      text NOT NULL,
    PRIMARY KEY (account_id, hour_start, key_id, route, mode, outcome, meter)
) WITH (fillfactor = 80);

CREATE INDEX usage_hourly_by_hour ON usage_hourly (hour_start);

CREATE TABLE usage_monthly (
    month_start timestamptz NOT NULL,
    account_id  bigint NOT NULL,
    key_id      bigint NOT NULL,
    events      bigint NOT NULL,
    quantity    bigint NOT NULL,
    mode        text NOT NULL,
    outcome     text NOT NULL,
    route       text NOT NULL,
    meter       text NOT NULL,
    PRIMARY KEY (account_id, month_start, key_id, route, mode, outcome, meter)
) WITH (fillfactor = 80);

CREATE INDEX usage_monthly_by_month ON usage_monthly (month_start);

-- How far each journal has been booked. Moved in the transaction that books, so nothing is booked twice.
CREATE TABLE journal_cursors (
    journal_id   text PRIMARY KEY,
    segment      bigint NOT NULL DEFAULT 0,
    offset_bytes bigint NOT NULL DEFAULT 0,
    opened_at    timestamptz NOT NULL DEFAULT now(),
    moved_at     timestamptz NOT NULL DEFAULT now(),
    closed_at    timestamptz                -- its writer is gone and all of it is booked
);
