-- journals
-- Journals that are followed and not finished, or asked for by name: what is known of them. $1 names
-- One that nobody has touched for longer than two months can not say anything about periods that count.
SELECT journal_id, closed_at IS NOT NULL AS closed, seen_at, open_accounts, open_units IS NULL AS moved_since
FROM journal_cursors
WHERE (closed_at IS NULL AND greatest(opened_at, moved_at, seen_at) > now() - interval '64 days')
   OR journal_id = ANY ($1::text[]);

-- open_units
-- What open calls will pay, see the migration.
SELECT open_units FROM journal_cursors WHERE closed_at IS NULL AND open_units IS NOT NULL;

-- ask_rebuild
-- $1 the server
INSERT INTO quota_rebuilds (server) VALUES ($1) RETURNING id, asked_at;

-- note_rebuilt
-- $1 id  $2 counters
UPDATE quota_rebuilds SET finished_at = clock_timestamp(), counters = $2 WHERE id = $1;

-- hours_booked
-- Units by account and mode, of accounts whose periods are those of the calendar in UTC.
-- $1 meter  $2 from  $3 until, exclusive; full hours
SELECT u.account_id, u.mode, sum(u.quantity)::bigint AS quantity
FROM usage_hourly AS u
WHERE u.meter = $1 AND u.hour_start >= $2 AND u.hour_start < $3 AND u.account_id > 0
  AND NOT EXISTS (
      SELECT FROM accounts AS a WHERE a.id = u.account_id AND (a.anchored OR a.time_zone <> 'UTC')
  )
GROUP BY 1, 2
HAVING sum(u.quantity) > 0;

-- month_booked
-- The same for a month. $1 meter  $2 its start
SELECT u.account_id, u.mode, sum(u.quantity)::bigint AS quantity
FROM usage_monthly AS u
WHERE u.meter = $1 AND u.month_start = $2 AND u.account_id > 0
  AND NOT EXISTS (
      SELECT FROM accounts AS a WHERE a.id = u.account_id AND (a.anchored OR a.time_zone <> 'UTC')
  )
GROUP BY 1, 2
HAVING sum(u.quantity) > 0;

-- booked_by
-- The same of accounts with these calendars. $1 meter  $2 from  $3 until, exclusive
-- $4 anchors, NULL: none  $5 time zone of each
SELECT account_id, mode, quantity
FROM units_between(
    ARRAY(
        SELECT a.id
        FROM accounts AS a
        INNER JOIN unnest($4::date[], $5::text[]) AS one (anchor, time_zone)
            ON a.time_zone = one.time_zone
            AND (CASE WHEN a.anchored THEN a.billing_anchor END) IS NOT DISTINCT FROM one.anchor
        WHERE a.anchored OR a.time_zone <> 'UTC'
    ),
    $1, $2, $3
)
WHERE quantity > 0;

-- calendars
-- Those of accounts whose periods are not those of the calendar in UTC.
SELECT DISTINCT CASE WHEN anchored THEN billing_anchor END AS anchor, time_zone
FROM accounts
WHERE anchored OR time_zone <> 'UTC';

-- tiers_of
-- Tiers and calendars of these accounts, and what people call them. $1 numbers
SELECT id, public_id, tier, CASE WHEN anchored THEN billing_anchor END AS anchor, time_zone
FROM accounts WHERE id = ANY ($1::bigint[]);

-- note_drift
-- $1 account_id  $2 mode  $3 meter  $4 per  $5 period_start  $6 counted  $7 booked
INSERT INTO quota_drifts (account_id, mode, meter, per, period_start, counted, booked)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- booked_of
-- Units that an account has in spans, all as of one moment. $1 account  then of each span: $2 modes  $3 meters
-- $4 from  $5 until, exclusive
SELECT coalesce((
    SELECT u.quantity FROM units_between(ARRAY[$1::bigint], one.meter, one.since, one.until) AS u WHERE u.mode = one.mode
), 0)
FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
    WITH ORDINALITY AS one (mode, meter, since, until, nth)
ORDER BY one.nth;
