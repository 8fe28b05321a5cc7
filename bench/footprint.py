"""What cfx takes of a machine beside time: at rest, at its start, on disk; and what each proxy holds for a long prompt."""

import dataclasses
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import bodies
import contenders
import load
import process
from ground import CFX, PATIENCE, NotStarted
from upstreams import Holder

# At once, so that what each takes is far above what a process' memory moves by itself.
PROMPTS = 48
SETTLING = 2


def start(ground, contender, times=3):
    """Ready again on data that is there: seconds from the process' start until it takes requests, and its memory then."""
    ground.stop(contender.process)
    took, resident = [], []
    for _ in range(times):
        began = time.monotonic()
        started = ground.contend("start", contender.command, contender.admin, env=contender.environment)
        again = dataclasses.replace(contender, process=started)
        if not contenders.ready(again):
            raise NotStarted("cfx does not start again")
        took.append(time.monotonic() - began)
        time.sleep(SETTLING)
        resident.append(again.resident())
        ground.stop(again.process)
    return {"ready_s": statistics.median(took), "idle_mb": max(resident)}


def binary_mb():
    """Of cfx without its symbols, as it is in the image. None where nothing can take them away."""
    if not shutil.which("strip"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder) / "cfx"
        subprocess.run(["strip", "-o", stripped, CFX], check=True)
        return stripped.stat().st_size / 1e6


def prompt_memory(ground, starters):
    """By contender: the most that its memory grew by for each of many prompts of 1 MB that were under way at once, in prompts."""
    body = bodies.chat(ground.folder, "prompt.json", 1 << 20)
    small = bodies.chat(ground.folder, "before.json", 2 << 10)
    return {name: grown(ground, starter, body, small) for name, starter in starters.items()}


def grown(ground, starter, body, small):
    holder = Holder()
    try:
        contender = starter(ground, "prompt", holder.port)
    except NotStarted:
        return None
    text = body.read_bytes()
    # What every connection has in any case is no part of a prompt: as many short ones first.
    open_at_once(contender, small.read_bytes(), holder)
    before = process.family_memory_kib(contender.process.pid)
    process.forget_most(contender.process.pid)
    open_at_once(contender, text, holder)
    most = process.family_memory_kib(contender.process.pid, "VmHWM")
    ground.stop(contender.process)
    return (most - before) * 1024 / PROMPTS / len(text)


def open_at_once(contender, text, holder):
    """All of them on connections of their own, answered when the last has come through."""
    holder.go.clear()
    head = "".join(f"{name}: {value}\r\n" for name, value in contender.asked_with().items())
    head = f"POST {load.CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{head}content-length: {len(text)}\r\n\r\n"
    request = head.encode() + text
    answers = []

    def ask():
        with socket.create_connection(("127.0.0.1", contender.plain), timeout=PATIENCE) as connection:
            connection.sendall(request)
            answers.append(connection.recv(12))
    clients = [threading.Thread(target=ask) for _ in range(PROMPTS)]
    for client in clients:
        client.start()
    came = holder.wait_for(PROMPTS, PATIENCE)
    holder.go.set()
    for client in clients:
        client.join(PATIENCE)
    if not came or answers != [b"HTTP/1.1 200"] * PROMPTS:
        raise load.Failed(f"{contender.name} did not bring {PROMPTS} prompts through: {answers[:3]}")
