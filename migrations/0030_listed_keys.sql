-- Keys that stand in a file of the operator's: they end when their line goes, and come back with it.
ALTER TABLE api_keys
    ADD COLUMN listed boolean NOT NULL DEFAULT false;
