-- book
-- Book what was reached; what is booked already stays as it is. Returns those that are new.
-- $1 at[]  $2 account_id[]  $3 mode[]  $4 quota[]  $5 meter[]  $6 per[]  $7 period_start[]  $8 period_end[]
-- $9 amount[]  $10 used[]  $11 threshold[]
INSERT INTO quota_events
    (at, account_id, mode, quota, meter, per, period_start, period_end, amount, used, threshold)
SELECT at, account_id, mode, quota, meter, per, period_start, period_end, amount, used, threshold
FROM unnest(
    $1::timestamptz[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
    $8::timestamptz[], $9::bigint[], $10::bigint[], $11::int[]
) AS one (at, account_id, mode, quota, meter, per, period_start, period_end, amount, used, threshold)
ORDER BY at, threshold
ON CONFLICT (account_id, mode, meter, per, period_start, amount, threshold) DO NOTHING
RETURNING
    id, at, (SELECT a.public_id FROM accounts AS a WHERE a.id = quota_events.account_id) AS account, mode,
    quota, meter, per, period_start, period_end, amount, used, threshold;

-- page
-- Newest first. $1 id to start before or NULL  $2 how many  $3 account's public id or NULL  $4 mode or NULL
SELECT e.id, e.at, a.public_id AS account, e.mode, e.quota, e.meter, e.per, e.period_start, e.period_end,
       e.amount, e.used, e.threshold
FROM quota_events AS e
LEFT JOIN accounts AS a ON a.id = e.account_id
WHERE ($1::bigint IS NULL OR e.id < $1)
  AND ($3::text IS NULL OR e.account_id = (SELECT id FROM accounts WHERE public_id = $3))
  AND ($4::text IS NULL OR e.mode = $4)
ORDER BY e.id DESC
LIMIT $2;
