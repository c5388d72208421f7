-- Raw rows may go, or never be written. What keeps a journal from being booked twice is its cursor alone, so cursors
-- stay: a finished one is a few dozen bytes for each start of a worker.

-- Cursors were forgotten a week after their journal was finished. The journals of rows without one are finished.
INSERT INTO journal_cursors (journal_id, closed_at)
SELECT DISTINCT encode(substring(uuid_send(request_id) FROM 1 FOR 10), 'hex'), now()
FROM usage_events
ON CONFLICT (journal_id) DO NOTHING;

-- A recorder of the release before goes on asking for that: nothing happens then.
CREATE FUNCTION keep_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN NULL;
END
$$;

CREATE TRIGGER journal_cursors_stay BEFORE DELETE ON journal_cursors
    FOR EACH ROW EXECUTE FUNCTION keep_row();

CREATE INDEX journal_cursors_followed ON journal_cursors (journal_id) WHERE closed_at IS NULL;

COMMENT ON TABLE journal_cursors IS 'Never delete from it: a journal without a cursor is booked from its beginning.';
