-- create_account
-- $1 public id, $2 name, $3 tier, $4 external id or NULL, $5 status, $6 billing anchor or NULL: none,
-- $7 time zone, $8 internal, $9 metadata. Raises on an external id that is taken.
INSERT INTO accounts (
    public_id, name, tier, external_id, status, billing_anchor, anchored, time_zone, internal, metadata
)
VALUES ($1, $2, $3, $4, $5, coalesce($6, (now() AT TIME ZONE 'UTC')::date), $6 IS NOT NULL, $7, $8, $9::jsonb);

-- get_account
-- $1 public id.
SELECT *
FROM account_records
WHERE public_id = $1;

-- lock_account
-- $1 public id. Nobody else changes it until the transaction ends.
SELECT true
FROM accounts
WHERE public_id = $1
FOR UPDATE;

-- get_account_by_external_id
-- $1 external id.
SELECT *
FROM account_records
WHERE external_id = $1;

-- list_accounts
-- $1 id to start behind, $2 how many, $3 tier or NULL, $4 status or NULL.
SELECT *
FROM account_records
WHERE id > $1 AND ($3::text IS NULL OR tier = $3) AND ($4::text IS NULL OR status = $4)
ORDER BY id
LIMIT $2;

-- change_account
-- $1 public id, then what is to change; NULL stays. Metadata is merged, a name with null goes.
-- $9 whether the billing anchor goes.
UPDATE accounts
SET
    name = coalesce($2, name),
    tier = coalesce($3, tier),
    status = coalesce($4, status),
    billing_anchor = coalesce($5, billing_anchor),
    anchored = (anchored OR $5 IS NOT NULL) AND NOT $9,
    time_zone = coalesce($6, time_zone),
    internal = coalesce($7, internal),
    metadata = jsonb_strip_nulls(metadata || coalesce($8::jsonb, '{}'))
WHERE public_id = $1;
