"""A real PostgreSQL for the tests, started once a run from the binaries of this machine."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

START_S = 30


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a running server, password included."""
    programs = find_programs()
    if programs is None:
        reason = "no PostgreSQL server here: install one (initdb, postgres) or the wheel pgserver"
        if os.environ.get("LRUSTREAM_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with running_server(programs) as url:
        yield url


@pytest.fixture
def postgres_database(postgres_url: str) -> str:
    """A URL that sees an empty schema, for this test alone: as good as a database, and cheaper."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{postgres_url}?options=-csearch_path%3D{name}"


def find_programs() -> Path | None:
    """The folder of initdb and postgres: from PATH, pg_config, the usual places, or pgserver."""
    candidates = []
    if initdb := shutil.which("initdb"):
        candidates.append(Path(initdb).resolve().parent)
    if pg_config := shutil.which("pg_config"):
        found = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True)
        candidates.append(Path(found.stdout.strip()))
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (wheel := importlib.util.find_spec("pgserver")) and wheel.origin:
        candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    return next(
        (c for c in candidates if (c / "initdb").exists() and (c / "postgres").exists()), None
    )


@contextmanager
def running_server(programs: Path) -> Iterator[str]:
    """Start a server in a temporary folder on a free port; stop it and remove all at the end."""
    folder = Path(tempfile.mkdtemp(prefix="lrustream-pg-"))
    password = secrets.token_hex(8)
    (folder / "password").write_text(password)
    account = unprivileged_account(folder)
    log = folder / "server.log"
    server = None
    try:
        initdb = [
            programs / "initdb",
            "-D",
            folder / "data",
            "-U",
            "lrustream",
            "-A",
            "scram-sha-256",
        ]
        options = ["-E", "UTF8", "--no-sync", f"--pwfile={folder / 'password'}"]
        made = subprocess.run(
            [*initdb, *options], capture_output=True, text=True, cwd=folder, **account
        )
        assert made.returncode == 0, made.stderr
        port = free_port()
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # the tests kill clients, never the machine
            "shared_buffers": "32MB",
        }
        with log.open("w") as output:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data"]
                + [word for name, value in settings.items() for word in ("-c", f"{name}={value}")],
                stdout=output,
                stderr=output,
                cwd=folder,
                **account,
            )
        url = f"postgresql://lrustream:{password}@127.0.0.1:{port}/postgres"
        wait_until_ready(server, url, log)
        yield url
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            try:
                server.wait(START_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def unprivileged_account(folder: Path) -> dict[str, Any]:
    """How to run as somebody else, who then owns `folder`: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    for path in (folder, *folder.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
