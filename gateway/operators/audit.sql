-- page
-- $1 id to start before or NULL, $2 how many, $3 target or NULL, $4 actor or NULL, $5 action or NULL,
-- $6 from or NULL, $7 until or NULL.
SELECT id, at, actor, request_id, action, target, before, after
FROM audit_log
WHERE
    ($1::bigint IS NULL OR id < $1)
    AND ($3::text IS NULL OR target = $3)
    AND ($4::text IS NULL OR actor = $4)
    AND ($5::text IS NULL OR action = $5)
    AND ($6::timestamptz IS NULL OR at >= $6)
    AND ($7::timestamptz IS NULL OR at < $7)
ORDER BY id DESC
LIMIT $2;
