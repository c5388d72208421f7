"""How the gateway reaches Postgres and Redis: connections, migrations, loading of SQL and scripts.

Owns the two embedded servers as well: finding their binaries, starting, stopping. Does not own any table or
script: those live with the room that uses them.
"""
