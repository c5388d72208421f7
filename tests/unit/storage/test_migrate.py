"""Which files are migrations."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.storage.migrate import migrations_folder, read_migrations


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("0010_c.sql", "0002_b.sql", "0001_a.sql", "notes.txt"):
        (tmp_path / name).write_text(f"-- {name}")
    assert [migration.name for migration in read_migrations(tmp_path)] == ["0001_a", "0002_b", "0010_c"]


@pytest.mark.parametrize("names", [("1_a.sql",), ("0001_a.sql", "0001_b.sql"), ("0001-a.sql",)])
def test_misnamed_files_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(ValueError, match="NNNN_name"):
        read_migrations(tmp_path)


def test_the_shipped_migrations_are_found() -> None:
    assert read_migrations(migrations_folder())[0].name == "0001_accounts"
