-- Who calls: accounts and their keys.

CREATE TABLE accounts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id   text NOT NULL UNIQUE CHECK (public_id ~ '^acct_[0-9A-Za-z]{16,40}$'),
    external_id text UNIQUE CHECK (char_length(external_id) BETWEEN 1 AND 200),
    name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200 AND name !~ '[\x01-\x1f\x7f-\x9f]'),
    -- Spelled as in the policies, and sent in a header. Whether the tier exists is the policies' business.
    tier        text NOT NULL CHECK (tier ~ '^[a-z][a-z0-9_-]{0,62}$'),
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- The secret itself is nowhere: only its SHA-256 and the parts that may be shown.
CREATE TABLE api_keys (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id    text NOT NULL UNIQUE CHECK (public_id ~ '^key_[0-9A-Za-z]{16,40}$'),
    account_id   bigint NOT NULL REFERENCES accounts (id),
    name         text NOT NULL CHECK (char_length(name) <= 200 AND name !~ '[\x01-\x1f\x7f-\x9f]'),
    digest       bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    visible      text NOT NULL CHECK (visible ~ '^[a-z][a-z0-9]{1,15}_(live|test)_$'),
    last_four    text NOT NULL CHECK (last_four ~ '^[0-9A-Za-z]{4}$'),
    mode         text NOT NULL CHECK (mode IN ('live', 'test')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    successor_id bigint REFERENCES api_keys (id)
);

CREATE INDEX api_keys_account_id ON api_keys (account_id, id);
CREATE INDEX api_keys_successor_id ON api_keys (successor_id) WHERE successor_id IS NOT NULL;

-- Gateways cache keys. Each change, by whomever it was made, tells them which entries to forget.
CREATE FUNCTION notify_key_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('tollway_keys', 'key:' || encode(OLD.digest, 'hex'));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('tollway_keys', 'key:' || encode(NEW.digest, 'hex'));
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION notify_account_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tollway_keys', 'account:' || coalesce(NEW.id, OLD.id));
    RETURN NULL;
END
$$;

CREATE TRIGGER api_keys_changed AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION notify_key_changed();

CREATE TRIGGER accounts_changed AFTER INSERT OR UPDATE OR DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION notify_account_changed();
