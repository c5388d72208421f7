-- layout
-- How rows of calls are laid out now.
SELECT usage_rows_layout();

-- parts
-- How many partitions or chunks there are, what all of it takes on disk, and the times of the rows.
SELECT p.parts, p.size_bytes, s.oldest_at, s.newest_at
FROM (
    SELECT count(*) AS parts, coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint AS size_bytes
    FROM pg_inherits
    WHERE inhparent = 'usage_events'::regclass
) AS p,
(SELECT min(started_at) AS oldest_at, max(started_at) AS newest_at FROM usage_events) AS s;
