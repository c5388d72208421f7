-- keep_registration
-- $1 digest, $2 email, $3 name, $4 account's name, $5 password hash, $6 seconds it can be completed.
INSERT INTO registrations (digest, email, name, account_name, password_hash, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6));

-- find_registration
-- $1 digest.
SELECT email, name, account_name, password_hash
FROM registrations
WHERE digest = $1 AND expires_at > now();

-- take_registration
-- $1 digest. All that wait for the same address go with it.
WITH found AS (
    SELECT email, name, account_name, password_hash
    FROM registrations
    WHERE digest = $1 AND expires_at > now()
), gone AS (
    DELETE FROM registrations
    WHERE lower(email) = (SELECT lower(email) FROM found)
)
SELECT email, name, account_name, password_hash FROM found;

-- keep_reset
-- $1 digest, $2 person's id, $3 seconds it works. Nothing for who is not there.
INSERT INTO password_resets (digest, person_id, expires_at)
SELECT $1, p.id, now() + make_interval(secs => $3)
FROM people AS p
WHERE p.id = $2;

-- find_reset
-- $1 digest. One at a time.
SELECT
    p.id, p.public_id, p.email, p.name, p.created_at, p.verified_at, p.password_changed_at, p.totp_enabled_at
FROM password_resets AS r
INNER JOIN people AS p ON p.id = r.person_id
WHERE r.digest = $1 AND r.expires_at > now()
FOR UPDATE OF r;

-- drop_resets
-- $1 person's id.
DELETE FROM password_resets
WHERE person_id = $1;

-- forget_registrations
DELETE FROM registrations
WHERE expires_at < now();

-- forget_resets
DELETE FROM password_resets
WHERE expires_at < now();

-- forget_invitations
DELETE FROM invitations
WHERE expires_at < now() - interval '30 days';

-- forget_sessions
DELETE FROM sessions
WHERE least(ended_at, expires_at) < now() - interval '30 days';

-- forget_tokens
-- Of sessions that go on, so that a stolen token that comes late still ends them, for as long as a session idles.
DELETE FROM refresh_tokens
WHERE used_at < now() - interval '30 days';

-- forget_mails
DELETE FROM mail_outbox
WHERE sealed IS NULL AND created_at < now() - interval '7 days';
