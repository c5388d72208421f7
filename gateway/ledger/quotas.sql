-- journals
-- Journals that are followed and not finished, or asked for by name: what is known of them. $1 names
-- One that nobody has touched for longer than two months can not say anything about periods that count.
SELECT journal_id, closed_at IS NOT NULL AS closed, seen_at, open_accounts
FROM journal_cursors
WHERE (closed_at IS NULL AND greatest(opened_at, moved_at, seen_at) > now() - interval '64 days')
   OR journal_id = ANY ($1::text[]);

-- hours_booked
-- Units by account and mode. $1 meter  $2 from  $3 until, exclusive; full hours
SELECT account_id, mode, sum(quantity)::bigint AS quantity
FROM usage_hourly
WHERE meter = $1 AND hour_start >= $2 AND hour_start < $3 AND account_id > 0
GROUP BY 1, 2
HAVING sum(quantity) > 0;

-- month_booked
-- The same for a month. $1 meter  $2 its start
SELECT account_id, mode, sum(quantity)::bigint AS quantity
FROM usage_monthly
WHERE meter = $1 AND month_start = $2 AND account_id > 0
GROUP BY 1, 2
HAVING sum(quantity) > 0;

-- tiers_of
-- Tiers of these accounts, and what people call them. $1 numbers
SELECT id, public_id, tier FROM accounts WHERE id = ANY ($1::bigint[]);

-- note_drift
-- $1 account_id  $2 mode  $3 meter  $4 per  $5 period_start  $6 counted  $7 booked
INSERT INTO quota_drifts (account_id, mode, meter, per, period_start, counted, booked)
VALUES ($1, $2, $3, $4, $5, $6, $7);
