"""One turn of load on one contender: what it took of the contender's time, and how long clients waited.

A turn is a dictionary of figures: `cpu` and `store_cpu` in µs a request, `rate` in requests a second, `p50`, `p99` and `p999` in ms,
`switches` a request, `rss` in MB at its end.
"""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import time

import process
from ground import HERE, PATIENCE, RELEASE

CHAT = "/v1/chat/completions"


class Failed(SystemExit):
    """A contender that did not do what is measured of it. Ends whoever cannot do without."""


def measured(contender, load):
    """`load` returns how many were served, and what else it saw; what it began with and ended with is the contender's."""
    if contender.store:
        # Before each turn, for it may have been asked for more sessions since.
        process.yield_to_others(contender.store)
    cpu, store, switches, started = contender.cpu(), contender.store_cpu(), contender.switches(), time.monotonic()
    served, seen = load()
    if not served:
        raise Failed(f"{contender.name} served nothing")
    elapsed, resident = time.monotonic() - started, contender.resident()
    if not contender.settle():
        raise Failed(f"{contender.name} does not bring its rows to the store")
    turn = {
        "cpu": (contender.cpu() - cpu) / served * 1e6,
        # The clock of the processor time ticks so often: below a few ticks a turn tells nothing.
        "ticks": (contender.cpu() - cpu) * process.TICKS,
        "rate": served / elapsed,
        "switches": (contender.switches() - switches) / served,
        "rss": resident,
        **seen,
    }
    if contender.store:
        turn["store_cpu"] = (contender.store_cpu() - store) / served * 1e6
    if contender.log:
        # A line for each request: what has been written has been paid for.
        os.truncate(contender.log, 0)
    return turn


def clients(contender, seconds, connections, body=None, path=CHAT, tls=False, refused=0.0, keys=None, words=()):
    """wrk: clients that ask again as soon as they are answered. `refused`: the part of the answers that may be no 2xx; 1.0:
    every one has to be. `words`: before its command."""
    scheme, port = ("https", contender.tls) if tls else ("http", contender.plain)
    environment = {**os.environ, "BENCH_METHOD": "POST" if body else "GET"}
    if body:
        headers = "\n".join(f"{name}: {value}" for name, value in contender.asked_with().items())
        environment |= {"BENCH_BODY": str(body), "BENCH_HEADERS": headers}
    environment |= {"BENCH_KEYS": str(keys)} if keys else {}
    done = subprocess.run(
        [*words, "wrk", f"-t{min(process.threads(), connections)}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
         "-s", str(HERE / "load.lua"), f"{scheme}://127.0.0.1:{port}{path}"],
        env=environment, capture_output=True, text=True, timeout=seconds + PATIENCE)
    if done.returncode != 0:
        raise Failed(f"{contender.name}: wrk ended with {done.stdout}{done.stderr}")
    seen = json.loads(done.stdout.splitlines()[-1])
    served, others, broken = (seen.pop(name) for name in ("requests", "others", "broken"))
    if broken or others > refused * served or (refused == 1.0 and others != served):
        raise Failed(f"{contender.name} under load: of {served} answers {others} no 2xx; {broken} connections broke")
    return served, {**seen, "refused": others}


def h2load(contender, url, words, body, patience):
    """Its own record of each request: when it began in µs, its status, how long it took in ms; and what it printed."""
    headers = [f"-H{name.lower()}: {value}" for name, value in {"content-type": "application/json", **contender.asked_with()}.items()]
    with tempfile.NamedTemporaryFile() as log:
        done = subprocess.run(["h2load", *words, *headers, "-d", str(body), f"--log-file={log.name}", url],
                              capture_output=True, text=True, timeout=patience)
        with open(log.name) as lines:
            rows = [line.split("\t") for line in lines]
    wrong = [row[1] for row in rows if row[1] != "200"]
    if done.returncode != 0 or not rows or wrong:
        raise Failed(f"{contender.name}: of {len(rows)} requests {len(wrong)} were refused {sorted(set(wrong))[:3]}:\n"
                     f"{done.stdout[-500:]}{done.stderr}")
    return [(int(row[0]), int(row[2]) / 1e3) for row in rows], done.stdout


def multiplexed(contender, seconds, body, connections=8, streams=16):
    """Clients with many requests at a time on a connection over TLS."""
    words = [f"-t{min(process.threads(), connections)}", f"-c{connections}", f"-m{streams}", "-D", str(seconds)]
    rows, said = h2load(contender, f"https://127.0.0.1:{contender.tls}{CHAT}", words, body, seconds + PATIENCE)
    if not re.search(r"Application protocol: h2$", said, re.MULTILINE):
        raise Failed(f"{contender.name} speaks no HTTP/2")
    return len(rows), percentiles([took for _, took in rows])


