"""Tollway: a reverse-proxy API gateway that enforces monetization tiers."""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

__version__ = "0.1.0"

COMPILED = any((Path(__file__).parent / f"inline{suffix}").exists() for suffix in EXTENSION_SUFFIXES)
"""Whether the path of a call is machine code, made by `deploy/compile.py`. It does the same, for less CPU."""
