"""Everything that a measurement starts, in a folder of its own that goes with it."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from process import cores_text

HERE = pathlib.Path(__file__).resolve().parent
# BENCH_PROFILE=debug: to see that a measurement runs at all, not what it comes to.
RELEASE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")) / os.environ.get("BENCH_PROFILE", "release")
# Of another build than the tools beside it, where BENCH_CFX names one.
CFX = pathlib.Path(os.environ.get("BENCH_CFX", RELEASE / "cfx"))
PATIENCE = 30


class NotStarted(SystemExit):
    """A program that is not here, or that does not listen in time; says what it said last. Ends whoever cannot do without."""


class Ground:
    def __init__(self, cores=None, watched=()):
        """`cores`: where contenders run; None: wherever the system puts them. `watched`: the words before a contender's
        command that have another program look at it."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cfx-bench-"))
        # nginx's workers are not who started it, and read what lies here.
        self.folder.chmod(0o755)
        self.cores, self.watched = cores, list(watched)
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self, name):
        return self.folder / f"{name}.log"

    def contend(self, name, command, port, patience=PATIENCE, **options):
        """Starts one of those that are measured."""
        pinned = ["taskset", "-c", cores_text(self.cores)] if self.cores else []
        slower = 4 if self.watched else 1
        return self.spawn(name, [*pinned, *self.watched, *command], port, patience * slower, **options)

    def spawn(self, name, command, port, patience=PATIENCE, **options):
        """Starts a program and waits until it listens on `port`."""
        command = [str(part) for part in command]
        # Appended to: so it can be cut short under whoever writes it.
        with open(self.log(name), "a") as log:
            try:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
            except FileNotFoundError as missing:
                raise NotStarted(str(missing)) from missing
        self.processes.append(process)
        if not listens(port, patience, process):
            self.stop(process)
            raise NotStarted(f"{name} did not start:\n{self.log(name).read_text()[-3000:]}")
        return process

    def stop(self, process):
        process.terminate()
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.processes.remove(process)

    def certificate(self, name="localhost", kind=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")):
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if not certificate.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
                            "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"],
                           check=True, capture_output=True)
        return certificate, key


class Database:
    """A new one on the throw-away server that scripts/servers brings, whose URL this is."""

    def __init__(self, server, name):
        self.url = server.rpartition("/")[0] + "/" + name
        subprocess.run(["psql", "-q", "-X", server, "-c", f"create database {name}"], check=True)

    def psql(self, text, **options):
        done = subprocess.run(["psql", "-q", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.url, "-c", text],
                              capture_output=True, text=True, **options)
        if done.returncode != 0:
            sys.exit(f"psql: {done.stderr}")
        return done.stdout.strip()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listens(port, patience=PATIENCE, process=None):
    """Whether somebody does, within this time and this process' life."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False
