"""The import rule, read from the sources: who may import whom, which libraries where, no cycles.

    cli.py  ->  replay  ->  engine  ->  lrurec
       |           |           |
       +-----------+-----------+---->  connectors (engine and replay: only the contracts)

A new edge is a decision: it is made here, in `RULES`, or not at all.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("lrurec", "connectors", "engine", "replay")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a module may import beside the standard library.

    `ours`: our modules, each with everything below it; `libraries`: outside packages; `at_most`:
    how many different ones, numpy not counted.
    """

    ours: tuple[str, ...]
    libraries: frozenset[str]
    at_most: int = sys.maxsize


# The longest name that a module starts with decides.
RULES = {
    "lrurec": Rule(("lrurec",), frozenset({"torch", "numpy", "triton"})),
    "lrurec.weights": Rule(("lrurec",), frozenset({"torch", "numpy", "safetensors"})),
    "connectors": Rule(
        ("connectors",),
        frozenset({"numpy", "sqlalchemy", "alembic", "kafka", "fastapi", "uvicorn"})
        | {"msgspec", "pyarrow", "pydantic", "prometheus_client"},
        at_most=1,
    ),
    "engine": Rule(
        ("engine", "lrurec", "connectors.event", "connectors.base"),
        frozenset({"torch", "numpy", "river"}),
    ),
    "replay": Rule(
        ("replay", "engine", "lrurec", "connectors.event"),
        frozenset({"torch", "numpy", "numba", "river", "rich", "scipy", "pyarrow"}),
    ),
    "replay.record": Rule(
        ("replay", "engine", "connectors.event"), frozenset({"torch", "numpy", "psutil"})
    ),
    "replay.drawing": Rule((), frozenset({"matplotlib"})),
    "replay.plots": Rule(("replay",), frozenset({"numpy", "matplotlib"})),
    "replay.page": Rule(("replay",), frozenset({"jinja2", "markupsafe"})),
    "replay.folder": Rule(("replay", "connectors.event"), frozenset({"numpy", "pyarrow"})),
    "cli": Rule(
        (*PACKAGES, "cli_options", "cli_replay"), frozenset({"torch", "numpy", "click", "rich"})
    ),
    "cli_replay": Rule((*PACKAGES, "cli_options"), frozenset({"click", "rich"})),
    "cli_options": Rule(("engine.config", "connectors"), frozenset({"click"})),
}
# Migrations are part of the database's library, and an application of the server it runs in.
SAME_LIBRARY = {"alembic": "sqlalchemy", "uvicorn": "fastapi"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = [
    *ROOT.glob("cli*.py"),
    *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")),
]
MODULES = {module_name(path): path for path in FILES if path.exists()}


def below(module: str, roots: tuple[str, ...]) -> bool:
    return any(module == root or module.startswith(root + ".") for root in roots)


def imports(module: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every import in `source`, wherever it stands.

    `from engine import states` is an import of engine.states where that is a module of ours.
    """
    package = module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield node.lineno, name if name in MODULES else base


def violations(module: str, source: str) -> list[str]:
    """Every import in `source` that the rule of `module` forbids, as MODULE:LINE and what."""
    rule = RULES[max((name for name in RULES if below(module, (name,))), key=len)]
    found, libraries = [], set()
    for line, name in imports(module, source):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if not (below(name, rule.ours) or top in rule.libraries):
            found.append(f"{module}:{line} imports {name}")
        elif top not in (*PACKAGES, "numpy"):
            libraries.add(SAME_LIBRARY.get(top, top))
    if len(libraries) > rule.at_most:
        found.append(f"{module} imports {' and '.join(sorted(libraries))}: one library a file")
    return found


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one import cycle, in order; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def uncollected_tests(name: str, source: str) -> list[str]:
    """Test functions and classes in a file whose name pytest passes by."""
    if fnmatch(name, "test_*.py") or fnmatch(name, "*_test.py"):
        return []
    tests = [
        node.name
        for node in ast.parse(source).body
        if (isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))
        or (isinstance(node, ast.ClassDef) and node.name.startswith("Test"))
    ]
    return [f"{name}: {test}" for test in tests]


def test_every_import_follows_the_rule() -> None:
    found = [v for module, path in MODULES.items() for v in violations(module, path.read_text())]
    assert found == []


def test_no_module_imports_itself_through_others() -> None:
    graph = {
        module: {name for _, name in imports(module, path.read_text()) if name in MODULES}
        for module, path in MODULES.items()
    }
    assert cycle(graph) == []


def test_only_tests_import_the_command_line() -> None:
    found = [
        f"{path.name}:{line}"
        for path in (ROOT / "benchmarks").rglob("*.py")
        for line, name in imports("benchmarks", path.read_text())
        if name.startswith("cli")
    ]
    assert found == []


def test_pytest_collects_every_test() -> None:
    paths = (ROOT / "tests").rglob("*.py")
    assert [test for path in paths for test in uncollected_tests(path.name, path.read_text())] == []


def test_the_model_and_the_hot_parts_run_with_torch_and_numpy_alone() -> None:
    script = ROOT / "benchmarks" / "bare_machine.py"
    run = subprocess.run(
        [sys.executable, script, "--device", "cpu"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lrurec.scan", "import engine.config"),
        ("lrurec.scan", "import river"),
        ("lrurec.train", "def save():\n    from safetensors.torch import save_file"),
        ("connectors.kafka", "from typing import Any\nimport torch"),
        ("connectors.kafka", "import kafka\nimport sqlalchemy"),
        ("connectors.http_api", "from engine.recommender import Recommender"),
        ("engine.loop", "from connectors.kafka import KafkaSource"),
        ("engine.loop", "from connectors import database"),
        ("engine.loop", "import click"),
        ("replay.stream", "import sqlalchemy.orm"),
        ("replay.stream", "from connectors.base import Source"),
        ("replay.stream", "import cli"),
        ("cli", "import kafka"),
        ("cli_replay", "import cli"),
    ],
)
def test_a_forbidden_import_is_caught(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lrurec.weights", "import json\nfrom safetensors.torch import load_file\nimport torch"),
        ("connectors.database", "import alembic.command\nimport numpy as np\nimport sqlalchemy"),
        ("engine.loop", "from connectors.event import Event\nfrom . import config\nimport river"),
        ("engine.loop", "from connectors import event"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_a_cycle_and_an_uncollected_test_are_caught() -> None:
    assert set(cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
    assert uncollected_tests("tests_equality.py", "def test_x(): ...") != []
    assert uncollected_tests("checks.py", "class TestContract: ...") != []
    assert uncollected_tests("checks.py", "def check_x(): ...") == []
