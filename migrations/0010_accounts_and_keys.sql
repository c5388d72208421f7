-- What a subscription makes of an account, whom it is billed for, and what a key may be used for.

-- draft: not yet open. active and past_due may call. suspended and cancelled may not.
ALTER TABLE accounts
    DROP CONSTRAINT accounts_status_check,
    ADD CONSTRAINT accounts_status_check
        CHECK (status IN ('draft', 'active', 'past_due', 'suspended', 'cancelled')),
    ADD COLUMN billing_anchor date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date, -- day that periods begin on
    ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC' CHECK (char_length(time_zone) BETWEEN 1 AND 64),
    ADD COLUMN internal boolean NOT NULL DEFAULT false,                               -- our own: never billed
    ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object');

-- Restrictions. NULL: none.
ALTER TABLE api_keys
    ADD COLUMN only_routes   text[] CHECK (cardinality(only_routes) > 0),
    ADD COLUMN only_methods  text[] CHECK (cardinality(only_methods) > 0),
    ADD COLUMN only_networks cidr[] CHECK (cardinality(only_networks) > 0),
    ADD COLUMN last_used_at  timestamptz,           -- to the minute
    ALTER COLUMN visible DROP NOT NULL,             -- NULL: imported as a digest, nobody knows how it begins
    ALTER COLUMN last_four DROP NOT NULL;

-- That a key was used is no change: nobody has to be told.
DROP TRIGGER api_keys_changed ON api_keys;
CREATE TRIGGER api_keys_added AFTER INSERT OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION notify_key_changed();
CREATE TRIGGER api_keys_changed AFTER UPDATE ON api_keys
    FOR EACH ROW
    WHEN (to_jsonb(OLD) - 'last_used_at' IS DISTINCT FROM to_jsonb(NEW) - 'last_used_at')
    EXECUTE FUNCTION notify_key_changed();
DROP TRIGGER api_keys_audited ON api_keys;
CREATE TRIGGER api_keys_audited AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION audit_change('key', 'last_used_at');

-- Notes when keys were used, to the minute, so that most uses write nothing. Keys that somebody else is noting
-- at this moment are left to him.
CREATE FUNCTION note_key_uses(ids bigint[], instants timestamptz[]) RETURNS void LANGUAGE sql AS $$
    UPDATE api_keys AS k
    SET last_used_at = stale.at
    FROM (
        SELECT one.id, used.at
        FROM unnest(ids, instants) AS used (id, at)
        INNER JOIN api_keys AS one ON one.id = used.id
        WHERE one.last_used_at IS NULL OR one.last_used_at < used.at - interval '1 minute'
        ORDER BY one.id
        FOR UPDATE OF one SKIP LOCKED
    ) AS stale
    WHERE k.id = stale.id
$$;

-- What is shown of an account and of a key, in one place.
CREATE VIEW account_records AS
SELECT
    id, public_id, external_id, name, tier, status, created_at, billing_anchor, time_zone, internal,
    metadata::text AS metadata
FROM accounts;

CREATE VIEW key_records AS
SELECT
    k.id, k.public_id, k.account_id, a.public_id AS account, k.name, k.visible, k.last_four, k.mode,
    k.created_at, k.expires_at, k.revoked_at, k.last_used_at, s.public_id AS successor,
    k.only_routes, k.only_methods, k.only_networks::text[] AS only_networks
FROM api_keys AS k
INNER JOIN accounts AS a ON a.id = k.account_id
LEFT JOIN api_keys AS s ON s.id = k.successor_id;
