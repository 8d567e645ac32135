"""Data files of every kind give the same events, and bad ones one clear line."""

from __future__ import annotations

import contextlib
import gzip
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base import FileFormatError
from connectors.event import Event
from connectors.files import read_events, read_titles

# not in time order: a file is read as it lies
EXPECTED = [
    Event("7", "a", 978300760.0, 5.0, 0, 0),
    Event("8", "b", 978302109.0, 3.0, 0, 1),
    Event("7", "b", 978301968.0, 4.5, 0, 2),
]

SPELLINGS = {
    "comma.csv": "user,item,rating,timestamp\n7,a,5,978300760\n8,b,3,978302109\n"
    "7,b,4.5,978301968\n",
    "windows.csv": "\ufeffuserId,movieId,rating,timestamp\r\n7,a,5,978300760\r\n"
    "8,b,3,978302109\r\n7,b,4.5,978301968\r\n",
    "order.csv": "ts,ignored,Score,ProductId,UserId\n978300760,x,5,a,7\n978302109,,3,b,8\n"
    "978301968,y,4.5,b,7\n",
    "quoted.csv": '"User-ID";"Item-ID";"Rating";"Time"\n"7";"a";"5";"978300760"\n'
    '"8";"b";"3";"978302109"\n\n"7";"b";"4.5";"978301968"',
    "milliseconds.csv": "session_id,item_id,value,time\n7,a,5,978300760000\n8,b,3,978302109000\n"
    "7,b,4.5,978301968000\n",
    "nanoseconds.tsv": "uid\tiid\toverall\tts\n7\ta\t5\t978300760000000000\n"
    "8\tb\t3\t978302109000000000\n7\tb\t4.5\t978301968000000000\n",
    "dates.csv": "user,item,rating,datetime\n7,a,5,2000-12-31 22:12:40\n"
    "8,b,3,2000-12-31T22:35:09Z\n7,b,4.5,2000-12-31T23:32:48+01:00\n",
    "ratings.dat": "7::a::5::978300760\n8::b::3::978302109\n7::b::4.5::978301968\n",
    "u.data": "7\ta\t5\t978300760\n8\tb\t3\t978302109\n7\tb\t4.5\t978301968\n",
    "recbole.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "7\ta\t5\t978300760\n8\tb\t3\t978302109\n7\tb\t4.5\t978301968\n",
    "events.jsonl": '{"user": "7", "item": "a", "rating": 5, "timestamp": 978300760}\n\n'
    '{"item": "b", "user": 8, "rating": "3", "timestamp": 978302109.0}\n'
    '{"user": 7, "item": "b", "rating": 4.5, "timestamp": 978301968}\n',
}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def complaint(path: Path, **options: str) -> str:
    with pytest.raises(FileFormatError) as caught:
        read_events(path, **options)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    return said.removeprefix(str(path)).strip(" :")


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_spelling_gives_the_same_events(tmp_path: Path, name: str, zipped: bool) -> None:
    content = SPELLINGS[name].encode()
    path = write(tmp_path, f"{name}.gz" if zipped else name, content)
    if zipped:
        path.write_bytes(gzip.compress(content))
    batch = read_events(path)
    assert list(batch) == EXPECTED
    assert batch.timestamps.dtype == np.float64
    assert batch.values.dtype == np.float32
    assert batch.partitions.dtype == np.int32
    assert batch.offsets.dtype == np.int64


@pytest.mark.parametrize("zipped", [False, True])
def test_parquet(tmp_path: Path, zipped: bool) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "events.parquet"
    moments = pyarrow.array([978300760000, 978302109000, 978301968000])
    table = pyarrow.table(
        {
            "user_id": [7, 8, 7],
            "item_id": pyarrow.array(["a", "b", "b"]).dictionary_encode(),
            "rating": pyarrow.array([5, 3, 4.5], pyarrow.float32()),
            "timestamp": moments.cast(pyarrow.timestamp("ms", tz="UTC")),
        }
    )
    parquet.write_table(table, path)
    if zipped:
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_events(path)) == EXPECTED

    parquet.write_table(table.set_column(3, "timestamp", moments), path)
    assert list(read_events(path)) == EXPECTED

    parquet.write_table(table.set_column(0, "user_id", pyarrow.array([7, None, 7])), path)
    assert complaint(path).startswith("row 2: user_id None is not a string or an integer")

    path.write_bytes(path.read_bytes()[:-20])
    assert complaint(path).startswith("cannot be read as Parquet")


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = write(tmp_path, "events.parquet", b"PAR1")
    assert "pip install 'lrustream[parquet]'" in complaint(path)


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "who,what,user,when\nu,i,wrong,5\n")
    batch = read_events(path, user="who", item="What", time="when")
    assert list(batch) == [Event("u", "i", 5.0)]


