"""The dashboard in a real browser, and the control API by its own description.

The browser's part is in e2e/dashboard: `journey` is what somebody does on their first day, `pages` looks at every page,
`seals` is what an attacker tries; `supabase` is somebody whose password Supabase keeps. They run against `cfx dev`; the journey also against `cfx run` on Postgres with the
dashboard as a process of its own. Set CFX_PICTURES to a folder to have the pictures of all pages, and README_PICTURE to
docs/images/overview.png to have the README's made anew.
"""

import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import time
import unittest

import psycopg
from gotrue import ANON_KEY, Gotrue
from installation import CFX, PATIENCE, PEPPER, ROOT, free_port, running

BROWSER = ROOT / "e2e/dashboard"
LINK = re.compile(r"http://\S+/sign-in/link#cfx_link_\w+")
SECRET = re.compile(r"cfx_(?:session|link)_[0-9A-Za-z]{30,}|cfx_live_[0-9A-Za-z]{30,}")
# Seconds for each run of schemathesis, and what it draws its examples from.
FUZZED = 60
SEED = "20260131"
# Sessions that fuzzing may end.
SPARE = 40


class Dashboard:
    """An edge with a dashboard, and a model that the browser's scripts start and stop."""

    def __init__(self, name):
        self.folder = running.folder / name
        self.conf, self.data = self.folder / "conf", self.folder / "data"
        shutil.copytree(BROWSER / "conf", self.conf)
        self.data.mkdir()
        self.name = name
        self.model, http_port, https_port, self.admin = (free_port() for _ in range(4))
        self.url = f"http://127.0.0.1:{http_port}"
        self.places = ["--conf", self.conf, "--data", self.data, "--http", self.url[7:], "--admin", f"127.0.0.1:{self.admin}"]
        self.tls = f"127.0.0.1:{https_port}"
        self.environment = {"PATH": os.environ["PATH"], "KEY_HASH_PEPPER": PEPPER}

    def start_dev(self):
        upstream = ["--upstream", f"http://127.0.0.1:{self.model}"]
        self.serve([CFX, "dev", *self.places, "--https", self.tls, *upstream])
        self.link = LINK.search(running.log(self.name)).group()
        return self

    def start_apart(self, postgres, more=None):
        """`cfx run` on Postgres, and the dashboard as a process of its own with the role that can write nothing."""
        control, pages = free_port(), free_port()
        self.environment |= (more or {}) | {
            "DATABASE_URL": postgres, "E2E_CONTROL": f"127.0.0.1:{control}", "LITELLM_API_KEY": "sk-of-the-model",
            "E2E_MODEL": f"http://127.0.0.1:{self.model}", "E2E_DASHBOARD": f"http://127.0.0.1:{pages}",
        }
        self.serve([CFX, "run", *self.places])
        running.spawn(f"{self.name}-dashboard", [CFX, "dashboard"], {
            "PATH": os.environ["PATH"], "DASHBOARD_DATABASE_URL": postgres.replace("postgres@", "cfx_dashboard@"),
            "CFX_EDGE_URL": f"http://127.0.0.1:{control}", "CFX_DASHBOARD_ADDRESS": f"127.0.0.1:{pages}",
        })
        wait_for_page(pages, self.name)
        self.link = self.new_link("dev@localhost")
        return self

    def serve(self, command):
        child = running.spawn(self.name, command, self.environment)
        running.wait_for(child, self.name, self.admin, "/-/ready")

    def new_link(self, email):
        """A link that signs a new operator in."""
        made = subprocess.run([CFX, "user", "create", email, "--operator", "--json", "--data", self.data], env=self.environment,
                              check=True, capture_output=True, text=True)
        return f"{self.url}/sign-in/link#{json.loads(made.stdout)['link']}"

    def browse(self, suite, link, **more):
        pictures = pathlib.Path(os.environ.get("CFX_PICTURES", running.folder / "pictures")) / f"{self.name}-{suite}"
        pepper = self.folder / "pepper"
        pepper.write_text(PEPPER)
        environment = {
            "PATH": os.environ["PATH"], "CHROMIUM": os.environ["CHROMIUM"], "EDGE": self.url, "TLS": f"https://{self.tls}", "LINK": link, "CONF": str(self.conf),
            "MODEL_PORT": str(self.model), "SHOTS": str(pictures), "PEPPER_FILE": str(pepper), **more,
        }
        done = subprocess.run(["node", "--test", "--test-reporter=spec", BROWSER / f"{suite}.test.mjs"], env=environment,
                              capture_output=True, text=True, timeout=400)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        return [line.strip() for line in done.stdout.splitlines() if re.search(r"tail after|moderate|minor|^✔", line)]

    def ask(self, method, path, body=None, token=None):
        connection = http.client.HTTPConnection(self.url[7:], timeout=PATIENCE)
        try:
            headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
            connection.request(method, path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 300:
                raise AssertionError(f"{method} {path}: {answer.status} {text}")
            return json.loads(text) if text else None
        finally:
            connection.close()

    def sessions(self, count):
        """So many sessions of one new operator."""
        first = self.ask("POST", "/api/login/link", {"link": self.new_link("fuzz@example.org").split("#")[1]})
        made = [first["token"]]
        # Else fuzzing could set one, which ends every other session.
        self.ask("PUT", "/api/me/password", {"new": "four words and a number 7"}, made[0])
        while len(made) < count:
            link = self.ask("POST", f"/api/operator/users/{first['me']['id']}/link", token=made[0])["link"]
            made.append(self.ask("POST", "/api/login/link", {"link": link})["token"])
        return made


class Dev(unittest.TestCase):
    """On SQLite, in the edge's own process."""

    @classmethod
    def setUpClass(cls):
        cls.dashboard = Dashboard("dev").start_dev()

    def test_journey(self):
        told = self.dashboard.browse("journey", self.dashboard.link, PICTURE=os.environ.get("README_PICTURE", ""))
        print("\n" + "\n".join(f"  {line}" for line in told), flush=True)

    def test_pages(self):
        self.dashboard.browse("pages", self.dashboard.new_link("pages@example.org"))

    def test_seals(self):
        self.dashboard.browse("seals", self.dashboard.new_link("seals@example.org"))

    def test_that_nothing_secret_was_logged(self):
        log = running.log("dev")
        printed = {self.dashboard.link.split("#")[1], *re.findall(r"cfx_live_\w+", log.split("Try it")[1].split("Ctrl-C")[0])}
        self.assertEqual(set(SECRET.findall(log)) - printed, set())


class Api(unittest.TestCase):
    """Over the OpenAPI document, with an edge of its own: what is drawn at random fills it with odd keys and accounts."""

    @classmethod
    def setUpClass(cls):
        cls.dashboard = Dashboard("api").start_dev()
        cls.sessions = cls.dashboard.sessions(SPARE)

    def fuzz(self, sessions):
        tail = "/api/logs/tail"  # never ends: test_tail has it
        done = subprocess.run([
            CHECKERS / "schemathesis", "--config-file", BROWSER / "schemathesis.toml", "run", f"{self.dashboard.url}/api/openapi.json", "--url", self.dashboard.url,
            "--exclude-path", tail, "--max-time", str(FUZZED), "--seed", SEED, "--request-timeout", "20",
            "--generation-database", "none", "--no-color", "--continue-on-failure", "--checks", "all",
        ], env={"PATH": os.environ["PATH"], "HOME": str(self.dashboard.folder), "PYTHONPATH": str(BROWSER),
                "SCHEMATHESIS_HOOKS": "api_hooks", "CFX_SESSIONS": json.dumps(sessions), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=self.dashboard.folder, capture_output=True, text=True, timeout=FUZZED * 3)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        print("\n" + "\n".join(f"  {line}" for line in done.stdout.splitlines()[-12:]), flush=True)

    def test_with_a_session(self):
        self.fuzz(self.sessions)

    def test_without_a_session(self):
        self.fuzz([])

    def test_http_itself(self):
        session = self.sessions.pop()
        done = subprocess.run([CHECKERS / "python", BROWSER / "lint_http.py", self.dashboard.url, session], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_tail(self):
        """The one operation that does not end: its head, and that it begins at once."""
        connection = http.client.HTTPConnection(self.dashboard.url[7:], timeout=20)
        self.addCleanup(connection.close)
        connection.request("GET", "/api/logs/tail", headers={"authorization": f"Bearer {self.sessions[-1]}"})
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.getheader("content-type").split(";")[0]), (200, "text/event-stream"))
        self.assertRegex(answer.fp.readline(), rb"^(:|id:|retry:|event:|[0-9a-fA-F]+\r\n)")


class Apart(unittest.TestCase):
    """On Postgres, with the dashboard as a process of its own."""

    @classmethod
    def setUpClass(cls):
        started = subprocess.run([ROOT / "scripts/servers", "start", "postgres"], check=True, capture_output=True, text=True).stdout
        exports = dict(re.findall(r"^export (\w+)=(.*)$", started, re.MULTILINE))
        stop = [ROOT / "scripts/servers", "stop", exports["CFX_TEST_SERVERS"]]
        cls.addClassCleanup(subprocess.run, stop, check=True)
        cls.postgres = exports["CFX_TEST_POSTGRES"]
        cls.dashboard = Dashboard("apart").start_apart(cls.postgres)

    def test_journey(self):
        self.dashboard.browse("journey", self.dashboard.link)

    def test_supabase(self):
        """An edge of a Supabase project's, on a database of its own; neither process is told a secret of the project."""
        password = "correct horse battery"
        gotrue = Gotrue({"ada@example.org": password})
        self.addCleanup(gotrue.close)
        with psycopg.connect(self.postgres, autocommit=True) as owner:
            owner.execute("create database supabase")
        project = {"E2E_SUPABASE": gotrue.url, "E2E_SUPABASE_KEY": ANON_KEY}
        dashboard = Dashboard("supabase").start_apart(self.postgres.rsplit("/", 1)[0] + "/supabase", project)
        dashboard.browse("supabase", "", EMAIL="ada@example.org", PASSWORD=password)
        self.assertEqual(set(gotrue.asked), {"/auth/v1/token?grant_type=password", "/auth/v1/.well-known/jwks.json"})
        for name in ["supabase", "supabase-dashboard"]:
            log = running.log(name)
            self.assertEqual([secret for secret in [password, ANON_KEY, "eyJ"] if secret in log], [], name)
            self.assertEqual(SECRET.findall(log), [], name)


CHECKERS = pathlib.Path(os.environ.get("CHECKERS_VENV", "")) / "bin"


def wait_for_page(port, name):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/sign-in")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the dashboard did not start:\n" + running.log(f"{name}-dashboard"))


if __name__ == "__main__":
    unittest.main()
