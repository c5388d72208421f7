"""What workers read on the board is what the supervisor wrote last."""

from __future__ import annotations

from pathlib import Path

from gateway.app.board import Board, Phase


def test_a_new_board_says_that_all_is_well(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 3)
    assert board.phase is Phase.OPEN
    assert board.unattended() == []


def test_phases_and_posts(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 3)
    board.phase = Phase.CLOSING
    board.set_attended(0, attended=False)
    board.set_attended(2, attended=False)
    assert board.phase is Phase.CLOSING
    assert board.unattended() == [0, 2]
    board.set_attended(0, attended=True)
    assert board.unattended() == [2]
