-- accounts_named
-- Those there are. $1 public ids
SELECT public_id, id, tier, CASE WHEN anchored THEN billing_anchor END AS anchor, time_zone
FROM accounts
WHERE public_id = ANY ($1::text[]);

-- lock_accounts
-- Who corrects an account waits for who does already. $1 numbers
SELECT id FROM accounts WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- keys_named
-- $1 public ids
SELECT public_id, id, account_id, mode FROM api_keys WHERE public_id = ANY ($1::text[]);

-- known
-- Entries with these ids. $1 their ids
SELECT e.id AS number, e.public_id AS id, e.kind, e.happened_at, e.booked_at, a.public_id AS account,
       k.public_id AS key, e.mode, e.meter, e.quantity, e.reason, e.author, e.content
FROM usage_entries e
LEFT JOIN accounts a ON a.id = e.account_id
LEFT JOIN api_keys k ON k.id = e.key_id
WHERE e.public_id = ANY ($1::text[]);

-- add
-- Book entries; ids that are there are left out, and not returned. By whoever acts in this transaction.
-- Rows are sorted by id, so two who send the same never wait for each other in a circle.
-- $1 ids  $2 kind  $3 happened_at[]  $4 account_id[]  $5 key_id[]  $6 mode[]  $7 meter[]  $8 quantity[]
-- $9 reason[]  $10 content[]
INSERT INTO usage_entries
    (public_id, kind, happened_at, account_id, key_id, mode, meter, quantity, reason, content, author)
SELECT e.id, $2, e.happened_at, e.account_id, e.key_id, e.mode, e.meter, e.quantity, e.reason, e.content,
       coalesce(nullif(current_setting('tollway.actor', true), ''), 'database:' || session_user)
FROM unnest(
    $1::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[],
    $9::text[], $10::bytea[]
) AS e (id, happened_at, account_id, key_id, mode, meter, quantity, reason, content)
ORDER BY e.id
ON CONFLICT (public_id) DO NOTHING
RETURNING public_id;

-- page
-- Entries, newest first. $1 how many  $2 before this number or NULL  $3 account's public id or NULL
-- $4 kind or NULL
SELECT e.id AS number, e.public_id AS id, e.kind, e.happened_at, e.booked_at, a.public_id AS account,
       k.public_id AS key, e.mode, e.meter, e.quantity, e.reason, e.author
FROM usage_entries e
LEFT JOIN accounts a ON a.id = e.account_id
LEFT JOIN api_keys k ON k.id = e.key_id
WHERE ($2::bigint IS NULL OR e.id < $2)
  AND ($3::text IS NULL OR e.account_id = (SELECT id FROM accounts WHERE public_id = $3))
  AND ($4::text IS NULL OR e.kind = $4)
ORDER BY e.id DESC
LIMIT $1;

-- units_between
-- $1 account's number  $2 mode  $3 meter  $4 from  $5 until, exclusive
SELECT coalesce(sum(quantity), 0)::bigint
FROM units_between(ARRAY[$1::bigint], $3, $4, $5)
WHERE mode = $2;
