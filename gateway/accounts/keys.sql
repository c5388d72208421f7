-- create_key
-- $1 public id, $2 account's id, $3 name, $4 digest, $5 visible, $6 last four, $7 mode, $8 seconds it works or
-- NULL, $9 routes, $10 methods, $11 networks, each NULL: any, $12 networks it does not work from, NULL: none,
-- $13 scopes, NULL: all.
-- Returns the key's id, or no row when the digest is there already.
INSERT INTO api_keys (
    public_id, account_id, name, digest, visible, last_four, mode, expires_at,
    only_routes, only_methods, only_networks, not_networks, scopes
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8),
    $9, $10, $11::text[]::cidr[], $12::text[]::cidr[], $13
)
ON CONFLICT (digest) DO NOTHING
RETURNING id;

-- get_key
-- $1 public id.
SELECT r.*, k.not_networks::text[] AS not_networks, k.scopes
FROM key_records AS r
INNER JOIN api_keys AS k ON k.id = r.id
WHERE r.public_id = $1;

-- get_key_by_digest
-- $1 digest.
SELECT r.*, k.not_networks::text[] AS not_networks, k.scopes
FROM key_records AS r
INNER JOIN api_keys AS k ON k.id = r.id
WHERE k.digest = $1;

-- digest_of
-- $1 public id.
SELECT digest
FROM api_keys
WHERE public_id = $1;

-- list_keys
-- $1 account's id, $2 key id to start behind, $3 how many, $4 mode or NULL, $5 works, expired, revoked or NULL.
SELECT r.*, k.not_networks::text[] AS not_networks, k.scopes
FROM key_records AS r
INNER JOIN api_keys AS k ON k.id = r.id
WHERE
    r.account_id = $1 AND r.id > $2 AND ($4::text IS NULL OR r.mode = $4)
    AND ($5::text IS NULL OR CASE
        WHEN r.revoked_at IS NOT NULL THEN 'revoked' WHEN r.expires_at <= now() THEN 'expired' ELSE 'works'
    END = $5)
ORDER BY r.id
LIMIT $3;

-- revoke_key
-- $1 public id. The first revocation stays; again changes nothing, and no gateway is told.
UPDATE api_keys
SET revoked_at = now()
WHERE public_id = $1 AND revoked_at IS NULL;

-- lock_key
-- $1 public id. Nobody else changes it until the transaction ends. Whether a file says when it ends.
SELECT listed
FROM api_keys
WHERE public_id = $1
FOR UPDATE;

-- change_key
-- $1 public id, $2 name, $3 whether its expiry goes, $4 seconds it works from now on, $5 routes, $6 methods,
-- $7 networks, each NULL: stays, empty: any; $8 networks it does not work from, NULL: stays, empty: none;
-- $9 whether it has all scopes, $10 scopes. NULL: as it was.
UPDATE api_keys
SET
    name = coalesce($2, name),
    expires_at = CASE WHEN NOT $3::boolean THEN coalesce(now() + make_interval(secs => $4), expires_at) END,
    only_routes = nullif(coalesce($5::text[], only_routes), '{}'),
    only_methods = nullif(coalesce($6::text[], only_methods), '{}'),
    only_networks = nullif(coalesce($7::text[]::cidr[], only_networks), '{}'),
    not_networks = nullif(coalesce($8::text[]::cidr[], not_networks), '{}'),
    scopes = CASE WHEN NOT $9::boolean THEN coalesce($10::text[], scopes) END
WHERE public_id = $1;

-- lock_for_rotation
-- $1 public id. One rotation at a time.
SELECT
    id, account_id, name, mode, successor_id, only_routes, only_methods, only_networks::text[] AS only_networks,
    not_networks::text[] AS not_networks, scopes,
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
    a.id AS account_id, a.public_id AS account, a.tier, a.status IN ('active', 'past_due') AS active,
    k.id AS key_id, k.public_id AS key, k.mode,
    CASE WHEN a.anchored THEN a.billing_anchor END AS billing_anchor, a.time_zone,
    (extract(EPOCH FROM k.expires_at) * 1000000)::bigint AS expires_at_us,
    k.only_routes, k.only_methods, k.only_networks::text[] AS only_networks,
    k.not_networks::text[] AS not_networks, k.scopes,
    (
        SELECT
            json_agg(
                json_build_array(o.name, o.key_id IS NOT NULL, o.tokens, o.period_ms, o.burst, o.amount)
                ORDER BY o.key_id NULLS FIRST, o.name
            )
        FROM overrides AS o
        WHERE o.account_id = a.id AND (o.key_id IS NULL OR o.key_id = k.id)
    ) AS overrides
FROM api_keys AS k
INNER JOIN accounts AS a ON a.id = k.account_id
WHERE k.digest = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());

-- find_account_principal
-- $1 public or external id. Ours come first: an external id may be spelled like one.
SELECT
    a.id AS account_id, a.public_id AS account, a.tier, a.status IN ('active', 'past_due') AS active,
    CASE WHEN a.anchored THEN a.billing_anchor END AS billing_anchor, a.time_zone,
    (
        SELECT
            json_agg(
                json_build_array(o.name, false, o.tokens, o.period_ms, o.burst, o.amount) ORDER BY o.name
            )
        FROM overrides AS o
        WHERE o.account_id = a.id AND o.key_id IS NULL
    ) AS overrides
FROM accounts AS a
WHERE a.public_id = $1 OR a.external_id = $1
ORDER BY a.public_id = $1 DESC
LIMIT 1;
