-- create_account
-- $1 public id, $2 name, $3 tier, $4 external id or NULL. Raises on an external id that is taken.
INSERT INTO accounts (public_id, name, tier, external_id)
VALUES ($1, $2, $3, $4)
RETURNING id, public_id, name, tier, status, created_at, external_id;

-- get_account
-- $1 public id.
SELECT id, public_id, name, tier, status, created_at, external_id
FROM accounts
WHERE public_id = $1;

-- lock_account
-- $1 public id.
SELECT id, public_id, name, tier, status, created_at, external_id
FROM accounts
WHERE public_id = $1
FOR UPDATE;

-- get_account_by_external_id
-- $1 external id.
SELECT id, public_id, name, tier, status, created_at, external_id
FROM accounts
WHERE external_id = $1;

-- list_accounts
-- $1 id to start behind, $2 how many.
SELECT id, public_id, name, tier, status, created_at, external_id
FROM accounts
WHERE id > $1
ORDER BY id
LIMIT $2;

-- set_name
-- $1 public id, $2 name.
UPDATE accounts
SET name = $2
WHERE public_id = $1
RETURNING id, public_id, name, tier, status, created_at, external_id;

-- set_tier
-- $1 public id, $2 tier.
UPDATE accounts
SET tier = $2
WHERE public_id = $1
RETURNING id, public_id, name, tier, status, created_at, external_id;

-- set_status
-- $1 public id, $2 status.
UPDATE accounts
SET status = $2
WHERE public_id = $1
RETURNING id, public_id, name, tier, status, created_at, external_id;
