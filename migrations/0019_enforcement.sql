-- Switches that loosen limits, quotas and concurrency limits for a while, beside what the policies say.

-- One row for each scope that was ever switched; back at `enforce` it stays, with who said so and why. A scope is any
-- of limit, tier and route; NULL: all of them.
CREATE TABLE enforcement_switches (
    public_id  text PRIMARY KEY,      -- the scope as text, like `limit:burst tier:team`, or `everything`
    state      text NOT NULL CHECK (state IN ('enforce', 'shadow', 'off')),
    limit_name text CHECK (limit_name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    tier       text CHECK (tier ~ '^[a-z][a-z0-9_-]{0,62}$'),
    route      text CHECK (route ~ '^[a-z][a-z0-9_-]{0,62}$'),
    reason     text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 500 AND reason !~ '[\x01-\x1f\x7f-\x9f]'),
    expires_at timestamptz,           -- from then on as if it said `enforce`; NULL: until somebody changes it
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    CHECK (expires_at IS NULL OR state <> 'enforce')
);

CREATE FUNCTION notify_enforcement_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tollway_enforcement', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER enforcement_switches_changed AFTER INSERT OR UPDATE OR DELETE ON enforcement_switches
    FOR EACH STATEMENT EXECUTE FUNCTION notify_enforcement_changed();

CREATE TRIGGER enforcement_switches_audited AFTER INSERT OR UPDATE OR DELETE ON enforcement_switches
    FOR EACH ROW EXECUTE FUNCTION audit_change('enforcement', 'changed_at', 'changed_by');
