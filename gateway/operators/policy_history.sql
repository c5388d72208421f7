-- note
-- $1 gateway, $2 digest, $3 how, $4 actor or NULL: whoever the transaction is noted for.
INSERT INTO policy_history (gateway, digest, how, actor)
VALUES ($1, $2, $3, coalesce($4, nullif(current_setting('tollway.actor', true), ''), 'database:' || session_user));

-- audit
-- $1 digest before, $2 digest after, $3 names of the files.
INSERT INTO audit_log (actor, request_id, action, target, before, after)
VALUES (
    coalesce(nullif(current_setting('tollway.actor', true), ''), 'database:' || session_user),
    nullif(current_setting('tollway.request_id', true), ''),
    'policies.changed', 'policies',
    jsonb_build_object('digest', $1::text), jsonb_build_object('digest', $2::text, 'files', $3::text[])
);

-- announced
-- $1 digest. Who lately put the policies with this digest into a folder.
SELECT actor
FROM audit_log
WHERE target = 'policies' AND after ->> 'digest' = $1 AND at > now() - interval '5 minutes'
ORDER BY id DESC
LIMIT 1;

-- latest
-- $1 gateway. The digest it took into use last.
SELECT digest
FROM policy_history
WHERE gateway = $1
ORDER BY applied_at DESC, id DESC
LIMIT 1;

-- page
-- $1 id of the last row of the page before or NULL, $2 how many, $3 gateway or NULL. Newest first.
SELECT id, applied_at, gateway, digest, how, actor
FROM policy_history
WHERE ($1::bigint IS NULL OR id < $1) AND ($3::text IS NULL OR gateway = $3)
ORDER BY id DESC
LIMIT $2;

-- at
-- $1 instant. What each gateway had in use then, as far as it is known.
SELECT DISTINCT ON (gateway) id, applied_at, gateway, digest, how, actor
FROM policy_history
WHERE applied_at <= $1
ORDER BY gateway, applied_at DESC, id DESC;
