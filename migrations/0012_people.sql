-- People: who logs in, which accounts they belong to, their sessions, and the mails they are sent.
-- Secrets are nowhere: passwords are argon2id hashes, tokens are SHA-256 digests, what must be read again is sealed.

CREATE TABLE people (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id           text NOT NULL UNIQUE CHECK (public_id ~ '^person_[0-9A-Za-z]{16,40}$'),
    email               text NOT NULL CHECK (email ~ '^[\x21-\x7e]{3,254}$'),
    name                text NOT NULL CHECK (char_length(name) <= 200 AND name !~ '[\x01-\x1f\x7f-\x9f]'),
    password_hash       text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    password_changed_at timestamptz NOT NULL DEFAULT now(),
    verified_at         timestamptz NOT NULL DEFAULT now(), -- when it was shown that the address is theirs
    totp_sealed         bytea,                              -- the secret of the authenticator app
    totp_enabled_at     timestamptz,                        -- NULL: the app is not asked for
    totp_step           bigint NOT NULL DEFAULT 0,          -- the newest code that was used: none works twice
    created_at          timestamptz NOT NULL DEFAULT now(),
    CHECK (totp_enabled_at IS NULL OR totp_sealed IS NOT NULL)
);

CREATE UNIQUE INDEX people_email ON people (lower(email));

CREATE TABLE recovery_codes (
    digest    bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    person_id bigint NOT NULL REFERENCES people (id) ON DELETE CASCADE
);

CREATE INDEX recovery_codes_person ON recovery_codes (person_id);

CREATE TABLE memberships (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id  text NOT NULL UNIQUE CHECK (public_id ~ '^member_[0-9A-Za-z]{16,40}$'),
    person_id  bigint NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    account_id bigint NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'billing')),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, person_id)
);

CREATE INDEX memberships_person ON memberships (person_id);

-- One log-in. It goes on as long as its refresh tokens are exchanged in time, each once.
CREATE TABLE sessions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id  text NOT NULL UNIQUE CHECK (public_id ~ '^session_[0-9A-Za-z]{16,40}$'),
    person_id  bigint NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz,
    ended_why  text CHECK (ended_why IN ('logout', 'password', 'reuse'))
);

CREATE INDEX sessions_person ON sessions (person_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    digest     bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    session_id bigint NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz
);

CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

-- Somebody wants to register. There is a person when the token of the mail has come back.
CREATE TABLE registrations (
    digest        bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    email         text NOT NULL,
    name          text NOT NULL,
    account_name  text NOT NULL,
    password_hash text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    expires_at    timestamptz NOT NULL
);

CREATE INDEX registrations_email ON registrations (lower(email));
CREATE INDEX registrations_expiry ON registrations (expires_at);

CREATE TABLE password_resets (
    digest     bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    person_id  bigint NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);

CREATE INDEX password_resets_person ON password_resets (person_id);

CREATE TABLE invitations (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id  text NOT NULL UNIQUE CHECK (public_id ~ '^invitation_[0-9A-Za-z]{16,40}$'),
    digest     bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    account_id bigint NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    email      text NOT NULL CHECK (email ~ '^[\x21-\x7e]{3,254}$'),
    role       text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'billing')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

CREATE UNIQUE INDEX invitations_email ON invitations (account_id, lower(email));

-- Addresses and names are personal: the audit log, which keeps everything for good, has the ids only.
CREATE TRIGGER people_audited AFTER INSERT OR UPDATE OR DELETE ON people
    FOR EACH ROW EXECUTE FUNCTION audit_change(
        'person', 'email', 'name', 'password_hash', 'totp_sealed', 'totp_step'
    );
CREATE TRIGGER memberships_audited AFTER INSERT OR UPDATE OR DELETE ON memberships
    FOR EACH ROW EXECUTE FUNCTION audit_change('membership');
CREATE TRIGGER invitations_audited AFTER INSERT OR UPDATE OR DELETE ON invitations
    FOR EACH ROW EXECUTE FUNCTION audit_change('invitation', 'email');
-- Not when they are swept away after their end.
CREATE TRIGGER sessions_audited AFTER INSERT OR UPDATE ON sessions
    FOR EACH ROW EXECUTE FUNCTION audit_change('session', 'expires_at');

-- Mails to be sent. Their text may hold a token, so it is sealed, and gone once the mail is.
CREATE TABLE mail_outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id   text NOT NULL UNIQUE CHECK (public_id ~ '^mail_[0-9A-Za-z]{16,40}$'),
    recipient   text NOT NULL CHECK (recipient ~ '^[\x21-\x7e]{3,254}$'),
    sealed      bytea,                                    -- subject and text; NULL: sent, or given up
    attempts    integer NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    next_try_at timestamptz NOT NULL DEFAULT now(),
    sent_at     timestamptz,
    failed_at   timestamptz                               -- given up
);

CREATE INDEX mail_outbox_due ON mail_outbox (next_try_at) WHERE sealed IS NOT NULL;

-- What signs and seals where no setting says so: made once, shared by all gateways on this database.
CREATE TABLE portal_secret (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    secret bytea NOT NULL CHECK (octet_length(secret) = 32)
);
