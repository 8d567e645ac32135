"""What a stranger relies on before the first line runs: commands, pins and bundled data."""

from __future__ import annotations

import csv
import gzip
import re
import subprocess
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
MOVIETWEETINGS = ROOT / "data" / "movietweetings"


def pinned() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_every_make_command_in_the_documents_exists() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    command = re.compile(r"(?:^\s*(?:\$ )?|`|&& )make ([a-z][a-z-]*)", re.MULTILINE)
    targets = {target for path in documents for target in command.findall(path.read_text())}
    for target in targets:
        dry_run = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert dry_run.returncode == 0, f"make {target}: {dry_run.stderr}"


def test_every_pin_is_one_exact_version_without_an_address() -> None:
    for line in pinned():
        requirement = Requirement(line)
        assert requirement.url is None, line
        assert [part.operator for part in requirement.specifier] == ["=="], line
        assert "*" not in str(requirement.specifier), line


def test_the_pins_cover_every_dependency_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    pins = [Requirement(line) for line in pinned()]
    for wanted in map(Requirement, [*project["dependencies"], *extras]):
        if wanted.name == project["name"]:
            continue
        versions = [next(iter(p.specifier)).version for p in pins if p.name == wanted.name]
        assert versions, f"{wanted.name} is not pinned: run make lock"
        assert all(map(wanted.specifier.contains, versions)), f"{wanted} pinned at {versions}"


def test_the_bundled_stream_is_what_its_page_says() -> None:
    with gzip.open(MOVIETWEETINGS / "ratings.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    with gzip.open(MOVIETWEETINGS / "movies.dat.gz", "rt", encoding="utf-8") as file:
        titles = dict(line.split("::")[:2] for line in file)
    times = [int(row["timestamp"]) for row in rows]
    items = {row["item"] for row in rows}

    assert len(rows) == 100_000
    assert len({row["user"] for row in rows}) == 16_554
    assert len(items) == 10_506
    assert times == sorted(times)
    assert {movie.lstrip("0") for movie in titles} == items
    assert all(titles.values())
