-- sums
-- Sums from hours, in buckets, a page of them. The same text with `usage_monthly` and `month_start` is that from
-- months; `TRUE /* whose */` is replaced where one account is asked for, so that its index is used.
-- $1 starts of the buckets, NULL: one bucket  $2 account's public id or NULL  $3 from  $4 until, exclusive
-- $5 mode or NULL  $6 how many or NULL
-- $7 .. $13 what identifies the last row of the page before; $8 is NULL on the first page
-- $14 what rows are grouped by, besides the meter  $15 key's public id or NULL  $16 route  $17 outcome  $18 meter
-- $19 whether corrections are left out
SELECT s.bucket_start, a.public_id AS account, k.public_id AS key, s.account_id, s.key_id,
       s.route, s.mode, s.outcome, s.meter, s.quantity, s.events
FROM (
    SELECT ($1::timestamptz[])[width_bucket(u.hour_start, $1::timestamptz[])] AS bucket_start,
           CASE WHEN 'account' = ANY ($14::text[]) THEN u.account_id ELSE 0 END AS account_id,
           CASE WHEN 'key' = ANY ($14::text[]) THEN u.key_id ELSE 0 END AS key_id,
           CASE WHEN 'route' = ANY ($14::text[]) THEN u.route ELSE '' END AS route,
           CASE WHEN 'mode' = ANY ($14::text[]) THEN u.mode ELSE '' END AS mode,
           CASE WHEN 'outcome' = ANY ($14::text[]) THEN u.outcome ELSE '' END AS outcome,
           u.meter, sum(u.quantity)::bigint AS quantity, sum(u.events)::bigint AS events
    FROM usage_hourly u
    WHERE u.hour_start >= date_trunc('hour', $3::timestamptz, 'UTC') AND u.hour_start < $4
      AND TRUE /* whose */
      AND ($2::text IS NULL OR TRUE)
      AND ($5::text IS NULL OR u.mode = $5)
      AND ($15::text IS NULL OR u.key_id = (SELECT id FROM api_keys WHERE public_id = $15))
      AND ($16::text IS NULL OR u.route = $16)
      AND ($17::text IS NULL OR u.outcome = $17)
      AND ($18::text IS NULL OR u.meter = $18)
      AND NOT ($19::boolean AND u.outcome = 'correction')
    GROUP BY 1, 2, 3, 4, 5, 6, 7
) AS s
LEFT JOIN accounts a ON a.id = s.account_id
LEFT JOIN api_keys k ON k.id = s.key_id
WHERE $8::bigint IS NULL
   OR (coalesce(s.bucket_start, 'epoch'), s.account_id, s.key_id, s.route, s.mode, s.outcome, s.meter)
      > (coalesce($7::timestamptz, 'epoch'), $8, $9::bigint, $10::text, $11::text, $12::text, $13::text)
ORDER BY s.bucket_start, s.account_id, s.key_id, s.route, s.mode, s.outcome, s.meter
LIMIT $6;

-- events
-- The newest raw rows, one page. $1 how many  $2 before started_at and  $3 request_id, or both NULL
-- $4 account's public id or NULL  $5 from or NULL  $6 until or NULL  $7 key  $8 route  $9 outcome
-- $10 name of a limit that refused or NULL  $11 name of a shadow or NULL
-- `TRUE /* whose */` is replaced as above, `TRUE /* marked */` where $10 or $11 is given: those have an index.
SELECT e.started_at, e.request_id, a.public_id AS account, k.public_id AS key, e.mode, e.tier, e.route,
       e.upstream, e.method, e.outcome, e.status, e.ingress_bytes, e.egress_bytes, e.ingress_messages,
       e.egress_messages, e.duration_us, e.first_byte_us, e.charges, e.code, e.refused_by, e.shadows
FROM usage_events e
LEFT JOIN accounts a ON a.id = e.account_id
LEFT JOIN api_keys k ON k.id = e.key_id
WHERE ($2::timestamptz IS NULL OR (e.started_at, e.request_id) < ($2, $3::uuid))
  AND TRUE /* whose */
  AND ($4::text IS NULL OR TRUE)
  AND ($5::timestamptz IS NULL OR e.started_at >= $5)
  AND ($6::timestamptz IS NULL OR e.started_at < $6)
  AND ($7::text IS NULL OR e.key_id = (SELECT id FROM api_keys WHERE public_id = $7))
  AND ($8::text IS NULL OR e.route = $8)
  AND ($9::text IS NULL OR e.outcome = $9)
  AND TRUE /* marked */
  AND ($10::text IS NULL OR $10 = ANY (e.refused_by))
  AND ($11::text IS NULL OR $11 = ANY (e.shadows))
ORDER BY e.started_at DESC, e.request_id DESC
LIMIT $1;

-- event
-- One call. $1 request_id
SELECT e.started_at, e.request_id, a.public_id AS account, k.public_id AS key, e.mode, e.tier, e.route,
       e.upstream, e.method, e.outcome, e.status, e.ingress_bytes, e.egress_bytes, e.ingress_messages,
       e.egress_messages, e.duration_us, e.first_byte_us, e.charges, e.code, e.refused_by, e.shadows
FROM usage_events e
LEFT JOIN accounts a ON a.id = e.account_id
LEFT JOIN api_keys k ON k.id = e.key_id
WHERE e.request_id = $1;

-- period_total
-- Units of one meter. $1 account's id  $2 meter  $3 mode  $4 from  $5 until, exclusive
SELECT coalesce(sum(quantity), 0)::bigint
FROM units_between(ARRAY[$1::bigint], $2, $4, $5)
WHERE mode = $3;

-- period_of_hours
-- The same where $4 and $5 are full hours: by the account's index, however many accounts there are.
SELECT coalesce(sum(quantity), 0)::bigint
FROM usage_hourly
WHERE account_id = $1 AND meter = $2 AND mode = $3 AND hour_start >= $4 AND hour_start < $5;

-- periods
-- Units and calls of an account by meter, in periods that follow each other. $1 account's id  $2 mode
-- $3 starts of the periods  $4 end of the last one; full hours
SELECT ($3::timestamptz[])[width_bucket(hour_start, $3::timestamptz[])] AS period_start, meter,
       sum(quantity)::bigint AS quantity,
       coalesce(sum(quantity) FILTER (WHERE outcome = 'posted'), 0)::bigint AS posted,
       coalesce(sum(quantity) FILTER (WHERE outcome = 'correction'), 0)::bigint AS corrections,
       coalesce(sum(events) FILTER (WHERE outcome NOT IN ('posted', 'correction')), 0)::bigint AS calls
FROM usage_hourly
WHERE account_id = $1 AND mode = $2 AND hour_start >= ($3::timestamptz[])[1] AND hour_start < $4
GROUP BY 1, 2
ORDER BY 1, 2;
