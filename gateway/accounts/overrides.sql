-- set_override
-- $1 public id, $2 account's id, $3 key's id or NULL, $4 name, $5 tokens, $6 period_ms, $7 burst, $8 amount.
INSERT INTO overrides (public_id, account_id, key_id, name, tokens, period_ms, burst, amount)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (account_id, coalesce(key_id, 0), name) DO UPDATE
SET tokens = $5, period_ms = $6, burst = $7, amount = $8;

-- count_overrides
-- $1 account's id, $2 key's id or NULL, $3 a name that does not count.
SELECT count(*)
FROM overrides
WHERE account_id = $1 AND key_id IS NOT DISTINCT FROM $2 AND name <> $3;

-- clear_override
-- $1 account's id, $2 key's id or NULL, $3 name. Returns a row when there was one.
DELETE FROM overrides
WHERE account_id = $1 AND key_id IS NOT DISTINCT FROM $2 AND name = $3
RETURNING id;

-- list_overrides
-- $1 account's id. The account's own first.
SELECT o.name, k.public_id AS key, o.tokens, o.period_ms, o.burst, o.amount, o.created_at
FROM overrides AS o
LEFT JOIN api_keys AS k ON k.id = o.key_id
WHERE o.account_id = $1
ORDER BY o.key_id NULLS FIRST, o.name;

-- key_of_account
-- $1 key's public id, $2 account's id.
SELECT id
FROM api_keys
WHERE public_id = $1 AND account_id = $2;
