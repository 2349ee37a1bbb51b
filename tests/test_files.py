from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.files import atomic_writer


def test_who_reads_sees_the_old_content_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with atomic_writer(path) as file:
        file.write(b"old")
        assert not path.exists()
    with atomic_writer(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    with path.open("rb") as reader:
        with atomic_writer(path) as file:
            file.write(b"newer")
        assert reader.read() == b"new"  # the file that was opened is another one now
    assert path.read_bytes() == b"newer"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_writer(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
