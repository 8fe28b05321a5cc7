"""Where and with what a run was: enough to judge its figures by, nothing that tells whose machine it is."""

import datetime
import os
import pathlib
import re
import subprocess

import contenders
import gateways
from ground import CFX, HERE, NotStarted
from process import cores_text

# What each one leaves undone that cfx does, or does in another way than it comes: its documented way to be fast.
SETTINGS = {
    "cfx": "everything on: keys (HMAC, kept in memory once known), the daily quota leased from Postgres, a ledger row in Postgres for each "
           "request, the spool on disk, model rewriting with a system prompt, the usage tap, metrics, an access log line for each request; "
           "`threads` as many as cores; caps on connections and streams raised, for all load is one user's from one address. Built as it is shipped: by the profile of what it does, where rustc is "
           "the one that it is of ([decisions/022](decisions/022-built-by-a-profile.md))",
    "bare pingora": "nothing on: no key, no limit, no log, no metrics. `examples/bare_proxy.rs`, of cfx' own crates with its allocator and its "
                    "settings of the compiler, without a profile of what it does, as one would build it; one runtime a thread, as many threads as cores; 4,096 connections kept to the "
                    "upstream, for of itself it keeps 128 and makes the others anew",
    "nginx": "`access_log off`, no key, no limit, no metrics; `keepalive 4096` to the upstream, `reuseport`, a shared session cache, workers as "
             "many as cores. It reads requests whole before it passes them on, and large ones by way of a file, as it comes",
    "HAProxy": "no log, no key, no limit, no metrics; `http-reuse always`, `http-no-delay`, threads as many as cores",
    "onwards": "a key checked, its metrics on; no quota, no ledger, no log line; `max_idle_per_host: 2000`, as it says for one upstream",
    "Portkey": "`--headless`, `NODE_ENV=production`; no key of its own, no quota, no ledger, no log; one process, as it comes, on "
               "`@hono/node-server` 1.13.8, for on the newest that it asks for it cannot stream",
    "LiteLLM": "a master key checked; no database, so no virtual keys, no budgets and no spend log; `LITELLM_MODE=PRODUCTION`, "
               "`LITELLM_LOG=ERROR`, a worker for each core, no retries",
}
UNCOUNTED = ("Postgres' own time is no part of cfx' CPU and stands beside it (`store µs`); that of upstream and clients, on the same cores, is "
             "nobody's")


def said(*command):
    """What a program says of itself; nothing where it is not there."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        return ""
    return (done.stdout + done.stderr).strip()


def version(text):
    found = re.search(r"\d+\.\d+(\.\d+)*", text)
    return found.group() if found else None


def machine():
    cpu = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1))
    system = pathlib.Path("/etc/os-release")
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', system.read_text(), re.MULTILINE) if system.exists() else None
    return {"cpu": cpu.group(1) if cpu else os.uname().machine, "cores": os.cpu_count(), "memory_gb": round(memory / 1e6),
            "system": name.group(1) if name else os.uname().sysname, "kernel": version(os.uname().release),
            "virtual": "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text()}


def versions():
    lock = (HERE.parent / "Cargo.lock").read_text()
    commit = said("git", "-C", HERE.parent, "rev-parse", "--short=12", "HEAD")
    changed = said("git", "-C", HERE.parent, "status", "--porcelain", "--untracked-files=no", "--", "src", "examples", "Cargo.lock", "Cargo.toml", "pgo",
                   "scripts/release-build")
    found = {
        "cfx": (version(said(CFX, "--version")) or "") + f" ({commit}{', changed' if changed else ''})",
        "bare pingora": re.search(r'name = "pingora-proxy"\nversion = "([^"]+)"', lock).group(1),
        "nginx": version(said(contenders.NGINX, "-v")),
        "HAProxy": version(said(contenders.HAPROXY, "-v")),
        "onwards": os.environ.get("BENCH_ONWARDS_VERSION"),
        "Portkey": os.environ.get("BENCH_PORTKEY_VERSION"),
        "LiteLLM": litellm_version(),
        "Postgres": version(said("psql", "-X", "-A", "-t", os.environ["CFX_TEST_POSTGRES"], "-c", "show server_version")),
        "rustc": version(said("rustc", "--version")), "Node": version(said("node", "--version")),
        "wrk": version(said("wrk", "-v")), "h2load": version(said("h2load", "--version")),
    }
    return {name: version for name, version in found.items() if version}


def litellm_version():
    try:
        binary = gateways.program("BENCH_LITELLM")
    except NotStarted:
        return None
    found = next(binary.parent.parent.glob("lib/*/site-packages/litellm-[0-9]*.dist-info"), None)
    return found and version(found.name)


def of(arguments, cores, others):
    return {
        "date": today(), "quick": arguments.quick, "rounds": arguments.rounds,
        "seconds": arguments.seconds, "machine": machine(), "versions": versions(),
        "cores": {"contenders": cores_text(cores), "others": cores_text(others)}, "settings": SETTINGS,
    }


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


def told(setting):
    """In a line."""
    where = setting["machine"]
    return (f"{where['cpu']}, {where['cores']} cores{' of a virtual machine' if where['virtual'] else ''}, {where['memory_gb']} GB, "
            f"{where['system']}, Linux {where['kernel']}")


