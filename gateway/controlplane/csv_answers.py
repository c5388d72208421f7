"""Lists as CSV (RFC 4180), for spreadsheets, in which no cell is a formula."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from aiohttp import web

FORMULA = frozenset("=+-@\t\r\n|%")
"""Spreadsheets compute cells that begin with one of these; an apostrophe makes them text."""


def wants_csv(request: web.Request, form: str | None) -> bool:
    """Whether `?format=csv` says so, or `Accept` where the address says nothing."""
    if form is not None:
        return form == "csv"
    accepted = [one.partition(";")[0].strip().lower() for one in request.headers.get("Accept", "").split(",")]
    return "text/csv" in accepted


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """The rows with a line of names on top."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return text.getvalue()


def csv_answer(
    columns: Sequence[str], rows: Iterable[Mapping[str, object]], following: str | None
) -> web.Response:
    """The same as an answer. The next page is linked in the head (RFC 8288)."""
    headers = {"Content-Disposition": 'attachment; filename="usage.csv"'}
    if following is not None:
        headers["Link"] = f'<{following}>; rel="next"'
    return web.Response(
        text=csv_text(columns, rows), content_type="text/csv", charset="utf-8", headers=headers
    )


def _cell(value: object) -> object:
    """Numbers as they are; texts so that no spreadsheet computes them."""
    if value is None or isinstance(value, int):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    return f"'{text}" if text[:1] in FORMULA else text
