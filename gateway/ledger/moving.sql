-- without_end
-- Moving takes as long as it takes, whatever the database or the role is set to.
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout');

-- hold_off_writers
-- Recorders lock a cursor before they write rows, so they wait there. One that waited for the table of rows itself would
-- write where TimescaleDB does not look: it is asked where rows go before the wait, and says what was true then.
LOCK TABLE journal_cursors, usage_events IN EXCLUSIVE MODE;

-- owner
-- Whose the table is, if it is not ours.
SELECT quote_ident(pg_get_userbyid(relowner))
FROM pg_class
WHERE oid = 'usage_events'::regclass AND pg_get_userbyid(relowner) <> current_user;

-- attached
-- What an operator has hung on the table and would lose with it. Parts of the table itself are not meant.
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS what
FROM pg_depend d
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = 'usage_events'::regclass AND d.deptype = 'n'
  AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = d.objid AND d.classid = 'pg_class'::regclass)
UNION
SELECT format('trigger %I', t.tgname)
FROM pg_trigger t
WHERE t.tgrelid = 'usage_events'::regclass AND NOT t.tgisinternal AND t.tgname <> 'ts_insert_blocker'
UNION
SELECT format('policy %I', polname) FROM pg_policy WHERE polrelid = 'usage_events'::regclass
UNION
SELECT format('publication %I', p.pubname)
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
WHERE r.prrelid = 'usage_events'::regclass
ORDER BY 1;

-- afterwards
-- What makes the table that takes the place of `usage_events` the same to everybody: names of indices, and what others
-- than the owner may do. Statements for when it has that name.
SELECT format('ALTER INDEX %s RENAME TO %I', n.indexrelid::regclass, o.relname) AS statement
FROM (
    SELECT c.relname, i.indisprimary, substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*$') AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'usage_events'::regclass
) AS o
JOIN (
    SELECT indexrelid, indisprimary, substring(pg_get_indexdef(indexrelid) FROM ' USING .*$') AS definition
    FROM pg_index
    WHERE indrelid = 'usage_events_new'::regclass
) AS n USING (indisprimary, definition)
UNION ALL
SELECT format(
    'GRANT %s%s ON usage_events TO %s%s', g.privilege_type, ' (' || quote_ident(g.of_column) || ')',
    CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
    CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' END
)
FROM (
    SELECT a.grantee, a.privilege_type, a.is_grantable, NULL AS of_column, c.relowner
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.oid = 'usage_events'::regclass
    UNION ALL
    SELECT a.grantee, a.privilege_type, a.is_grantable, t.attname, c.relowner
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
    WHERE c.oid = 'usage_events'::regclass
) AS g
WHERE g.grantee <> g.relowner;

-- columns
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
FROM pg_attribute
WHERE attrelid = 'usage_events'::regclass AND attnum > 0 AND NOT attisdropped;

-- count_rows
SELECT count(*) FROM usage_events;

-- next_month
-- The first month that has rows at or after an instant, as text: a row may be of a year that Python does not know.
-- $1 the instant
SELECT found.month::text AS start, ((found.month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC')::text AS until
FROM (
    SELECT date_trunc('month', min(started_at), 'UTC') AS month
    FROM usage_events
    WHERE started_at >= $1::text::timestamptz AND started_at > '-infinity' AND started_at < 'infinity'
) AS found
WHERE found.month IS NOT NULL;

-- make_partition
-- The statement that makes the partition of a month, named as `ensure_usage_month` does. $1 its start  $2 its end
SELECT format(
    'CREATE TABLE %I PARTITION OF usage_events_new FOR VALUES FROM (%L) TO (%L)',
    'usage_events_' || to_char($1::text::timestamptz AT TIME ZONE 'UTC', 'YYYY_MM'), $1::text, $2::text
);
