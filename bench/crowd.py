"""What `make streams` and `make shed` have in common: one cfx, and the crowd that is let in on it."""

import resource
import subprocess
import sys

import contenders
from ground import RELEASE, free_port

# Of each process: listeners, the store, the spool, and what else is open beside the streams.
BESIDE = 200


def open_files():
    """As many as this system lets us have; children get as many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Crowd:
    """An edge with limits of its own, and a port for the model that the crowd plays behind it."""

    def __init__(self, ground, tag, limits, http2=False):
        self.model = free_port()
        general = "daily_requests: 1000000000\nconcurrent_streams: 1000000\nconcurrent_requests: 1000000\n"
        self.edge = contenders.cfx(ground, tag, self.model, limits=general + limits, http2=http2)

    def let_in(self, kind, *words, tls=False, patience=600):
        """The figures of one run, by name."""
        port = self.edge.tls if tls else self.edge.plain
        command = [RELEASE / "examples/crowd", kind, "--address", f"127.0.0.1:{port}", "--key", self.edge.key,
                   "--pid", self.edge.process.pid, "--model", f"127.0.0.1:{self.model}", *words, *(["--tls"] if tls else [])]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=patience)
        if done.returncode != 0:
            sys.exit(f"{kind}: {done.stdout}{done.stderr}")
        if done.stderr:
            print(done.stderr, end="")
        return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def judge(title, wrong):
    """Ends with what is wrong, where anything is."""
    if any(wrong.values()):
        sys.exit(f"{title}: " + "; ".join(what for what, holds in wrong.items() if holds))
