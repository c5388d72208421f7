-- months
-- Partitions of `usage_events`, and where each ends.
SELECT c.relname AS name,
       to_timestamp(substring(c.relname FROM '_(\d+_\d{2})$'), 'YYYY_MM') + interval '1 month' AS ends_at
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'usage_events'::regclass AND c.relname ~ '^usage_events_\d+_\d{2}$'
ORDER BY 2;

-- ensure_ahead
-- Partitions for this month and those that follow. $1 how many follow
SELECT ensure_usage_month((date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => n)) AT TIME ZONE 'UTC')
FROM generate_series(0, $1::integer) AS n;