def test_columns_of_a_file_without_header_can_be_numbered(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "1,2,4.0,100,x\n3,4,5.0,200,y\n")
    batch = read_events(path, user="2", item="1", value="3", time="4")
    assert [(e.user, e.item, e.timestamp, e.value) for e in batch] == [
        ("2", "1", 100.0, 4.0),
        ("4", "3", 200.0, 5.0),
    ]


def test_three_columns_without_header_are_user_item_time(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "u i 100\nv j 200\n")
    assert list(read_events(path)) == [Event("u", "i", 100.0), Event("v", "j", 200.0, None, 0, 1)]


def test_period_counts_as_time_unless_there_is_a_better_one(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user,item,period\nu,i,0\nv,j,16\n")
    assert read_events(path).timestamps.tolist() == [0.0, 16.0]
    path = write(tmp_path, "b.csv", "user,item,period,timestamp\nu,i,3,100\n")
    assert read_events(path).timestamps.tolist() == [100.0]


def test_time_unit_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user,item,time\nu,i,5000\n")
    assert read_events(path).timestamps.tolist() == [5000.0]
    assert read_events(path, time_unit="ms").timestamps.tolist() == [5.0]
    assert "time unit 'h' is not known: give one of s, ms, us, ns" in complaint_of_option(
        path, time_unit="h"
    )


def test_format_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user;x,item;x,timestamp\nu,i,5\n")
    assert "no user column among user;x, item;x" in complaint(path, format="csv")
    assert "one of csv, tsv, inter, movielens, jsonl, parquet" in complaint_of_option(
        path, format="xml"
    )


def complaint_of_option(path: Path, **options: str) -> str:
    with pytest.raises(FileFormatError) as caught:
        read_events(path, **options)
    return str(caught.value)


def test_missing_values_are_nan(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user,item,rating,timestamp\nu,i,,1\nv,j,NaN,2\nw,k,2,3\n")
    assert [event.value for event in read_events(path)] == [None, None, 2.0]
    path = write(tmp_path, "b.csv", "user,item,timestamp\nu,i,1\n")
    assert np.isnan(read_events(path).values).all()
    path = write(
        tmp_path,
        "c.jsonl",
        '{"user": "u", "item": "i", "rating": null, "ts": 1}\n{"user": "v", "item": "j", "ts": 2}',
    )
    assert np.isnan(read_events(path).values).all()


HEAD = "user,item,rating,timestamp\n"
FINE = HEAD + "u,i,1,100\n" * 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (HEAD, "holds no events"),
        (FINE + "u,i,1,abc\n", "line 22: timestamp 'abc' is not a number"),
        (FINE + "u,i,1,\n", "line 22: timestamp '' is not a number"),
        (FINE + "u,i,1,-5\n", "line 22: timestamp '-5' is not a time from 1970 on in s"),
        (FINE + "u,i,1,inf\n", "line 22: timestamp 'inf' is not a finite number"),
        (FINE + "u,i,1,nan\n", "line 22: timestamp 'nan' is not a finite number"),
        (FINE + "u,i,1,1700000000000\n", "line 22: timestamp '1700000000000' is not a time"),
        (FINE + "u,i,good,5\n", "line 22: rating 'good' is not a number"),
        (FINE + "u,i,1e39,5\n", "line 22: rating '1e39' is not a finite number"),
        (FINE + ",i,1,5\n", "line 22: user '' is empty"),
        (FINE + "u,,1,5\n", "line 22: item '' is empty"),
        (FINE + f"u,{'x' * 257},1,5\n", "line 22: item 'xxx"),
        (FINE + "u,i,1\n", "line 22: 3 fields where the first line has 4"),
        (FINE + "u,i,1,5,6\n", "line 22: 5 fields where the first line has 4"),
        (FINE + "\n\nu,i,1\n", "line 24: 3 fields"),
        (FINE + 'u,"i\nj",1,5\nu,i,x,5\n', "line 24: rating 'x'"),
        (HEAD + 'u,"' + "i,1,5\n" * 40_000, "is a quote left open?"),
        ("1::2::3::100\n1::2::3::later\n", "line 2: column 4 'later' is not a number"),
        (
            "user,item,date\nu,i,2020-01-01\nu,i,2020-13-01\n",
            "line 3: date '2020-13-01' is not a number or an ISO-8601 date",
        ),
        ("user,item\nu,i\n", "no time column among user, item; name it with --time-column"),
        ("who,item,time\nu,i,1\n", "no user column among who, item, time"),
        ("user,what,time\nu,i,1\n", "no item column among"),
        ("1 2\n1 3\n", "2 columns and no header"),
        ("1,2,3,4,5\n", "5 columns and no header"),
        ("lonely\n", "line 1: 'lonely' has one column"),
        (FINE.encode() + b"u,\xe9,1,5\n", "line 22: byte 0xe9 is not UTF-8"),
        (FINE.encode("utf-16"), "is not text"),
        (b"\x7fELF\0\0\1\2", "is not text"),
        (bytes(range(128, 256)) * 100, "has one column"),
        (b"\x1f\x8b", "cut short or damaged"),
        (gzip.compress(FINE.encode())[:-12], "cut short or damaged"),
        (gzip.compress(FINE.encode())[:30] + b"x" * 50, "cut short or damaged"),
        (b"PAR1" + b"x" * 100, "cannot be read as Parquet"),
        ('{"user": "u", "item": "i", "ts": 1}\n{"user": \n', "line 2: not JSON"),
        ('{"user": "u", "item": "i", "ts": 1}\n\n[1]\n', "line 3: not a JSON object"),
        ('{"user": "u", "item": "i", "ts": 1}\n\n{"item": "i"}\n', "line 3: user None"),
        ('{"user": "u", "item": "i", "ts": 1}\n{"user": [1], "item": "i"}\n', "line 2: user ["),
        ('{"user": "\\ud800", "item": "i", "ts": 1}\n', "line 1: user '\\ud800' holds half"),
        ('{"user": "u", "item": "i"}\n', "no time column among user, item"),
        ('{"a":' * 100_000, "line 1: not JSON"),
    ],
)
def test_bad_files(tmp_path: Path, content: str | bytes, said: str) -> None:
    assert said in complaint(write(tmp_path, "ratings.csv", content))


