-- Messages that passed through a WebSocket, whole ones, each way; 0 for every other call.

ALTER TABLE usage_events
    ADD COLUMN ingress_messages bigint NOT NULL DEFAULT 0,   -- from the caller
    ADD COLUMN egress_messages  bigint NOT NULL DEFAULT 0;   -- to the caller
