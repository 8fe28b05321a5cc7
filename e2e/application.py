"""A Next.js application, as `make e2e` runs it behind cfx: built and started without and with compression of its own, its
development server, and a WebSocket server that says what it hears."""

import os
import subprocess
import sys

from installation import PATIENCE, ROOT, running

FOLDER = ROOT / "e2e/next"
WEB = ROOT / "e2e/web"
NEXT = ROOT / "e2e/node_modules/next/dist/bin/next"

# How long WebSockets are left alone, in seconds, while everything else is tried.
IDLE = 300


class Application:
    def __init__(self):
        self.started = False

    def start(self):
        """Starts all of it, and leaves two sockets alone from here on."""
        self.started = True
        ports = running.web_ports
        running.spawn("echo", ["node", WEB / "echo.mjs", ports["echo"]], environment())
        running.wait_for(self.serve("dev", "dev", ports["dev"], {}), "dev", ports["dev"], "/")
        self.left_alone = running.spawn("idle", ["node", WEB / "idle.mjs", IDLE], client())
        built = subprocess.run(["node", NEXT, "build"], cwd=FOLDER, env=environment(), capture_output=True, text=True,
                               timeout=300)
        if built.returncode != 0:
            sys.exit(f"the application cannot be built:\n{built.stdout}{built.stderr}")
        plain = self.serve("next", "start", ports["next"], {"NEXT_COMPRESSES": "no"})
        compressing = self.serve("next-compressing", "start", ports["compressing"], {"NEXT_COMPRESSES": "yes"})
        running.wait_for(plain, "next", ports["next"], "/")
        running.wait_for(compressing, "next-compressing", ports["compressing"], "/")

    def serve(self, name, command, port, more):
        return running.spawn(name, ["node", NEXT, command, FOLDER, "--port", port, "--hostname", "127.0.0.1"],
                             {**environment(), **more})


def environment():
    return {
        "PATH": os.environ["PATH"], "HOME": str(running.folder), "CI": "1", "NEXT_TELEMETRY_DISABLED": "1",
        "NEXT_IGNORE_INCORRECT_LOCKFILE": "1",  # else it would ask a registry for what other systems need
    }


def client():
    """The environment of what asks it through cfx."""
    return {
        "PATH": os.environ["PATH"], "HTTP": running.http.rsplit(":", 1)[1], "HTTPS": running.https.rsplit(":", 1)[1],
        "CERTIFICATE": str(running.certificate), "CFX": str(running.cfx.pid),
    }


application = Application()
