-- hours
-- Sums from hours, in buckets, a page of them. $1 unit of the bucket (hour, day, month; NULL: one bucket)
-- $2 account's public id or NULL  $3 from  $4 until, exclusive  $5 mode or NULL  $6 how many or NULL
-- $7 .. $13 what identifies the last row of the page before; $8 is NULL on the first page
SELECT s.bucket_start, a.public_id AS account, k.public_id AS key, s.account_id, s.key_id,
       s.route, s.mode, s.outcome, s.meter, s.quantity, s.events
FROM (
    SELECT date_trunc($1::text, u.hour_start, 'UTC') AS bucket_start, u.account_id, u.key_id,
           u.route, u.mode, u.outcome, u.meter,
           sum(u.quantity)::bigint AS quantity, sum(u.events)::bigint AS events
    FROM usage_hourly u
    WHERE u.hour_start >= date_trunc('hour', $3::timestamptz, 'UTC') AND u.hour_start < $4
      AND ($2::text IS NULL OR u.account_id = (SELECT id FROM accounts WHERE public_id = $2))
      AND ($5::text IS NULL OR u.mode = $5)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
) AS s
LEFT JOIN accounts a ON a.id = s.account_id
LEFT JOIN api_keys k ON k.id = s.key_id
WHERE $8::bigint IS NULL
   OR (coalesce(s.bucket_start, 'epoch'), s.account_id, s.key_id, s.route, s.mode, s.outcome, s.meter)
      > (coalesce($7::timestamptz, 'epoch'), $8, $9::bigint, $10::text, $11::text, $12::text, $13::text)
ORDER BY s.bucket_start, s.account_id, s.key_id, s.route, s.mode, s.outcome, s.meter
LIMIT $6;

-- months
-- The same from months, for periods of whole months.
SELECT s.bucket_start, a.public_id AS account, k.public_id AS key, s.account_id, s.key_id,
       s.route, s.mode, s.outcome, s.meter, s.quantity, s.events
FROM (
    SELECT CASE WHEN $1::text IS NOT NULL THEN u.month_start END AS bucket_start, u.account_id, u.key_id,
           u.route, u.mode, u.outcome, u.meter,
           sum(u.quantity)::bigint AS quantity, sum(u.events)::bigint AS events
    FROM usage_monthly u
    WHERE u.month_start >= $3 AND u.month_start < $4
      AND ($2::text IS NULL OR u.account_id = (SELECT id FROM accounts WHERE public_id = $2))
      AND ($5::text IS NULL OR u.mode = $5)
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
SELECT e.started_at, e.request_id, a.public_id AS account, k.public_id AS key, e.mode, e.tier, e.route,
       e.upstream, e.method, e.outcome, e.status, e.ingress_bytes, e.egress_bytes, e.ingress_messages,
       e.egress_messages, e.duration_us, e.first_byte_us, e.charges, e.code, e.refused_by, e.shadows
FROM usage_events e
LEFT JOIN accounts a ON a.id = e.account_id
LEFT JOIN api_keys k ON k.id = e.key_id
WHERE ($2::timestamptz IS NULL OR (e.started_at, e.request_id) < ($2, $3::uuid))
ORDER BY e.started_at DESC, e.request_id DESC
LIMIT $1;

-- account_events
-- The same for one account. $4 its public id
SELECT e.started_at, e.request_id, a.public_id AS account, k.public_id AS key, e.mode, e.tier, e.route,
       e.upstream, e.method, e.outcome, e.status, e.ingress_bytes, e.egress_bytes, e.ingress_messages,
       e.egress_messages, e.duration_us, e.first_byte_us, e.charges, e.code, e.refused_by, e.shadows
FROM usage_events e
LEFT JOIN accounts a ON a.id = e.account_id
LEFT JOIN api_keys k ON k.id = e.key_id
WHERE e.account_id = (SELECT id FROM accounts WHERE public_id = $4)
  AND ($2::timestamptz IS NULL OR (e.started_at, e.request_id) < ($2, $3::uuid))
ORDER BY e.started_at DESC, e.request_id DESC
LIMIT $1;

-- marked_events
-- The same of calls that a limit refused, or would have refused. $4 account's public id or NULL  $5 name of a limit that
-- refused or NULL  $6 name of a shadow or NULL
SELECT e.started_at, e.request_id, a.public_id AS account, k.public_id AS key, e.mode, e.tier, e.route,
       e.method, e.outcome, e.status, e.ingress_bytes, e.egress_bytes, e.ingress_messages,
       e.egress_messages, e.duration_us, e.first_byte_us, e.charges, e.code, e.refused_by, e.shadows
FROM usage_events e
LEFT JOIN accounts a ON a.id = e.account_id
LEFT JOIN api_keys k ON k.id = e.key_id
WHERE (e.refused_by IS NOT NULL OR e.shadows IS NOT NULL)
  AND ($2::timestamptz IS NULL OR (e.started_at, e.request_id) < ($2, $3::uuid))
  AND ($4::text IS NULL OR e.account_id = (SELECT id FROM accounts WHERE public_id = $4))
  AND ($5::text IS NULL OR $5 = ANY (e.refused_by))
  AND ($6::text IS NULL OR $6 = ANY (e.shadows))
ORDER BY e.started_at DESC, e.request_id DESC
LIMIT $1;

-- event
-- One call. $1 request_id
SELECT e.started_at, e.request_id, a.public_id AS account, k.public_id AS key, e.mode, e.tier, e.route,
       e.method, e.outcome, e.status, e.ingress_bytes, e.egress_bytes, e.ingress_messages,
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
