-- From when quota periods of an account are counted: from its billing anchor, if somebody chose one.

-- Whether periods are counted from `billing_anchor`. Until now it was always filled in, by default with the day the
-- account was made, and periods were those of the calendar: so they stay for accounts whose anchor nobody chose.
ALTER TABLE accounts ADD COLUMN anchored boolean NOT NULL DEFAULT false;
UPDATE accounts SET anchored = true WHERE billing_anchor <> (created_at AT TIME ZONE 'UTC')::date;

-- Accounts whose periods are not those of the calendar in UTC.
CREATE INDEX accounts_by_calendar ON accounts (billing_anchor, time_zone) WHERE anchored OR time_zone <> 'UTC';

CREATE OR REPLACE VIEW account_records AS
SELECT
    id, public_id, external_id, name, tier, status, created_at, billing_anchor, time_zone, internal,
    metadata::text AS metadata, anchored
FROM accounts;

-- Units of a meter that accounts used in [since, until), by account and mode. Whole hours come from the sums; where
-- a period begins or ends within an hour (zones like Asia/Kolkata) the rest comes from the single calls.
CREATE FUNCTION units_between(whose bigint[], of_meter text, since timestamptz, until timestamptz)
RETURNS TABLE (account_id bigint, mode text, quantity bigint) LANGUAGE sql STABLE AS $$
    WITH hours AS (
        SELECT
            date_trunc('hour', since + interval '1 hour' - interval '1 microsecond', 'UTC') AS first,
            date_trunc('hour', until, 'UTC') AS last
    )
    SELECT found.account_id, found.mode, sum(found.quantity)::bigint
    FROM (
        SELECT u.account_id, u.mode, u.quantity
        FROM usage_hourly AS u
        WHERE
            u.account_id = ANY (whose) AND u.meter = of_meter
            AND u.hour_start >= (SELECT first FROM hours) AND u.hour_start < (SELECT last FROM hours)
        UNION ALL
        SELECT e.account_id, e.mode, (e.charges ->> of_meter)::bigint
        FROM usage_events AS e
        WHERE
            e.account_id = ANY (whose) AND e.charges ? of_meter
            AND e.started_at >= since AND e.started_at < (SELECT least(first, until) FROM hours)
        UNION ALL
        SELECT e.account_id, e.mode, (e.charges ->> of_meter)::bigint
        FROM usage_events AS e
        WHERE
            e.account_id = ANY (whose) AND e.charges ? of_meter
            AND e.started_at >= (SELECT greatest(first, last) FROM hours) AND e.started_at < until
    ) AS found
    GROUP BY 1, 2
$$;
