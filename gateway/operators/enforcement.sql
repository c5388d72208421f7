-- in_force
-- Every switch that loosens something now, with the seconds until it expires.
SELECT
    state, limit_name, tier, route, reason, expires_at, changed_at, changed_by,
    extract(EPOCH FROM expires_at - now())::float8 AS expires_in_s
FROM enforcement_switches
WHERE state <> 'enforce' AND (expires_at IS NULL OR expires_at > now())
ORDER BY public_id;

-- lock
-- Nobody else switches until the transaction ends; who only looks does not wait.
LOCK TABLE enforcement_switches IN SHARE ROW EXCLUSIVE MODE;

-- set
-- $1 scope as text, $2 state, $3 limit, $4 tier, $5 route, each NULL: all, $6 reason, $7 seconds or NULL.
INSERT INTO enforcement_switches (public_id, state, limit_name, tier, route, reason, expires_at, changed_by)
VALUES (
    $1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7),
    coalesce(nullif(current_setting('tollway.actor', true), ''), 'database:' || session_user)
)
ON CONFLICT (public_id) DO UPDATE
SET
    state = excluded.state,
    reason = excluded.reason,
    expires_at = excluded.expires_at,
    changed_at = now(),
    changed_by = excluded.changed_by;

-- special_deal
-- $1 name. A row when some account or key has an override that is called so.
SELECT true
FROM overrides
WHERE name = $1
LIMIT 1;
