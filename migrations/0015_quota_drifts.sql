-- Quota counters (Redis) against the ledger: what is needed to compare them, and what was found.

-- The recorder of a journal has read and booked all that was written until `seen_at`, and calls of these accounts
-- were open then. NULL: a recorder of an older release.
ALTER TABLE journal_cursors
    ADD COLUMN seen_at       timestamptz,
    ADD COLUMN open_accounts bigint[];

-- One row for each counter that was set right. Only grows.
CREATE TABLE quota_drifts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    found_at     timestamptz NOT NULL DEFAULT now(),
    account_id   bigint NOT NULL,      -- no foreign key, as in the ledger
    mode         text NOT NULL CHECK (mode IN ('live', 'test')),
    meter        text NOT NULL,
    per          text NOT NULL,        -- hour, day, month
    period_start timestamptz NOT NULL,
    counted      bigint NOT NULL,      -- units by the counter before
    booked       bigint NOT NULL       -- units by the ledger, and by the counter since
);

CREATE INDEX quota_drifts_of_account ON quota_drifts (account_id, found_at DESC);
