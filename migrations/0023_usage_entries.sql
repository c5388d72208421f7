-- Usage that is no call: posted by trusted upstreams, and corrections. Added, never edited; their sums are in
-- `usage_hourly` and `usage_monthly` with the kind as outcome, and are written in the same transaction.

CREATE TABLE usage_entries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The id by who sends it: sending it again books nothing. It stays, so that holds for good.
    public_id   text NOT NULL UNIQUE CHECK (public_id ~ '^[!-~]{1,200}$'),
    kind        text NOT NULL CHECK (kind IN ('posted', 'correction')),
    happened_at timestamptz NOT NULL,
    booked_at   timestamptz NOT NULL DEFAULT now(),
    account_id  bigint NOT NULL,        -- no foreign keys, as in the ledger
    key_id      bigint,                 -- NULL: the account as a whole
    mode        text NOT NULL CHECK (mode IN ('live', 'test')),
    meter       text NOT NULL,
    quantity    bigint NOT NULL CHECK (quantity > 0 OR (quantity < 0 AND kind = 'correction')),
    reason      text CHECK ((reason IS NOT NULL) = (kind = 'correction')),
    author      text NOT NULL,          -- as in `audit_log.actor`
    content     bytea NOT NULL CHECK (octet_length(content) = 32)  -- SHA-256 of what was sent under this id
);

CREATE INDEX usage_entries_of_account ON usage_entries (account_id, id DESC);
CREATE INDEX usage_entries_by_time ON usage_entries (account_id, meter, happened_at);

CREATE TRIGGER usage_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON usage_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER usage_corrections_audited AFTER INSERT ON usage_entries
    FOR EACH ROW WHEN (NEW.kind = 'correction') EXECUTE FUNCTION audit_change('correction', 'content');

-- Units of a meter that accounts used in [since, until), by account and mode. Whole hours come from the sums; where
-- a period begins or ends within an hour (zones like Asia/Kolkata) the rest comes from the single calls and entries,
-- as far as there are rows of them.
CREATE OR REPLACE FUNCTION units_between(whose bigint[], of_meter text, since timestamptz, until timestamptz)
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
        UNION ALL
        SELECT n.account_id, n.mode, n.quantity
        FROM usage_entries AS n, hours
        WHERE
            n.account_id = ANY (whose) AND n.meter = of_meter AND n.happened_at >= since AND n.happened_at < until
            AND (n.happened_at < hours.first OR n.happened_at >= greatest(hours.first, hours.last))
            AND (since < hours.first OR until > hours.last)
    ) AS found
    GROUP BY 1, 2
$$;
