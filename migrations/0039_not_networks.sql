-- Networks that a key may not be used from, whatever only_networks says. NULL: none.
-- Not in key_records: the release before, which may go on serving, reads all that view has.
ALTER TABLE api_keys
    ADD COLUMN not_networks cidr[] CHECK (cardinality(not_networks) > 0);
