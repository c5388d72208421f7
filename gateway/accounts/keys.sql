-- create_key
-- $1 public id, $2 account's id, $3 name, $4 digest, $5 visible, $6 last four, $7 mode.
-- Returns the key's id, or no row when the digest is there already.
INSERT INTO api_keys (public_id, account_id, name, digest, visible, last_four, mode)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (digest) DO NOTHING
RETURNING id;

-- get_key
-- $1 key's id.
SELECT
    k.id, k.public_id, a.public_id AS account, k.name, k.visible, k.last_four, k.mode,
    k.created_at, k.expires_at, k.revoked_at, s.public_id AS successor
FROM api_keys AS k
INNER JOIN accounts AS a ON a.id = k.account_id
LEFT JOIN api_keys AS s ON s.id = k.successor_id
WHERE k.id = $1;

-- get_key_by_digest
-- $1 digest.
SELECT
    k.id, k.public_id, a.public_id AS account, k.name, k.visible, k.last_four, k.mode,
    k.created_at, k.expires_at, k.revoked_at, s.public_id AS successor
FROM api_keys AS k
INNER JOIN accounts AS a ON a.id = k.account_id
LEFT JOIN api_keys AS s ON s.id = k.successor_id
WHERE k.digest = $1;

-- list_keys
-- $1 account's id, $2 key id to start behind, $3 how many.
SELECT
    k.id, k.public_id, a.public_id AS account, k.name, k.visible, k.last_four, k.mode,
    k.created_at, k.expires_at, k.revoked_at, s.public_id AS successor
FROM api_keys AS k
INNER JOIN accounts AS a ON a.id = k.account_id
LEFT JOIN api_keys AS s ON s.id = k.successor_id
WHERE k.account_id = $1 AND k.id > $2
ORDER BY k.id
LIMIT $3;

-- find_key_id
-- $1 public id.
SELECT id
FROM api_keys
WHERE public_id = $1;

-- revoke_key
-- $1 public id. The first revocation stays; again changes nothing, and no gateway is told.
UPDATE api_keys
SET revoked_at = now()
WHERE public_id = $1 AND revoked_at IS NULL;

-- lock_for_rotation
-- $1 public id. One rotation at a time.
SELECT
    id, account_id, name, mode, successor_id,
    revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS works
FROM api_keys
WHERE public_id = $1
FOR UPDATE;

-- retire_key
-- $1 key's id, $2 successor's id, $3 seconds it still works. Never makes it work longer than it would have.
UPDATE api_keys
SET
    successor_id = $2,
    expires_at = least(expires_at, now() + make_interval(secs => $3))
WHERE id = $1;

-- find_principal
-- $1 digest. The key's account and tier, while the key works.
SELECT
    a.id AS account_id, a.public_id AS account, a.tier, a.status = 'active' AS active,
    k.id AS key_id, k.public_id AS key, k.mode,
    (extract(EPOCH FROM k.expires_at) * 1000000)::bigint AS expires_at_us
FROM api_keys AS k
INNER JOIN accounts AS a ON a.id = k.account_id
WHERE k.digest = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
