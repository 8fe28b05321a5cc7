"""Holds answers of the dashboard and of the control API against HTTP itself, with httplint. Arguments: the edge's URL and a
session's token. Prints what is not as it should be; exits with 1 where there is anything."""

import http.client
import sys
from urllib.parse import urlsplit

from httplint import HttpResponseLinter
from httplint.note import levels

SIGNED = ["/", "/logs", "/keys", "/connect", "/playground", "/operator", "/account", "/logs/00000000-0000-7000-8000-000000000000",
          "/api/me", "/api/keys", "/api/usage/today", "/api/usage/days", "/api/logs", "/api/logs/export?format=csv",
          "/api/logs/export?format=jsonl", "/api/models", "/api/operator/state", "/api/operator/users", "/api/nowhere"]
OPEN = ["/", "/sign-in", "/sign-in/link", "/register", "/nowhere", "/api/openapi.json", "/api/docs", "/api/me", "/health"]
WRONG = [("DELETE", "/"), ("DELETE", "/api/me"), ("PUT", "/sign-in"), ("POST", "/api/login"), ("HEAD", "/sign-in"), ("HEAD", "/api/docs")]


def main(edge, token):
    cookie = {"cookie": f"cfx_session={token}"}
    asked = [("GET", path, cookie) for path in SIGNED] + [("GET", path, {}) for path in OPEN]
    asked += [(method, path, cookie) for method, path in WRONG]
    _, page, _ = ask(edge, "GET", "/sign-in", {})
    assets = sorted({part.split('"')[0] for part in page.decode().split('="') if part.startswith("/assets/")})
    assert assets, "a page without assets"
    asked += [("GET", path, {}) for path in assets]
    found = [f"{method} {path}: {note}" for method, path, headers in asked for note in linted(edge, method, path, headers)]
    print(f"{len(asked)} answers", *found, sep="\n")
    sys.exit(1 if found else 0)


def linted(edge, method, path, headers):
    answer, body, raw = ask(edge, method, path, headers)
    linter = HttpResponseLinter(no_content=method == "HEAD")
    linter.process_response_topline(b"HTTP/1.1", str(answer.status).encode(), answer.reason.encode())
    linter.process_headers(raw)
    linter.feed_content(body)
    linter.finish_content(True)
    return [f"{answer.status} {note.level.value}: {note.summary}" for note in linter.notes if note.level in (levels.BAD, levels.WARN)]


def ask(edge, method, path, headers):
    connection = http.client.HTTPConnection(urlsplit(edge).netloc, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.getheaders()]
        return answer, answer.read(), raw
    finally:
        connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
