"""Who may use the files of a SQLite front end."""

from pathlib import Path

from agent import files


def test_a_file_that_goes_away_while_it_is_asked_about_is_nobodys_trouble(tmp_path: Path) -> None:
    """SQLite removes its -wal and -shm as it closes.

    Whoever asks for them at that moment finds a link to nothing.
    """
    front = tmp_path / "front.db"
    front.touch()
    front.with_name("front.db-shm").symlink_to(tmp_path / "gone")

    assert files.refused(front) is None