def at_rate(contender, seconds, body, rate, connections):
    """Clients that come at a steady pace, whoever still waits: each at a distance of its own from the others."""
    words = ["--h1", f"-c{connections}", f"--rps={rate / connections:.3f}", f"-n{int(rate * seconds)}",
             # All of them within one interval of each, so that they do not ask in step.
             f"-r{max(1, round(rate / 1000))}", "--rate-period=1ms"]
    rows, _ = h2load(contender, f"http://127.0.0.1:{contender.plain}{CHAT}", words, body, seconds * 3 + PATIENCE)
    first, last = min(row[0] for row in rows), max(row[0] for row in rows)
    # As long as it takes for all to have come, nothing is counted.
    times = [took for began, took in rows if began > first + (last - first) // 5]
    return len(rows), {**percentiles(times), "offered": rate, "came": len(rows) / ((last - first) / 1e6)}


def handshakes(contender, seconds, manner, name="localhost", connections=16):
    """Clients that come, shake hands and go."""
    done = subprocess.run([str(RELEASE / "examples/handshakes"), f"127.0.0.1:{contender.tls}", name, manner, str(seconds),
                           str(connections)],
                          capture_output=True, text=True, timeout=seconds + PATIENCE)
    seen = json.loads(done.stdout) if done.returncode == 0 else {}
    if not seen.get("handshakes") or seen["failed"]:
        raise Failed(f"{contender.name} failed to shake hands: {done.stdout}{done.stderr}")
    return seen["handshakes"], {"p50": seen["p50_us"] / 1e3, "p99": seen["p99_us"] / 1e3,
                                "resumed": seen["resumed"] / seen["handshakes"]}


def check_rsa(contender, name):
    """Whoever shows another certificate under this name is measured with another key than is meant."""
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", contender.tls), timeout=PATIENCE) as connection, \
            context.wrap_socket(connection, server_hostname=name) as session:
        shown = session.getpeercert(binary_form=True)
    # rsaEncryption (RFC 8017, appendix A.1).
    if bytes.fromhex("06092a864886f70d010101") not in shown:
        raise Failed(f"{contender.name} shows no certificate of RSA for {name}")


def connections(contender, seconds):
    """A client that comes, says nothing and goes."""
    until, times = time.monotonic() + seconds, []
    while (began := time.monotonic()) < until:
        with socket.create_connection(("127.0.0.1", contender.plain), timeout=PATIENCE) as connection:
            connection.shutdown(socket.SHUT_WR)
            # HAProxy says that this was no request.
            while connection.recv(4_096):
                pass
        times.append((time.monotonic() - began) * 1e3)
    return len(times), percentiles(times)


def paced(contender, seconds, model, streams, every, direct=False):
    """Streams with a token every so many ms, from the model that the clients' process plays on the port `model`."""
    command = [str(RELEASE / "examples/crowd"), "streams", "--address", f"127.0.0.1:{contender.plain}", "--key", contender.key,
               "--pid", str(contender.process.pid), "--model", f"127.0.0.1:{model}", "--streams", str(streams), "--every", str(every),
               "--seconds", str(seconds), "--after", "0", *(["--direct"] if direct else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE)
    seen = {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}
    if done.returncode != 0 or seen["whole"] != streams or seen["errors"]:
        raise Failed(f"{contender.name} did not pass every stream on: {done.stdout}{done.stderr}")
    kept = {f"{name}_{part}": seen[f"{name}_{part}_ms"] for name in ("first", "delay", "jitter") for part in ("p50", "p99", "p999")}
    return int(seen["delay_count"]), {**kept, "merged": seen["merged"]}


def percentiles(times):
    times = sorted(times)
    return {name: times[min(len(times) - 1, int(len(times) * part))] for name, part in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}


def check(contender, body=None, path=CHAT, tls=False, status=200, part=b""):
    """One request by hand: what is measured must be the answer, or the refusal, that is meant."""
    if tls:
        connection = http.client.HTTPSConnection("127.0.0.1", contender.tls, timeout=PATIENCE, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection("127.0.0.1", contender.plain, timeout=PATIENCE)
    headers = {"content-type": "application/json", **contender.asked_with()} if body else {}
    try:
        connection.request("POST" if body else "GET", path, body.read_bytes() if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as reason:
        raise Failed(f"{contender.name} does not answer: {reason}") from reason
    finally:
        connection.close()
    if answer.status != status or part not in text:
        raise Failed(f"{contender.name} answers {answer.status}: {text[:300]}")
