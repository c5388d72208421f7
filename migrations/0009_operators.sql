-- Operators: their tokens, what they changed, and answers that a repeated request gets again.

-- The secret itself is nowhere: only its SHA-256.
CREATE TABLE admin_tokens (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id    text NOT NULL UNIQUE CHECK (public_id ~ '^tok_[0-9A-Za-z]{16,40}$'),
    name         text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200 AND name !~ '[\x01-\x1f\x7f-\x9f]'),
    digest       bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    last_four    text NOT NULL CHECK (last_four ~ '^[0-9A-Za-z]{4}$'),
    scopes       text[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz          -- to the minute
);

-- Every change of a record that operators own, by whomever it was made. Written by triggers in the transaction
-- that makes the change, so there is none without the other. Nothing in it is ever changed or deleted.
CREATE TABLE audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,         -- `token:<id>`, `bootstrap`, `cli:<user>`, `database:<role>`, ...
    request_id text,                  -- of the admin request, if it was one
    action     text NOT NULL,         -- `<kind>.created`, `.changed` or `.deleted`
    target     text NOT NULL,         -- public id of what was changed
    before     jsonb,                 -- NULL: it was created
    after      jsonb                  -- NULL: it was deleted
);

CREATE INDEX audit_log_target ON audit_log (target, id DESC);
CREATE INDEX audit_log_actor ON audit_log (actor, id DESC);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Arguments: the kind, then columns that are no change worth noting. Who acts is in the settings
-- `tollway.actor` and `tollway.request_id` of the transaction or session.
CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unnoted text[] := ARRAY['id', 'digest'] || TG_ARGV[1:];
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - unnoted END;
    new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - unnoted END;
BEGIN
    IF old_row = new_row THEN
        RETURN NULL;
    END IF;
    INSERT INTO audit_log (actor, request_id, action, target, before, after)
    VALUES (
        coalesce(nullif(current_setting('tollway.actor', true), ''), 'database:' || session_user),
        nullif(current_setting('tollway.request_id', true), ''),
        TG_ARGV[0] || CASE TG_OP WHEN 'INSERT' THEN '.created' WHEN 'UPDATE' THEN '.changed' ELSE '.deleted' END,
        coalesce(new_row, old_row) ->> 'public_id',
        old_row,
        new_row
    );
    RETURN NULL;
END
$$;

CREATE TRIGGER accounts_audited AFTER INSERT OR UPDATE OR DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION audit_change('account');
CREATE TRIGGER api_keys_audited AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION audit_change('key');
CREATE TRIGGER admin_tokens_audited AFTER INSERT OR UPDATE OR DELETE ON admin_tokens
    FOR EACH ROW EXECUTE FUNCTION audit_change('token', 'last_used_at');

-- The answer of a request that carried an `Idempotency-Key`, written with what the request changed. It is sealed
-- with a key made of that header and the operator's token, for it may hold a secret that is shown only once.
CREATE TABLE idempotent_answers (
    id         bytea PRIMARY KEY CHECK (octet_length(id) = 32),   -- SHA-256 of operator and key
    request    bytea NOT NULL CHECK (octet_length(request) = 32), -- SHA-256 of method, address and body
    sealed     bytea,                                             -- NULL: the request is being answered
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX idempotent_answers_age ON idempotent_answers (created_at);
