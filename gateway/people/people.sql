-- create_person
-- $1 public id, $2 email, $3 name, $4 password hash. No row when the address is taken.
INSERT INTO people (public_id, email, name, password_hash)
VALUES ($1, $2, $3, $4)
ON CONFLICT (lower(email)) DO NOTHING
RETURNING id, public_id, email, name, created_at, verified_at, password_changed_at, totp_enabled_at;

-- find_credentials
-- $1 email.
SELECT
    id, public_id, email, name, created_at, verified_at, password_changed_at, totp_enabled_at,
    password_hash, totp_sealed, totp_step
FROM people
WHERE lower(email) = lower($1);

-- set_password
-- $1 person's id, $2 hash.
UPDATE people
SET password_hash = $2, password_changed_at = now()
WHERE id = $1;

-- refresh_hash
-- $1 person's id, $2 hash of the same password, $3 the hash before.
UPDATE people
SET password_hash = $2
WHERE id = $1 AND password_hash = $3;

-- has_changed
-- $1 person's id, $2 when the password was set that was compared. Nobody sets another until the transaction ends.
SELECT password_changed_at <> $2
FROM people
WHERE id = $1
FOR UPDATE;

-- offer_totp
-- $1 person's id, $2 sealed secret. True unless the app is asked for already.
UPDATE people
SET totp_sealed = $2, totp_step = 0
WHERE id = $1 AND totp_enabled_at IS NULL
RETURNING true;

-- enable_totp
-- $1 person's id, $2 step of the code that showed that it works, $3 sealed secret it was for.
UPDATE people
SET totp_enabled_at = now(), totp_step = $2
WHERE id = $1 AND totp_enabled_at IS NULL AND totp_sealed = $3
RETURNING true;

-- disable_totp
-- $1 person's id.
UPDATE people
SET totp_enabled_at = NULL, totp_sealed = NULL, totp_step = 0
WHERE id = $1;

-- use_step
-- $1 person's id, $2 step. True the first time.
UPDATE people
SET totp_step = $2
WHERE id = $1 AND totp_step < $2
RETURNING true;

-- drop_recovery_codes
-- $1 person's id.
DELETE FROM recovery_codes
WHERE person_id = $1;

-- add_recovery_codes
-- $1 person's id, $2 digests.
INSERT INTO recovery_codes (digest, person_id)
SELECT digest, $1 FROM unnest($2::bytea[]) AS digest;

-- use_recovery_code
-- $1 person's id, $2 digest. True the first time.
DELETE FROM recovery_codes
WHERE person_id = $1 AND digest = $2
RETURNING true;

-- count_recovery_codes
-- $1 person's id.
SELECT count(*) FROM recovery_codes WHERE person_id = $1;
