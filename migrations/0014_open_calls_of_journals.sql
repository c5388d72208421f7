-- Which calls of earlier segments were open when the recorder came into the segment it is in. Segments that no open
-- call needs are deleted, ends of calls among them, so the segments that are left do not say it by themselves.
-- A recorder of the release before moves `segment` alone: then `open_calls_in` is another one, and they mean nothing.
ALTER TABLE journal_cursors
    ADD COLUMN open_calls    bigint[],    -- their sequence numbers
    ADD COLUMN open_calls_in bigint;      -- the segment
