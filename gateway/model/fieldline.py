"""The most ordinary form of a header line."""

from __future__ import annotations

import re

FIELD_LINE = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)"
)
"""Name and value, as every reader understands them (RFC 9112, section 5): nothing is behind the value."""
