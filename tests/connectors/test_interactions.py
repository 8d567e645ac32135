"""Leave-one-out files are read as they stand, or refused in one line that says where and why."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from connectors.base import FileFormatError
from connectors.interactions import find, read_interactions


@pytest.mark.parametrize("compress", [False, True])
def test_lines_keep_their_order_and_blank_ones_are_left_out(tmp_path: Path, compress: bool) -> None:
    content = b"1 30\n1 10\r\n\n 2\t7 \n"
    file = tmp_path / "tiny.txt"
    file.write_bytes(gzip.compress(content) if compress else content)
    users, items = read_interactions(file)
    assert users.tolist() == [1, 1, 2]
    assert items.tolist() == [30, 10, 7]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 2\n1 x\n", r"line 2: '1 x' is not `user item`, two whole numbers; fix the line"),
        ("1 2\n\n1 2 3\n", r"line 3: '1 2 3' is not `user item`"),
        ("1 -2\n", r"line 1: '1 -2' is not `user item`"),
        ("1 12345678901234567890\n", r"line 1: .* is not `user item`"),
        ("2 1\n1 1\n", r"line 2: user 1 comes after user 2; sort the file by user"),
        ("\n", r"holds no `user item` lines; give another file"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "tiny.txt"
    file.write_text(content)
    with pytest.raises(FileFormatError, match=f"tiny.txt {message}") as caught:
        read_interactions(file)
    assert "\n" not in str(caught.value)


def test_a_data_set_is_found_packed_or_not(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"has no video.txt.gz or video.txt: give --data"):
        find("video", tmp_path)
    (tmp_path / "video.txt").touch()
    assert find("video", tmp_path) == tmp_path / "video.txt"
    (tmp_path / "video.txt.gz").touch()
    assert find("video", str(tmp_path)) == tmp_path / "video.txt.gz"
