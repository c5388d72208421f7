-- add
-- $1 public id, $2 person's id, $3 account's id, $4 role. No row when the person is a member already.
INSERT INTO memberships (public_id, person_id, account_id, role)
VALUES ($1, $2, $3, $4)
ON CONFLICT (account_id, person_id) DO NOTHING
RETURNING public_id;

-- of_person
-- $1 person's id.
SELECT public_id, person, email, name, account_id, account, account_name, role, created_at
FROM member_records
WHERE person_id = $1
ORDER BY id;

-- of_account
-- $1 account's public id.
SELECT public_id, person, email, name, account_id, account, account_name, role, created_at
FROM member_records
WHERE account = $1
ORDER BY id;

-- get
-- $1 public id, $2 account's public id.
SELECT public_id, person, email, name, account_id, account, account_name, role, created_at
FROM member_records
WHERE public_id = $1 AND account = $2;

-- lock_owners
-- $1 account's id. Nobody else takes an owner away until the transaction ends.
SELECT public_id
FROM memberships
WHERE account_id = $1 AND role = 'owner'
ORDER BY id
FOR UPDATE;

-- set_role
-- $1 public id, $2 role.
UPDATE memberships
SET role = $2
WHERE public_id = $1;

-- remove
-- $1 public id.
DELETE FROM memberships
WHERE public_id = $1;

-- invite
-- $1 public id, $2 digest, $3 account's public id, $4 email, $5 role, $6 seconds it works.
-- A second invitation to the same address takes the place of the first.
INSERT INTO invitations (public_id, digest, account_id, email, role, expires_at)
SELECT $1, $2, a.id, $4, $5, now() + make_interval(secs => $6)
FROM accounts AS a
WHERE a.public_id = $3
ON CONFLICT (account_id, lower(email)) DO UPDATE
SET digest = EXCLUDED.digest, role = EXCLUDED.role, expires_at = EXCLUDED.expires_at
RETURNING id;

-- get_invitation
-- $1 id.
SELECT id, public_id, account_id, account, account_name, email, role, created_at, expires_at
FROM invitation_records
WHERE id = $1;

-- invitations_of_account
-- $1 account's public id.
SELECT id, public_id, account_id, account, account_name, email, role, created_at, expires_at
FROM invitation_records
WHERE account = $1 AND expires_at > now()
ORDER BY id;

-- find_invitation
-- $1 digest. One at a time.
SELECT
    r.id, r.public_id, r.account_id, r.account, r.account_name, r.email, r.role, r.created_at, r.expires_at
FROM invitations AS i
INNER JOIN invitation_records AS r ON r.id = i.id
WHERE i.digest = $1 AND i.expires_at > now()
FOR UPDATE OF i;

-- find_invitation_of_account
-- $1 public id, $2 account's public id.
SELECT id, public_id, account_id, account, account_name, email, role, created_at, expires_at
FROM invitation_records
WHERE public_id = $1 AND account = $2;

-- role_invited
-- $1 account's public id, $2 email. As what they are invited by now. Nobody else changes it meanwhile.
SELECT i.role
FROM invitations AS i
INNER JOIN accounts AS a ON a.id = i.account_id
WHERE a.public_id = $1 AND lower(i.email) = lower($2) AND i.expires_at > now()
FOR UPDATE OF i;

-- drop_invitation
-- $1 id.
DELETE FROM invitations
WHERE id = $1;
