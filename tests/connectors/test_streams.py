"""The named streams are found in their folders, or the message says what was looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.base import FileFormatError
from connectors.streams import STREAMS, StreamFiles, find


def test_files_as_distributed_here_go_before_the_original_ones(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").touch()
    assert find("ml-1m", tmp_path) == StreamFiles("ml-1m", tmp_path / "ratings.dat")
    (tmp_path / "ratings.csv.gz").touch()
    (tmp_path / "movies.dat").touch()
    assert find("ml-1m", str(tmp_path)) == StreamFiles(
        "ml-1m", tmp_path / "ratings.csv.gz", tmp_path / "movies.dat"
    )


@pytest.mark.parametrize("name", STREAMS)
def test_missing_events_say_what_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=" or ".join(STREAMS[name].events)):
        find(name, tmp_path)


def test_a_file_is_a_stream_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "clicks.csv"
    assert find(None, file=file) == StreamFiles("clicks.csv", file)
    for name, given in ((None, None), ("ml-1m", file)):
        with pytest.raises(FileFormatError, match=r"name a STREAM \(ml-1m, .*\) or give --file"):
            find(name, tmp_path, given)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="is no folder: give --data the folder"):
        find("ml-100k", tmp_path / "nowhere")


def test_unknown_stream_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"'netflix' is not known.*ml-1m, ml-100k, movietw"):
        find("netflix", tmp_path)
