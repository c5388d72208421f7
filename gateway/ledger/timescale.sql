-- extension
-- What there is of TimescaleDB. shared_preload_libraries is not for everybody's eyes; this setting of its loader is.
SELECT current_database() AS database,
       (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb') AS offered,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS installed,
       current_setting('timescaledb.disable_load', true) IS NOT NULL AS is_preloaded;

-- one_at_a_time
-- Two that create an extension at once are in each other's way.
SELECT pg_advisory_xact_lock(hashtextextended('tollway timescaledb', 0));

-- create
CREATE EXTENSION IF NOT EXISTS timescaledb;

-- schema
SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'timescaledb';
