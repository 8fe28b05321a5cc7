"""What cfx is held to, each a line: what was wanted, what was seen in this run, whether it holds."""

STREAMS_KB = {"plain": 48, "tls": 70}


def lines(results, footprint):
    return [
        ratio(results, "CPU, chat 2 KB, against bare pingora", "chat-2k", "cfx", "bare pingora", most=0.9),
        ratio(results, "CPU, chat 2 KB, against onwards", "chat-2k", "cfx", "onwards", most=0.45),
        ratio(results, "CPU, chat 2 KB, against Portkey", "chat-2k", "cfx", "Portkey", most=1 / 40),
        ratio(results, "CPU, chat 2 KB, against LiteLLM", "chat-2k", "cfx", "LiteLLM", most=1 / 400),
        ratio(results, "answers a second, chat 2 KB, against bare pingora", "chat-2k", "cfx", "bare pingora", "rate", least=1.1),
        ratio(results, "p99 at 70 % of bare pingora's peak, against its own", "chat-at-70", "cfx", "bare pingora", "p99", most=1.2),
        ratio(results, "CPU an event, SSE, against bare pingora", "sse-fast", "cfx", "bare pingora", most=0.7),
        ratio(results, "CPU an event, SSE, against nginx", "sse-fast", "cfx", "nginx", most=1.0),
        ratio(results, "CPU, a prompt of 1 MB, against bare pingora", "chat-1m", "cfx", "bare pingora", most=1.3),
        figure(footprint, "memory for a prompt of 1 MB, against its size", "prompt_memory", "cfx", most=1.5, form="{:.2f} ×"),
        ratio(results, "CPU of a 401, against a request served", "refusals", "401, key unknown", "served", most=0.5),
        ratio(results, "CPU of a 429, against a request served", "refusals", "429, quota used up", "served", most=0.5),
        ratio(results, "an honest client's p99 beside a flood of 401s, against alone", "floods", "beside 401s", "alone", "p99", most=2.0),
        ratio(results, "an honest client's p99 beside a flood of 429s, against alone", "floods", "beside 429s", "alone", "p99", most=2.0),
        figure(footprint, "memory at rest", "idle_mb", most=30, form="{:.1f} MB"),
        *(figure(footprint, f"memory of each of 10,000 streams, {name}", "streams", which, most=most, form="{:.1f} KB")
          for name, (which, most) in {"plain HTTP": ("plain", STREAMS_KB["plain"]), "TLS": ("tls", STREAMS_KB["tls"])}.items()),
        figure(footprint, "from start to ready, warm store", "ready_s", most=1.0, form="{:.2f} s"),
        figure(footprint, "the binary, stripped", "binary_mb", most=25, form="{:.1f} MB"),
        resumed(results, "CPU, a connection with a full TLS handshake, against a resumed one"),
        resumed(results, "CPU, the same, without what a connection takes that says nothing", without="tcp-new"),
        resumed(results, "CPU, a connection with a full TLS handshake, a certificate of RSA, against a resumed one", of="-rsa"),
        ratio(results, "CPU, a full TLS handshake, against nginx", "tls-new", "cfx", "nginx", most=1.2),
    ]


def line(what, seen, form, most=None, least=None):
    """`seen`: a figure, its median first where it has a range."""
    bound = f"≤ {form.format(most)}" if most is not None else f"≥ {form.format(least)}"
    if seen is None:
        return {"what": what, "wanted": bound, "seen": "–", "holds": None, "value": None}
    middle, *ends = seen
    bare = form.split()[0]
    told = form.format(middle) + (f" ({bare.format(ends[0])}–{bare.format(ends[1])})" if ends else "")
    holds = middle <= most if most is not None else middle >= least
    return {"what": what, "wanted": bound, "seen": told, "holds": holds, "value": middle}


def ratio(results, what, workload, one, other, by="cpu", most=None, least=None):
    return line(what, results.ratio(workload, one, other, by), "{:.2f} ×" if (most or least) >= 0.1 else "{:.4f} ×", most, least)


def figure(footprint, what, *path, most, form):
    found = footprint
    for name in path:
        found = (found or {}).get(name)
    return line(what, None if found is None else (found,), form, most)


def resumed(results, what, without=None, of=""):
    """How much cheaper: the medians of either kind are held against each other, as they were not taken in pairs."""
    full, again = (results.middle(name, "cfx", "cpu") for name in (f"tls-new{of}", f"tls-resumed{of}"))
    rest = results.middle(without, "cfx", "cpu") if without else 0.0
    seen = (full - rest) / (again - rest) if None not in (full, again, rest) and again > rest else None
    return line(what, seen and (seen,), "{:.2f} ×", least=5.0)
