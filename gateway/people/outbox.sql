-- put
-- $1 public id, $2 recipient, $3 sealed; NULL: nothing to send.
INSERT INTO mail_outbox (public_id, recipient, sealed)
VALUES ($1, $2, $3);

-- lock
-- True for the one gateway that sends; it is given up when the connection is.
SELECT pg_try_advisory_lock(hashtextextended('tollway mail', 0));

-- due
-- $1 how many.
SELECT id, public_id, recipient, sealed, attempts, created_at < now() - interval '1 day' AS old
FROM mail_outbox
WHERE sealed IS NOT NULL AND next_try_at <= now()
ORDER BY next_try_at, id
LIMIT $1;

-- sent
-- $1 id. The text is gone with it.
UPDATE mail_outbox
SET sent_at = now(), sealed = NULL, attempts = attempts + 1
WHERE id = $1;

-- put_off
-- $1 id, $2 seconds.
UPDATE mail_outbox
SET next_try_at = now() + make_interval(secs => $2), attempts = attempts + 1
WHERE id = $1;

-- give_up
-- $1 id.
UPDATE mail_outbox
SET failed_at = now(), sealed = NULL, attempts = attempts + 1
WHERE id = $1;