@given(
    st.binary()
    | st.lists(st.sampled_from(["user", "item", "ts", "::", "\t", ",", '"', "\n", "1", "{", "é"]))
    .map("".join)
    .map(str.encode)
)
@settings(max_examples=300, deadline=None)
def test_any_content_is_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "any", content)
        try:
            batch = read_events(path)
        except FileFormatError as error:
            assert "\n" not in str(error)
        else:
            assert len(batch) > 0
            assert ((batch.timestamps >= 0) & (batch.timestamps < 1e11)).all()
        with contextlib.suppress(FileFormatError):
            read_titles(path)


def test_bad_cells_say_the_next_step(tmp_path: Path) -> None:
    path = write(tmp_path, "ratings.csv", FINE + "u,i,1,abc\n")
    assert complaint(path) == (
        "line 22: timestamp 'abc' is not a number; fix it, or give another --time-column"
    )


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, "ratings.csv", FINE)
    assert complaint(path, time="when") == (
        "--time-column 'when' is not among user, item, rating, timestamp"
    )


def test_missing_files_and_directories(tmp_path: Path) -> None:
    assert complaint(tmp_path / "nowhere.csv") == "No such file or directory; give a file to read"
    assert complaint(tmp_path) == "Is a directory; give a file to read"


def test_titles_of_movielens_and_movietweetings(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "movies.dat",
        "0002844::Fantômas - À l'ombre (1913)::Crime|Drama\n000::Nought::\ntt7::Seven::x\n",
    )
    assert read_titles(path) == {
        "2844": "Fantômas - À l'ombre (1913)",
        "0": "Nought",
        "tt7": "Seven",
    }


def test_titles_in_latin_1(tmp_path: Path) -> None:
    path = write(
        tmp_path, "u.item", "1|Misérables, Les (1995)|01-Jan-1995||0|1\n".encode("latin-1")
    )
    assert read_titles(path) == {"1": "Misérables, Les (1995)"}


def test_titles_of_a_csv_with_header(tmp_path: Path) -> None:
    path = write(tmp_path, "movies.csv", 'movieId,title,genres\n1,Toy Story,A|B\n2,"Kid, The",C\n')
    assert read_titles(path) == {"1": "Toy Story", "2": "Kid, The"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("1::Toy Story::x\n2\n", "line 2: '2' has no title"),
        ('1,"' + "x" * 200_000, "is a quote left open?"),
    ],
)
def test_bad_titles(tmp_path: Path, content: str, said: str) -> None:
    path = write(tmp_path, "movies.dat", content)
    with pytest.raises(FileFormatError, match=r"movies\.dat") as caught:
        read_titles(path)
    assert said in str(caught.value)


@pytest.mark.skipif("LRUSTREAM_DATA" not in os.environ, reason="LRUSTREAM_DATA names no data")
@pytest.mark.parametrize(
    ("name", "events", "first"),
    [
        ("ml-100k/u.data.gz", 100_000, ("196", "242", 881250949.0)),
        ("amazon-electronics-2023-sample/ratings.csv.gz", 130_500, (None, None, 1546297654.677)),
        ("wikipedia-edits/events.csv.gz", 157_474, ("0", "0", 0.0)),
    ],
)
def test_real_files(name: str, events: int, first: tuple[str | None, str | None, float]) -> None:
    batch = read_events(Path(os.environ["LRUSTREAM_DATA"]) / name)
    assert len(batch) == events
    assert first[0] in (None, batch.users[0])
    assert first[1] in (None, batch.items[0])
    assert batch.timestamps[0] == first[2]
