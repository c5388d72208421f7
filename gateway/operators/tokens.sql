-- create
-- $1 public id, $2 name, $3 digest, $4 last four, $5 scopes, $6 seconds it works or NULL.
INSERT INTO admin_tokens (public_id, name, digest, last_four, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
RETURNING id, public_id, name, last_four, scopes, created_at, expires_at, revoked_at, last_used_at;

-- get
-- $1 public id.
SELECT id, public_id, name, last_four, scopes, created_at, expires_at, revoked_at, last_used_at
FROM admin_tokens
WHERE public_id = $1;

-- list
-- $1 id to start behind, $2 how many, $3 works, expired, revoked or NULL.
SELECT id, public_id, name, last_four, scopes, created_at, expires_at, revoked_at, last_used_at
FROM admin_tokens
WHERE
    id > $1
    AND ($3::text IS NULL OR CASE
        WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'works'
    END = $3)
ORDER BY id
LIMIT $2;

-- revoke
-- $1 public id. The first revocation stays.
UPDATE admin_tokens
SET revoked_at = now()
WHERE public_id = $1 AND revoked_at IS NULL;

-- find
-- $1 digest. The token, while it works.
SELECT id, public_id, name, last_four, scopes, created_at, expires_at, revoked_at, last_used_at
FROM admin_tokens
WHERE digest = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- note_use
-- $1 id. To the minute, so that most uses write nothing.
UPDATE admin_tokens
SET last_used_at = now()
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');
