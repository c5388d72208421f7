"""Tables of keys that were made elsewhere: CSV with a head, one key a line. Problems name their lines."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.accounts import checks
from gateway.accounts.keys import digest
from gateway.errors import Invalid, TollwayError
from gateway.model.principal import Mode

NEEDED = ("sha256", "account")
COLUMNS = (*NEEDED, "tier", "account_name", "name", "mode", "expires_at", "scopes")
SECRET = "key"  # noqa: S105 - the name of a column
MOST_LINES = 100_000
MOST_PROBLEMS = 100
"""More are not listed: nobody reads them."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SECRET = re.compile(r"[!-~]{8,200}")


@dataclass(frozen=True, slots=True)
class LineProblem:
    """One thing to mend. The message never repeats what stands there, which may be a secret."""

    line: int
    column: str
    message: str

    def within(self, file: str) -> str:
        """As people read it."""
        return (
            f"{file}:{self.line}: {self.column}: {self.message}"
            if self.column
            else f"{file}:{self.line}: {self.message}"
        )


class TableProblems(TollwayError):
    """The table can not be used; nothing has been changed."""

    def __init__(self, problems: list[LineProblem]) -> None:
        self.problems = problems
        super().__init__(f"{len(problems)} problem{'' if len(problems) == 1 else 's'} in the table of keys")


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A line. `account`: our id or the external one; with a `tier` an account that is not there is made."""

    line: int
    digest: bytes = field(repr=False)
    account: str
    tier: str | None = None
    account_name: str | None = None
    name: str = ""
    mode: Mode = Mode.LIVE
    expires_at: datetime | None = None
    scopes: tuple[str, ...] | None = None


def read_table(text: str, *, secrets: bool = False) -> list[ListedKey]:
    """The keys of a table. `secrets`: a column `key` may stand for `sha256`. Raises TableProblems."""
    problems: list[LineProblem] = []
    keys: list[ListedKey] = []
    seen: dict[bytes, int] = {}
    for line, cells in _rows(text, problems, secrets=secrets):
        key = _key(line, cells, problems)
        if key is None:
            continue
        if key.digest in seen:
            problems.append(LineProblem(line, "", f"is the same key as line {seen[key.digest]}"))
        seen.setdefault(key.digest, line)
        keys.append(key)
        if len(problems) >= MOST_PROBLEMS:
            break
    if problems:
        raise TableProblems(sorted(problems, key=lambda one: one.line)[:MOST_PROBLEMS])
    return keys


def _rows(
    text: str, problems: list[LineProblem], *, secrets: bool
) -> Iterator[tuple[int, Mapping[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    head: list[str] | None = None
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if not any(stripped) or stripped[0].startswith("#"):
                continue
            if head is None:
                head = stripped
                if not _is_head(head, reader.line_num, problems, secrets=secrets):
                    return
            elif len(stripped) != len(head):
                message = f"has {len(stripped)} cells, and the head names {len(head)} columns"
                problems.append(LineProblem(reader.line_num, "", message))
            elif reader.line_num > MOST_LINES:
                problems.append(LineProblem(reader.line_num, "", f"is beyond {MOST_LINES} lines"))
                return
            else:
                yield reader.line_num, {name: cell for name, cell in zip(head, stripped, strict=True) if cell}
    except csv.Error:
        problems.append(LineProblem(reader.line_num, "", "is not CSV: a quote is not closed, or misplaced"))
    if head is None:
        problems.append(LineProblem(1, "", f"needs a head that names its columns, like {','.join(COLUMNS)}"))


def _is_head(head: list[str], line: int, problems: list[LineProblem], *, secrets: bool) -> bool:
    known = [*COLUMNS, SECRET] if secrets else [*COLUMNS]
    before = len(problems)
    if SECRET in head and not secrets:
        message = "holds secrets, which are not kept in files: give their SHA-256 (`tollway key hash`)"
        problems.append(LineProblem(line, SECRET, message))
    elif unknown := [name for name in head if name not in known]:
        message = f"has {len(unknown)} unknown columns; there are: {', '.join(known)}"
        problems.append(LineProblem(line, "", message))
    if len(set(head)) < len(head):
        problems.append(LineProblem(line, "", "names a column twice"))
    needed = [
        name for name in NEEDED if name not in head and not (secrets and name == "sha256" and SECRET in head)
    ]
    if needed and len(problems) == before:
        problems.append(LineProblem(line, "", f"needs a head with the columns {' and '.join(NEEDED)}"))
    return len(problems) == before


def _key(line: int, cells: Mapping[str, str], problems: list[LineProblem]) -> ListedKey | None:
    found = len(problems)

    def wrong(column: str, message: str) -> None:
        problems.append(LineProblem(line, column, message))

    sha256, secret = cells.get("sha256", ""), cells.get(SECRET)
    if secret is not None and not _SECRET.fullmatch(secret):
        wrong(SECRET, "must have 8 to 200 characters of printable ASCII, without spaces")
    elif secret is None and not _SHA256.fullmatch(sha256):
        wrong("sha256", "must be a SHA-256 of 64 hexadecimal digits")
    mode, expires = cells.get("mode", Mode.LIVE.value), cells.get("expires_at")
    if mode not in (Mode.LIVE.value, Mode.TEST.value):
        wrong("mode", "must be live or test")
    expires_at = _instant(expires) if expires is not None else None
    if expires is not None and expires_at is None:
        wrong("expires_at", "must be an instant with its zone, like 2027-01-31T00:00:00Z")
    scopes = tuple(cells["scopes"].split()) if "scopes" in cells else None
    try:
        checks.check_name("account", cells.get("account", ""))
        checks.check_name("account_name", cells.get("account_name", "-"))
        checks.check_name("name", cells.get("name", ""), may_be_empty=True)
        checks.check_scopes(scopes)
        if "tier" in cells:
            checks.check_tier(cells["tier"])
    except Invalid as invalid:
        wrong(invalid.field, invalid.message)
    if len(problems) > found:
        return None
    return ListedKey(
        line,
        bytes.fromhex(sha256) if secret is None else digest(secret.encode()),
        cells["account"],
        cells.get("tier"),
        cells.get("account_name"),
        cells.get("name", ""),
        Mode(mode),
        expires_at,
        scopes,
    )


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
