"""A Kafka broker of one node on this machine, for tests and for play. Only the standard library.

    python3 deploy/kafka/broker.py --port 9092 --data runs/kafka

The first run fetches the broker's jars with Maven (43 MB, into kafka-jars/); every run formats the
data folder where that is still to be done, starts the broker and waits until it answers. Ctrl-C or
SIGTERM stops it. The data folder can be used again, also after the broker was killed.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
JARS = HERE.parent.parent / "kafka-jars"
HOST = "127.0.0.1"
JVM = ["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
JAR_TIMEOUT_S = 300.0
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


class BrokerError(RuntimeError):
    """The broker cannot run here: what is missing, or the end of its log."""


def resolve_jars(jars: Path = JARS) -> Path:
    """The folder with the broker's jars, fetched by Maven where they are not there yet."""
    if shutil.which("java") is None:
        raise BrokerError("java is not on the PATH: install a Java 17 runtime")
    if any(jars.glob("kafka_2.13-*.jar")):
        return jars
    if shutil.which("mvn") is None:
        raise BrokerError(f"no Kafka jars in {jars}, and mvn is not on the PATH: install Maven")
    # Fetched beside the folder and moved, so that a broken download is never taken for a whole.
    fresh = Path(tempfile.mkdtemp(prefix=f"{jars.name}-", dir=jars.parent))
    command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
    try:
        command += [f"-DoutputDirectory={fresh}"]
        _run(command, JAR_TIMEOUT_S, "mvn could not fetch the Kafka jars")
        shutil.rmtree(jars, ignore_errors=True)
        fresh.rename(jars)
    except subprocess.TimeoutExpired:
        raise BrokerError(f"mvn took more than {JAR_TIMEOUT_S:.0f} s to fetch the jars") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return jars


def _run(command: list[str], timeout_s: float, failure: str) -> None:
    """Raises BrokerError with the end of what the command said where it fails."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s
    )
    if done.returncode != 0:
        raise BrokerError(f"{failure}: {done.stdout.strip()[-500:]}")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Broker:
    """One broker process on a data folder; `bootstrap` is its address.

    start, then any number of kill (SIGKILL) or stop (SIGTERM) and restart on the same address and
    folder, then stop.
    """

    def __init__(self, data: Path, port: int | None = None) -> None:
        broker_port, self._controller_port = free_ports(2)
        self._port = port or broker_port
        self._data = data.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self.bootstrap = f"{HOST}:{self._port}"
        self.log = self._data / "broker.log"

    def start(self) -> None:
        """Return when the broker answers. Raises BrokerError where it does not come up."""
        classpath = f"{resolve_jars()}/*"
        properties = self._configure()
        if not (self._data / "log" / "meta.properties").exists():
            self._format(classpath, properties)
        self._check_port()
        with self.log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                ["java", *JVM, "-cp", classpath, "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_until_started(self._process, begin)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """SIGTERM, then SIGKILL where that does not help."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: the crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def restart(self) -> None:
        """Stop where it still runs, and start again on the same address and folder."""
        self.stop()
        self.start()

    def wait(self) -> int:
        """The exit status, once the process has ended."""
        assert self._process is not None, "start the broker first"
        return self._process.wait()

    def _configure(self) -> Path:
        self._data.mkdir(parents=True, exist_ok=True)
        properties = self._data / "server.properties"
        template = string.Template((HERE / "server.properties").read_text())
        properties.write_text(
            template.substitute(
                port=self._port,
                controller_port=self._controller_port,
                log_dir=self._data / "log",
            )
        )
        return properties

    def _format(self, classpath: str, properties: Path) -> None:
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        storage = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)]
        command = ["java", *JVM, "-cp", classpath, *storage]
        _run(command, START_TIMEOUT_S, f"cannot format {self._data}")

    def _check_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self._port))
            except (OSError, OverflowError) as error:
                raise BrokerError(
                    f"cannot listen on port {self._port} ({error}): choose another with --port"
                ) from None

    def _wait_until_started(self, process: subprocess.Popen[bytes], begin: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with self.log.open("rb") as log:
                log.seek(begin)
                output = log.read()
            if b"Kafka Server started" in output:
                return
            if process.poll() is not None:
                end = output.decode(errors="replace").strip()[-500:]
                raise BrokerError(f"the broker ended with status {process.returncode}: {end}")
            if time.monotonic() > deadline:
                raise BrokerError(f"no broker after {START_TIMEOUT_S:.0f} s: see {self.log}")
            time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a Kafka broker of one node on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=9092, help="where clients connect (9092)")
    parser.add_argument("--data", type=Path, default=Path("runs/kafka"), help="its data folder")
    parser.add_argument("--jars", action="store_true", help="fetch the jars, start nothing")
    arguments = parser.parse_args()
    broker = Broker(arguments.data, arguments.port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if arguments.jars:
            print(f"Kafka jars in {resolve_jars()}")
            return 0
        print("starting Kafka (about 10 s) ...", flush=True)
        broker.start()
        print(
            f"Kafka listens on {broker.bootstrap}, log in {broker.log}; Ctrl-C stops it.\n"
            "In another terminal:\n"
            f"  lrustream serve --kafka {broker.bootstrap} --topic events",
            flush=True,
        )
        return broker.wait()
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        broker.stop()


if __name__ == "__main__":
    sys.exit(main())
