-- claim
-- $1 id, $2 request. True when it is new; waits for another transaction that claims the same.
INSERT INTO idempotent_answers (id, request)
VALUES ($1, $2)
ON CONFLICT (id) DO NOTHING
RETURNING true;

-- get
-- $1 id.
SELECT request, sealed
FROM idempotent_answers
WHERE id = $1;

-- keep
-- $1 id, $2 sealed answer.
UPDATE idempotent_answers
SET sealed = $2
WHERE id = $1;

-- forget
-- $1 how old in seconds.
DELETE FROM idempotent_answers
WHERE created_at < now() - make_interval(secs => $1);
