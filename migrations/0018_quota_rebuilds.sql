-- Quota counters (Redis) rebuilt from the ledger: who asked when, and what calls under way will have to pay.

-- One row for each time that Redis may have lost counters. Recorders look for those that are not finished, and then
-- tell at once how far they are.
CREATE TABLE quota_rebuilds (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,           -- NULL: under way, or whoever did it is gone
    server      text NOT NULL,         -- what the Redis server calls itself
    counters    bigint NOT NULL DEFAULT 0
);

CREATE INDEX quota_rebuilds_under_way ON quota_rebuilds (asked_at) WHERE finished_at IS NULL;

-- What the open calls of a journal pay, as of `seen_at`: rows of account, mode, meter, started at (epoch seconds,
-- to a quarter of an hour), units. NULL: something was booked since.
ALTER TABLE journal_cursors ADD COLUMN open_units jsonb;
