"""The truth about usage: journals booked into Postgres exactly once, summed up, and read back.

Owns the recorder, the usage tables and the cursors of journals. Does not own how journals are written, nor
what a call costs: that was decided when it was admitted and ended, and stands in the journal.
"""
