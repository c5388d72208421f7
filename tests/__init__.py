"""Everything that shows the gateway works. `python -m tests` runs all of it."""
