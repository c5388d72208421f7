-- Rows of calls are in partitions by month, or in a TimescaleDB hypertable if the operator has said so
-- (`tollway rows to-hypertable`). That one makes its chunks by itself.

-- `months` or `hypertable`.
CREATE FUNCTION usage_rows_layout() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN relkind = 'p' THEN 'months' ELSE 'hypertable' END
    FROM pg_class
    WHERE oid = to_regclass('usage_events')
$$;

-- As before, but a hypertable is left alone: also by recorders of the release before, which go on calling this.
CREATE OR REPLACE FUNCTION ensure_usage_month(instant timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month_start timestamp := date_trunc('month', instant AT TIME ZONE 'UTC');
    partition   text := 'usage_events_' || to_char(month_start, 'YYYY_MM');
BEGIN
    IF to_regclass(partition) IS NOT NULL OR usage_rows_layout() = 'hypertable' THEN
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
