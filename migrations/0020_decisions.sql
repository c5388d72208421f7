-- What was decided about a call, beside its outcome, and which policies were in use when.

ALTER TABLE usage_events
    ADD COLUMN code       text,     -- of the refusal; NULL: it was not refused, or a release before wrote the row
    ADD COLUMN refused_by text[],   -- limits, quotas and concurrency limits that refused it
    ADD COLUMN shadows    text[];   -- those that would have, had they been enforced

CREATE INDEX usage_events_by_request ON usage_events (request_id);
CREATE INDEX usage_events_marked ON usage_events (started_at DESC, request_id DESC)
    WHERE refused_by IS NOT NULL OR shadows IS NOT NULL;

-- One row for each time that a gateway took other policies into use. Only grows.
CREATE TABLE policy_history (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now(),
    gateway    text NOT NULL,         -- the machine's name
    digest     text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    how        text NOT NULL CHECK (how IN ('start', 'change', 'signal', 'api')),
    actor      text NOT NULL          -- as in the audit log; whoever changes files is not known
);

CREATE INDEX policy_history_of_gateway ON policy_history (gateway, applied_at DESC);

CREATE TRIGGER policy_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON policy_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
