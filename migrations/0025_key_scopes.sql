-- What a key may be used for where routes require scopes. NULL: for all of them.
ALTER TABLE api_keys
    ADD COLUMN scopes text[] CHECK (cardinality(scopes) <= 100);
