-- open_cursor
-- Begin to follow a journal; changes nothing if it is being followed already. $1 journal_id
INSERT INTO journal_cursors (journal_id) VALUES ($1) ON CONFLICT (journal_id) DO NOTHING;

-- read_cursor
-- How far a journal has been booked. $1 journal_id
SELECT segment, offset_bytes, closed_at IS NOT NULL AS closed,
       CASE WHEN open_calls_in = segment THEN open_calls END AS open_calls
FROM journal_cursors WHERE journal_id = $1;

-- lock_cursor
-- The same, and nobody else books this journal until the transaction ends. $1 journal_id
-- It comes before anything is written: whoever lays rows out anew holds writers off here (`moving.sql`).
-- What is booked is deleted from disk: so where commits do not wait to be durable, as the server or its database is
-- set, this one does.
SELECT segment, offset_bytes, closed_at IS NOT NULL AS closed,
       CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', true) END AS made_durable
FROM journal_cursors WHERE journal_id = $1 FOR UPDATE;

-- move_cursor
-- $1 journal_id  $2 segment  $3 offset_bytes  $4 whether the journal is finished
-- $5 sequence numbers of calls of earlier segments that are open; NULL when the segment stays the same
UPDATE journal_cursors
SET segment = $2, offset_bytes = $3, moved_at = now(), closed_at = CASE WHEN $4 THEN now() END,
    open_calls = coalesce($5::bigint[], open_calls),
    open_calls_in = CASE WHEN $5::bigint[] IS NULL THEN open_calls_in ELSE $2 END,
    open_units = NULL
WHERE journal_id = $1;

-- look_up
-- The time, and whether somebody waits to hear how far journals are booked: quota counters are being rebuilt.
SELECT clock_timestamp() AS present_time,
       EXISTS (
           SELECT FROM quota_rebuilds WHERE finished_at IS NULL AND asked_at > now() - interval '1 minute'
       ) AS is_awaited;

-- note_seen
-- All that was written to a journal until then is booked. $1 journal_id  $2 then  $3 accounts with open calls
-- $4 what these calls will pay
UPDATE journal_cursors SET seen_at = $2, open_accounts = $3::bigint[], open_units = $4::jsonb WHERE journal_id = $1;

-- ensure_month
-- $1 any instant of the month
SELECT ensure_usage_month($1);

-- booked_before
-- Which of these events are in the ledger. $1 started_at[]  $2 request_id[]
SELECT e.request_id
FROM unnest($1::timestamptz[], $2::uuid[]) AS asked (started_at, request_id)
JOIN usage_events e ON e.started_at = asked.started_at AND e.request_id = asked.request_id;

-- add_hourly
-- Add to sums, up to what a bigint holds. Rows come sorted by key, so two recorders never wait for each other in a circle.
-- $1 hour_start[]  $2 account_id[]  $3 key_id[]  $4 route[]  $5 mode[]  $6 outcome[]  $7 meter[]
-- $8 events[]  $9 quantity[]
INSERT INTO usage_hourly AS total
    (hour_start, account_id, key_id, route, mode, outcome, meter, events, quantity)
SELECT hour_start, account_id, key_id, route, mode, outcome, meter, events, quantity
FROM unnest(
    $1::timestamptz[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::bigint[]
) AS added (hour_start, account_id, key_id, route, mode, outcome, meter, events, quantity)
ON CONFLICT (account_id, hour_start, key_id, route, mode, outcome, meter) DO UPDATE
SET events = total.events + excluded.events, quantity = least(
    total.quantity::numeric + excluded.quantity, 9223372036854775807)::bigint;

-- add_monthly
-- The same for months. $1 month_start[]  $2 .. $9 as above
INSERT INTO usage_monthly AS total
    (month_start, account_id, key_id, route, mode, outcome, meter, events, quantity)
SELECT month_start, account_id, key_id, route, mode, outcome, meter, events, quantity
FROM unnest(
    $1::timestamptz[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::bigint[]
) AS added (month_start, account_id, key_id, route, mode, outcome, meter, events, quantity)
ON CONFLICT (account_id, month_start, key_id, route, mode, outcome, meter) DO UPDATE
SET events = total.events + excluded.events, quantity = least(
    total.quantity::numeric + excluded.quantity, 9223372036854775807)::bigint;

-- note_key_uses
-- $1 keys' ids, $2 when each was used last.
SELECT note_key_uses($1, $2);
