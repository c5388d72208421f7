-- Thresholds of quotas that accounts reached: what mails, billing and webhooks start from. Only grows.

CREATE TABLE quota_events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL,    -- when it was reached, by Redis's clock
    booked_at    timestamptz NOT NULL DEFAULT now(),
    account_id   bigint NOT NULL,         -- no foreign key, as in the ledger
    mode         text NOT NULL CHECK (mode IN ('live', 'test')),
    quota        text NOT NULL,           -- its name at that time
    meter        text NOT NULL,
    per          text NOT NULL,           -- hour, month, 30 days, ...
    period_start timestamptz NOT NULL,
    period_end   timestamptz NOT NULL,
    amount       bigint NOT NULL,         -- how much there was
    used         bigint NOT NULL,         -- of it, calls bought in advance included
    threshold    integer NOT NULL,        -- percent
    -- Once each. Another amount (a change of tier, a special deal) has thresholds of its own.
    UNIQUE (account_id, mode, meter, per, period_start, amount, threshold)
);

CREATE INDEX quota_events_of_account ON quota_events (account_id, id DESC);
