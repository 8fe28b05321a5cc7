"""Thousands of open streams: memory of each, tokens on time, and what stays when they have gone. With --chunks: a few
streams with a token every 20 ms instead, each of which must arrive by itself and at once.

The model and the clients are one process (examples/crowd), which writes into each token when it was sent. What its own
two ends take, with no edge between them, is measured first and stands beside the figures. Start it by scripts/streams.
"""

import argparse

from crowd import BESIDE, Crowd, judge, open_files
from ground import Ground

# KB a stream, by whether TLS is on it.
MOST = {False: 48, True: 70}
P99_MS = 10
# Of a first crowd, the share of what it took that may stay: the allocator's notes of pages once had, and the store's cache
# (docs/decisions/002-allocator.md). Behind the same crowd again, which finds those there, the edge is back within a tenth.
STAYS_FIRST, BACK = 0.04, 1.1
# The engine's timers lie where they are until they would have rung, 10 s at the most; a connection to the model that a crowd has
# grown is left within 15 s; what is free goes back every 5 s; and a thread's cache holds pages until it is emptied.
AFTER = 30
# Streams before any crowd: an edge at work has its code and its caches in memory.
WARMING = 300
CHUNK_P99_MS = 2


def delays(seen):
    return "p50 {delay_p50_ms:.2f} ms, p99 {delay_p99_ms:.2f}, p99.9 {delay_p999_ms:.2f}, most {delay_max_ms:.1f}".format(**seen)


def protocol(arguments):
    """How many streams, and whether the model speaks HTTP/2: over HTTP/1.1 each is two open files of the edge's."""
    count, files = arguments.streams, open_files()
    if not arguments.http2 and not arguments.http1 and 2 * count + BESIDE > files:
        print(f"streams: {count:,} take {2 * count + BESIDE:,} open files and this system grants {files:,}: the model speaks HTTP/2")
        arguments.http2 = True
    fitting = files - BESIDE - count // 100 if arguments.http2 else (files - BESIDE) // 2
    if count > fitting:
        print(f"streams: of {count:,}, {fitting:,} fit the open files that this system grants")
    return min(count, fitting), arguments.http2


def held(arguments, tls, crowds=2, cores=None):
    """What each crowd that came after the other saw, and the memory in MB of an edge that had none."""
    count, http2 = protocol(arguments)
    spoken = ["--http2"] if http2 else []
    with Ground(cores) as ground:
        crowd = Crowd(ground, "streams", f"in_flight: {count + 100}\nstreams_in_flight: {count + 100}\n", http2)
        opening = ["--streams", count, "--rate", arguments.rate, "--every", arguments.every or 1_000,
                   "--seconds", arguments.seconds, "--after", arguments.after, *spoken]
        patience = arguments.seconds + arguments.after + count / arguments.rate + 300
        warming = ["--streams", WARMING, "--rate", arguments.rate, "--seconds", 3, "--after", AFTER, *spoken]
        cold = crowd.let_in("streams", *warming, tls=tls)["rss_before_kib"] / 1024
        seen = [crowd.let_in("streams", *opening, tls=tls, patience=patience) for _ in range(crowds)]
    for each in seen:
        each["stream_kb"] = (each["rss_with_kib"] - cold * 1024) / count
    return count, http2, cold, seen


def streams(arguments, tls):
    # Twice, since two things are asked: how much of what a first crowd takes stays, and whether a second one adds to it.
    count, http2, cold, (first, seen) = held(arguments, tls)
    warm, before, behind = (kib / 1024 for kib in (first["rss_before_kib"], seen["rss_before_kib"], seen["rss_after_kib"]))
    stays = (first["rss_after_kib"] - first["rss_before_kib"]) / (first["rss_with_kib"] - first["rss_before_kib"])
    stream, most = seen["stream_kb"], MOST[tls]
    print(f"{count:,} streams {'over TLS' if tls else 'over plain HTTP'}, from a model over HTTP/{'2' if http2 else '1.1'}, "
          f"for {arguments.seconds} s (opened in {seen['opening_s']:.0f} s): {seen['whole']:,.0f} whole, {seen['errors']:.0f} errors; "
          f"{stream:.1f} KB a stream; {seen['delay_count']:,.0f} tokens, added {delays(seen)}; "
          f"RSS {cold:.1f} MB before any stream, {warm:.1f} after {WARMING}, {before:.1f} after a first such crowd ({stays:.1%} of "
          f"what it took), {seen['rss_with_kib'] / 1024:.0f} with this one, {behind:.1f} {seen['rss_after_s']:.0f} s after it "
          f"({behind / before:.2f} ×)", flush=True)
    return {
        "not every stream was whole": any(each["whole"] != count or each["errors"] > 0 for each in (first, seen)),
        f"more than {most} KB a stream": stream > most,
        f"p99 above {P99_MS} ms": seen["delay_p99_ms"] > P99_MS,
        f"more than {STAYS_FIRST:.0%} of what a first crowd took did not come back": stays > STAYS_FIRST,
        f"more than {BACK} × what was there before the same crowd came again": behind > BACK * before,
    }


def chunks(arguments, tls):
    count = min(arguments.streams, 20)
    with Ground() as ground:
        crowd = Crowd(ground, "chunks", "")
        asked = ["--streams", count, "--every", arguments.every or 20, "--seconds", min(arguments.seconds, 30), "--after", 0]
        direct = crowd.let_in("streams", *asked, "--direct")
        seen = crowd.let_in("streams", *asked, tls=tls)
    print(f"{count} streams {'over TLS' if tls else 'over plain HTTP'}, a token every {arguments.every or 20} ms: "
          f"{seen['delay_count']:,.0f} tokens, {delays(seen)}; {seen['merged']:.0f} merged, {seen['errors']:.0f} errors; "
          f"without an edge: {delays(direct)}; {direct['merged']:.0f} merged", flush=True)
    return {
        "not every stream was whole": seen["whole"] != count or seen["errors"] > 0,
        f"p99 above {CHUNK_P99_MS} ms": seen["delay_p99_ms"] > CHUNK_P99_MS,
        "tokens were merged": seen["merged"] > 0,
    }


def options(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=180, help="with all of them open")
    parser.add_argument("--every", type=int, help="milliseconds between tokens; 1000, or 20 with --chunks")
    parser.add_argument("--rate", type=int, default=500, help="streams opened in a second")
    parser.add_argument("--after", type=int, default=AFTER, help="seconds that memory has to come back")
    spoken = parser.add_mutually_exclusive_group()
    spoken.add_argument("--http1", action="store_true", help="from the model; where the open files do not suffice, fewer streams")
    spoken.add_argument("--http2", action="store_true", help="from the model; else only where the open files do not suffice")
    parser.add_argument("--tls", action="store_true", help="over TLS alone")
    parser.add_argument("--plain", action="store_true", help="over plain HTTP alone")
    parser.add_argument("--chunks", action="store_true", help="few streams, many tokens: is each passed on at once?")
    return parser.parse_args(words)


def main():
    arguments = options()
    measure, wrong = chunks if arguments.chunks else streams, {}
    for tls in (False, True):
        if not (arguments.plain if tls else arguments.tls):
            found = measure(arguments, tls)
            wrong |= {f"{'TLS' if tls else 'plain'}: {what}": holds for what, holds in found.items()}
    judge("streams", wrong)


if __name__ == "__main__":
    main()
