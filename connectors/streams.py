"""The named streams: which files each one is made of, and where they lie in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.base import FileFormatError


@dataclass(frozen=True, slots=True)
class Names:
    """The names a stream's files may have, the first one found winning."""

    events: tuple[str, ...]
    titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamFiles:
    """A stream by name: where its events are, and the titles of its items where it has any."""

    name: str
    events: Path
    titles: Path | None = None


STREAMS: Final[dict[str, Names]] = {
    "ml-1m": Names(
        ("ratings.csv.gz", "ratings.csv", "ratings.dat"), ("movies.dat", "movies.dat.gz")
    ),
    "ml-100k": Names(("u.data.gz", "u.data"), ("u.item", "u.item.gz")),
    "movietweetings": Names(("ratings.csv.gz", "ratings.csv"), ("movies.dat", "movies.dat.gz")),
    "yoochoose": Names(("clicks.csv.gz", "clicks.csv")),
}


def find(name: str | None, directory: str | Path = ".", file: Path | None = None) -> StreamFiles:
    """The files of stream `name` in `directory`; or `file`, a stream of its own.

    Raises FileFormatError where not one of the two is given, the stream is not known, or its
    events are not there; titles may be missing.
    """
    if file is not None and name is None:
        return StreamFiles(file.name, file)
    if file is not None or name is None:
        raise FileFormatError(f"name a STREAM ({', '.join(STREAMS)}) or give --file PATH")
    directory = Path(directory)
    if name not in STREAMS:
        raise FileFormatError(
            f"stream {name!r} is not known: give one of {', '.join(STREAMS)}, or --file PATH"
        )
    names = STREAMS[name]
    events = _first_file(directory, names.events)
    if events is None:
        looked = "is no folder" if not directory.is_dir() else f"has no {' or '.join(names.events)}"
        raise FileFormatError(
            f"{directory} {looked}: give --data the folder that holds the files of {name}"
        )
    return StreamFiles(name, events, _first_file(directory, names.titles))


def _first_file(directory: Path, names: tuple[str, ...]) -> Path | None:
    return next((directory / name for name in names if (directory / name).is_file()), None)
