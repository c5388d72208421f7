"""The nouns of the product: what travels between rooms.

Owns shapes and their meaning, no I/O and no decisions. Everything is frozen except `Exchange`, the one record
that moves through the pipeline.
"""
