-- begin
-- $1 public id, $2 person's id, $3 seconds it idles, $4 seconds it lasts at most.
INSERT INTO sessions (public_id, person_id, expires_at)
VALUES ($1, $2, now() + make_interval(secs => least($3::bigint, $4::bigint)))
RETURNING id, extract(EPOCH FROM expires_at - now())::bigint AS left_s;

-- add_token
-- $1 digest, $2 session's id.
INSERT INTO refresh_tokens (digest, session_id)
VALUES ($1, $2);

-- person_of_token
-- $1 digest.
SELECT p.public_id
FROM refresh_tokens AS t
INNER JOIN sessions AS s ON s.id = t.session_id
INNER JOIN people AS p ON p.id = s.person_id
WHERE t.digest = $1;

-- take_token
-- $1 digest, $2 seconds that sessions last at most, $3 seconds in which a used token may come again.
-- Waits for whoever exchanges the same token at this moment.
SELECT
    s.id, s.public_id, p.public_id AS person,
    s.ended_at IS NULL AND least(s.expires_at, s.created_at + make_interval(secs => $2)) > now() AS works,
    t.used_at IS NOT NULL AS used,
    coalesce(t.used_at > now() - make_interval(secs => $3), false) AS used_just_now,
    extract(
        EPOCH FROM least(s.expires_at, s.created_at + make_interval(secs => $2)) - now()
    )::bigint AS left_s
FROM refresh_tokens AS t
INNER JOIN sessions AS s ON s.id = t.session_id
INNER JOIN people AS p ON p.id = s.person_id
WHERE t.digest = $1
FOR UPDATE OF t, s;

-- use_token
-- $1 digest.
UPDATE refresh_tokens
SET used_at = now()
WHERE digest = $1;

-- prolong
-- $1 session's id, $2 seconds from now, $3 seconds that it lasts at most.
UPDATE sessions
SET expires_at = least(now() + make_interval(secs => $2), created_at + make_interval(secs => $3))
WHERE id = $1
RETURNING extract(EPOCH FROM expires_at - now())::bigint;

-- end_one
-- $1 session's id, $2 why.
UPDATE sessions
SET ended_at = now(), ended_why = $2
WHERE id = $1 AND ended_at IS NULL;

-- end_all
-- $1 person's public id, $2 why, $3 public id of the one that goes on, or NULL.
UPDATE sessions
SET ended_at = now(), ended_why = $2
WHERE
    person_id = (SELECT id FROM people WHERE public_id = $1)
    AND ended_at IS NULL
    AND ($3::text IS NULL OR public_id <> $3);

-- find_person
-- $1 session's public id, $2 person's public id, $3 seconds that sessions last at most.
-- Who it is, while the session goes on.
SELECT
    p.id, p.public_id, p.email, p.name, p.created_at, p.verified_at, p.password_changed_at, p.totp_enabled_at
FROM sessions AS s
INNER JOIN people AS p ON p.id = s.person_id
WHERE
    s.public_id = $1 AND p.public_id = $2 AND s.ended_at IS NULL
    AND least(s.expires_at, s.created_at + make_interval(secs => $3)) > now();

-- of_person
-- $1 person's id, $2 seconds that sessions last at most.
-- Those that go on, when each was last gone on with, and when it is over in any case.
SELECT
    s.public_id, s.created_at, max(t.created_at) AS refreshed_at,
    least(s.expires_at, s.created_at + make_interval(secs => $2)) AS expires_at,
    s.created_at + make_interval(secs => $2) AS ends_at
FROM sessions AS s
INNER JOIN refresh_tokens AS t ON t.session_id = s.id
WHERE
    s.person_id = $1 AND s.ended_at IS NULL
    AND least(s.expires_at, s.created_at + make_interval(secs => $2)) > now()
GROUP BY s.id
ORDER BY s.id;

-- end_of_person
-- $1 session's public id, $2 person's id, $3 why. No row when the person has no such session that goes on.
UPDATE sessions
SET ended_at = now(), ended_why = $3
WHERE public_id = $1 AND person_id = $2 AND ended_at IS NULL AND expires_at > now()
RETURNING public_id;
