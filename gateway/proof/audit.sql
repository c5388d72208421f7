-- rows
-- Every usage event.
SELECT e.request_id::text AS request_id, a.public_id AS account, k.public_id AS key, e.mode, e.tier, e.route, e.outcome, e.status,
       e.ingress_bytes, e.egress_bytes, e.ingress_messages, e.egress_messages, e.started_at, e.charges
FROM usage_events e
LEFT JOIN accounts a ON a.id = e.account_id
LEFT JOIN api_keys k ON k.id = e.key_id;

-- sums_that_differ
-- Cells in which the sums of hours or months are not the sums of rows and entries, one row for each side that has it.
-- Refused calls of nobody (account 0) have no rows: their months are compared with their hours.
WITH cells AS (
    SELECT e.started_at, coalesce(e.account_id, 0) AS account_id, coalesce(e.key_id, 0) AS key_id,
           e.route, e.mode, e.outcome, cell.meter, cell.quantity
    FROM usage_events e
    CROSS JOIN LATERAL (
        SELECT 'api_calls' AS meter, coalesce((e.charges ->> 'api_calls')::bigint, 0) AS quantity
        UNION ALL SELECT 'ingress_bytes', e.ingress_bytes WHERE e.ingress_bytes > 0
        UNION ALL SELECT 'egress_bytes', e.egress_bytes WHERE e.egress_bytes > 0
        UNION ALL SELECT 'duration_ms', e.duration_us / 1000 WHERE e.duration_us >= 1000
        UNION ALL SELECT 'messages', e.ingress_messages + e.egress_messages
            WHERE e.ingress_messages + e.egress_messages > 0
        UNION ALL SELECT key, value::bigint FROM jsonb_each_text(e.charges) WHERE key <> 'api_calls'
    ) cell
    WHERE e.account_id IS NOT NULL
    UNION ALL
    SELECT happened_at, account_id, coalesce(key_id, 0), '', mode, kind, meter, quantity FROM usage_entries
),
hours AS (
    SELECT date_trunc('hour', started_at, 'UTC') AS start, account_id, key_id, route, mode, outcome, meter,
           count(*)::bigint AS events, sum(quantity)::bigint AS quantity
    FROM cells GROUP BY 1, 2, 3, 4, 5, 6, 7
),
months AS (
    SELECT date_trunc('month', started_at, 'UTC') AS start, account_id, key_id, route, mode, outcome, meter,
           count(*)::bigint AS events, sum(quantity)::bigint AS quantity
    FROM cells GROUP BY 1, 2, 3, 4, 5, 6, 7
    UNION ALL
    SELECT date_trunc('month', hour_start, 'UTC'), account_id, key_id, route, mode, outcome, meter,
           sum(events)::bigint, sum(quantity)::bigint
    FROM usage_hourly WHERE account_id = 0 GROUP BY 1, 2, 3, 4, 5, 6, 7
),
hourly AS (
    SELECT hour_start AS start, account_id, key_id, route, mode, outcome, meter, events, quantity
    FROM usage_hourly WHERE account_id <> 0
),
monthly AS (
    SELECT month_start AS start, account_id, key_id, route, mode, outcome, meter, events, quantity
    FROM usage_monthly
)
SELECT 'hours' AS of, 'rows' AS side, d.* FROM (TABLE hours EXCEPT TABLE hourly) AS d
UNION ALL SELECT 'hours', 'sums', d.* FROM (TABLE hourly EXCEPT TABLE hours) AS d
UNION ALL SELECT 'months', 'rows', d.* FROM (TABLE months EXCEPT TABLE monthly) AS d
UNION ALL SELECT 'months', 'sums', d.* FROM (TABLE monthly EXCEPT TABLE months) AS d;

-- months_booked
-- Billed units of each account, mode and meter, over all months.
SELECT a.public_id AS account, m.mode, m.meter, sum(m.quantity)::bigint AS quantity
FROM usage_monthly m
JOIN accounts a ON a.id = m.account_id
GROUP BY 1, 2, 3;

-- refused_of_nobody
-- Calls that no account made, by outcome, less those that have a row.
SELECT outcome, (sum(n))::bigint AS events
FROM (
    SELECT outcome, events AS n FROM usage_monthly WHERE account_id = 0 AND meter = 'api_calls'
    UNION ALL SELECT outcome, -1 FROM usage_events WHERE account_id IS NULL
) AS counted
GROUP BY outcome;

-- account_numbers
-- Accounts by the numbers that counters are named by.
SELECT id, public_id FROM accounts;
