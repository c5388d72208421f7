-- Which upstream a call went to: the side of a route that is split among several; empty when it went to none.

ALTER TABLE usage_events ADD COLUMN upstream text NOT NULL DEFAULT '';
