-- Special deals: other figures for limits and quotas of one account, or caps of one key, beside its tier.

CREATE TABLE overrides (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id  text NOT NULL UNIQUE CHECK (public_id ~ '^ovr_[0-9A-Za-z]{16,40}$'),
    account_id bigint NOT NULL REFERENCES accounts (id),
    key_id     bigint REFERENCES api_keys (id),   -- NULL: the account as a whole
    -- Of a limit or quota, spelled as in the policies. Whether there is one is the policies' business.
    name       text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    tokens     bigint CHECK (tokens BETWEEN 1 AND 999999999),                 -- of a limit: so many
    period_ms  bigint CHECK (period_ms IN (1000, 60000, 3600000, 86400000)),  -- per so long
    burst      bigint CHECK (burst BETWEEN 1 AND 1000000000),
    amount     bigint CHECK (amount BETWEEN 1 AND 999999999999999),           -- of a quota
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(tokens, period_ms, burst) = CASE WHEN amount IS NULL THEN 3 ELSE 0 END),
    CHECK (amount IS NULL OR key_id IS NULL)
);

CREATE UNIQUE INDEX overrides_of_account ON overrides (account_id, coalesce(key_id, 0), name);

CREATE FUNCTION notify_override_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tollway_keys', 'account:' || coalesce(NEW.account_id, OLD.account_id));
    RETURN NULL;
END
$$;

CREATE TRIGGER overrides_changed AFTER INSERT OR UPDATE OR DELETE ON overrides
    FOR EACH ROW EXECUTE FUNCTION notify_override_changed();

CREATE TRIGGER overrides_audited AFTER INSERT OR UPDATE OR DELETE ON overrides
    FOR EACH ROW EXECUTE FUNCTION audit_change('override');
