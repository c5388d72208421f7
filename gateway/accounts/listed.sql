-- lock
-- One at a time, until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('tollway listed keys', 0));

-- accounts
-- $1 names: ids, ours or external ones. An id of ours comes first.
SELECT n.name, a.id
FROM unnest($1::text[]) AS n (name)
INNER JOIN accounts AS a ON a.public_id = n.name OR a.external_id = n.name
ORDER BY a.public_id = n.name;

-- owners
-- $1 digests. Whose those are that are there already.
SELECT digest, account_id
FROM api_keys
WHERE digest = ANY($1);

-- add
-- $1 public ids, $2 accounts' ids, $3 names, $4 digests, $5 modes, $6 ends or NULL, $7 scopes as JSON or NULL,
-- $8 whether their lines are followed. Those that are there already stay as they are.
INSERT INTO api_keys (public_id, account_id, name, digest, mode, expires_at, scopes, listed)
SELECT
    k.public_id, k.account_id, k.name, k.digest, k.mode, k.expires_at,
    CASE WHEN k.scopes IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(k.scopes::json)) END,
    $8
FROM
    unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[], $5::text[], $6::timestamptz[], $7::text[])
    AS k (public_id, account_id, name, digest, mode, expires_at, scopes)
ON CONFLICT (digest) DO NOTHING
RETURNING public_id;

-- follow
-- $1 digests, $2 ends or NULL. Keys whose lines say another end; not what was revoked or rotated meanwhile.
UPDATE api_keys AS k
SET expires_at = line.expires_at
FROM unnest($1::bytea[], $2::timestamptz[]) AS line (digest, expires_at)
WHERE
    k.digest = line.digest AND k.listed AND k.revoked_at IS NULL AND k.successor_id IS NULL
    AND k.expires_at IS DISTINCT FROM line.expires_at
RETURNING k.public_id;

-- drop
-- $1 digests. Keys whose lines are gone end now.
UPDATE api_keys
SET expires_at = now()
WHERE
    listed AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
    AND NOT digest = ANY($1)
RETURNING public_id;
