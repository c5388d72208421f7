"""The shell of every page: self-contained, no scripts, no fonts, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from html import escape


def content_security_policy(style: str, *, forms: bool = False) -> str:
    """What a page with this one style sheet may do. `forms`: send forms to where it came from."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; base-uri 'none'; form-action '{'self' if forms else 'none'}'; "
        f"frame-ancestors 'none'; style-src 'sha256-{digest}'"
    )


def html_page(title: str, style: str, body: str) -> str:
    """A whole page. `body` is HTML; the title is a text."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
