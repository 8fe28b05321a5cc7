"""Who is measured: cfx with everything on, and the proxies that do none of its work. Each in front of one upstream port.

What of theirs is off, and which of their settings are not the defaults, is told here, beside the settings themselves, and
ends up in the report.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import process
from ground import CFX, PATIENCE, RELEASE, NotStarted, free_port, listens

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
PEPPER = "a pepper of at least thirty-two bytes, for bench"
USER = "bench@example.org"
# Has one request a day, which is used up before a flood of refusals begins.
EXHAUSTED = "exhausted@example.org"
# Whose certificate is a key of the older kind.
RSA_NAME = "rsa.localhost"

# As one deploys it: kept connections to the upstream, no log. Events pass unbuffered: the upstream's X-Accel-Buffering says so.
NGINX_CONF = """
{user}
worker_processes {workers};
error_log {folder}/error.log;
pid {folder}/{name}.pid;
daemon off;
{more}
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_max_body_size 20m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000000;
{server}
}}
"""
NGINX_PROXY = """
  ssl_session_cache shared:tls:20m;
  upstream behind {{ server 127.0.0.1:{upstream} max_fails=0; keepalive 4096; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{plain} reuseport;
    listen 127.0.0.1:{tls} ssl http2 reuseport;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location / {{
      proxy_pass http://behind;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
  server {{
    listen 127.0.0.1:{tls} ssl http2;
    server_name {rsa_name};
    ssl_certificate {rsa_certificate};
    ssl_certificate_key {rsa_key};
  }}
"""
HAPROXY_CONF = """
global
  nbthread {threads}
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  option http-keep-alive
  option http-no-delay
  http-reuse always
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
frontend in
  bind 127.0.0.1:{plain}
  bind 127.0.0.1:{tls} ssl crt {pair} alpn h2,http/1.1
  default_backend behind
backend behind
  server upstream 127.0.0.1:{upstream} pool-max-conn -1
"""
CFX_CONF = {
    "cfx.yaml": """
entrypoints:
  http:  {{ address: "127.0.0.1:{plain}" }}
  https: {{ address: "127.0.0.1:{tls}", tls: true, http2: true }}
admin: {{ address: "127.0.0.1:{admin}" }}
tls: {{ certificates: [{{ cert: "{certificate}", key: "{key}" }}, {{ cert: "{rsa_certificate}", key: "{rsa_key}" }}] }}
upstreams:
  litellm: {{ targets: ["http://127.0.0.1:{upstream}"], api_key: "sk-bench", http2: {http2} }}
  # The same one by another address: a route that needs no key may not lead to where a key is needed.
  web: {{ targets: ["http://127.0.0.2:{upstream}"] }}
routes:
  - {{ name: llm, match: {{ path: /v1/ }}, llm: litellm }}
  - {{ name: assets, match: {{ path: /assets/ }}, upstream: web }}
server: {{ threads: {threads}, grace: 2s }}
# All clients come from one address here, and as many as there are open files for.
guards: {{ connections: 1000000, connections_per_address: 1000000 }}
""",
    "models.yaml": """
stages:
  plan:   {{ model: bench, system: "You plan. Say what you would do and why; write no code.", max_tokens: 8192 }}
  code:   {{ model: bench }}
  review: {{ model: bench }}
embeddings: {{ model: bench }}
models:
  bench: {{ upstream_model: upstream-bench, price: {{ input: 3.00, output: 15.00 }} }}
""",
    "limits.yaml": "daily_requests: 1000000000\nconcurrent_streams: 1000\nconcurrent_requests: 1000\n"
                   f"users: {{{{ {EXHAUSTED}: {{{{ daily_requests: 1 }}}} }}}}\n",
}


@dataclasses.dataclass
class Contender:
    """One proxy in front of one upstream, and how it is asked."""

    name: str
    process: subprocess.Popen
    plain: int
    tls: int | None = None
    # Of cfx, and of gateways that check one.
    key: str = "sk-bench"
    # What it wants to be told beside the key.
    headers: dict = dataclasses.field(default_factory=dict)
    # Other requests to the same process, by key.
    keys: dict = dataclasses.field(default_factory=dict)
    log: object = None
    admin: int | None = None
    # What is started again as it was.
    command: list = dataclasses.field(default_factory=list)
    environment: dict | None = None
    # The process of the store that works for it.
    store: int | None = None

    def cpu(self):
        return process.cpu_seconds(self.process.pid)

    def store_cpu(self):
        return process.cpu_seconds(self.store) if self.store else 0.0

    def switches(self):
        return process.switches(self.process.pid)

    def resident(self):
        """In MB."""
        return process.family_memory_kib(self.process.pid) / 1024

    def as_who(self, name, key):
        """The same process, asked by somebody else."""
        return dataclasses.replace(self, name=name, key=key)

    def settle(self, patience=120):
        """Waits until the ledger has every row in the store: that work is the requests' too, and none of another's turn."""
        deadline = time.monotonic() + patience
        while self.admin and waiting(self.admin) > 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def asked_with(self):
        return {"Authorization": f"Bearer {self.key}", **self.headers}


def certificates(ground):
    """Of servers that show one of two, by the name that is asked for: the names they have in the configurations above."""
    (certificate, key), (rsa_certificate, rsa_key) = ground.certificate(), ground.certificate(RSA_NAME, ("rsa:2048",))
    return {"certificate": certificate, "key": key, "rsa_certificate": rsa_certificate, "rsa_key": rsa_key}


def threads(ground):
    # Whoever watches runs one thread at a time, and of nginx one process.
    return 1 if ground.watched else len(ground.cores) if ground.cores else 2


def bare(ground, tag, upstream):
    certificate, key = ground.certificate()
    plain, tls = free_port(), free_port()
    command = [RELEASE / "examples/bare_proxy", f"127.0.0.1:{upstream}", f"127.0.0.1:{plain}", f"127.0.0.1:{tls}", certificate,
               key, threads(ground)]
    return Contender("bare pingora", ground.contend(f"bare-{tag}", command, tls), plain, tls)


def nginx_process(start, ground, name, workers, server, port, more=""):
    """nginx with this server, be it the upstream or a contender, which `start` says."""
    folder = ground.folder / name
    folder.mkdir()
    # Started by root, its workers would become nobody, who may not write here.
    user = "user root;" if os.getuid() == 0 else ""
    text = NGINX_CONF.format(user=user, workers=workers, folder=folder, name=name, server=server, more=more)
    (folder / "nginx.conf").write_text(text)
    return start(name, [NGINX, "-p", folder, "-c", folder / "nginx.conf"], port)


def nginx(ground, tag, upstream):
    plain, tls = free_port(), free_port()
    server = NGINX_PROXY.format(upstream=upstream, plain=plain, tls=tls, rsa_name=RSA_NAME, **certificates(ground))
    more = "master_process off;" if ground.watched else ""
    return Contender("nginx", nginx_process(ground.contend, ground, f"nginx-{tag}", threads(ground), server, tls, more), plain, tls)


def haproxy(ground, tag, upstream):
    certificate, key = ground.certificate()
    plain, tls = free_port(), free_port()
    pair, conf = ground.folder / "pair.pem", ground.folder / f"haproxy-{tag}.cfg"
    pair.write_text(certificate.read_text() + key.read_text())
    conf.write_text(HAPROXY_CONF.format(threads=threads(ground), plain=plain, tls=tls, pair=pair, upstream=upstream))
    return Contender("HAProxy", ground.contend(f"haproxy-{tag}", [HAPROXY, "-db", "-f", conf], tls), plain, tls)


def cfx(ground, tag, upstream, name="cfx", store=None, limits=CFX_CONF["limits.yaml"], http2=False, edge=CFX_CONF["cfx.yaml"]):
    """cfx with everything on, over the store that the environment `store` names, or SQLite. `http2`: to its upstream."""
    plain, tls, admin = free_port(), free_port(), free_port()
    folder = ground.folder / f"{name.replace(' ', '')}-{tag}"
    conf, data = folder / "conf", folder / "data"
    conf.mkdir(parents=True)
    data.mkdir()
    written(conf, {**CFX_CONF, "cfx.yaml": edge, "limits.yaml": limits}, plain=plain, tls=tls, admin=admin, upstream=upstream,
            threads=threads(ground), http2="always" if http2 else "auto", **certificates(ground))
    environment = {"PATH": os.environ["PATH"], "KEY_HASH_PEPPER": PEPPER, **(store or {})}

    def command(*words):
        done = subprocess.run([CFX, *words, "--data", data], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"bench: cfx {' '.join(words[:2])} failed:\n{done.stderr}")
        return done.stdout

    def new_key(user):
        command("user", "create", user)
        return json.loads(command("key", "create", "--user", user, "--label", "bench", "--json"))["key"]

    command("migrate")
    keys = {user: new_key(user) for user in (USER, EXHAUSTED)}
    run = [CFX, "run", "--conf", conf, "--data", data]
    started = ground.contend(folder.name, run, admin, env=environment)
    contender = Contender(name, started, plain, tls, keys[USER], keys=keys, log=ground.log(folder.name), admin=admin,
                          command=run, environment=environment)
    if not ready(contender, PATIENCE * (4 if ground.watched else 1)):
        raise NotStarted(f"{name} is not ready:\n{contender.log.read_text()[-3000:]}")
    return contender


def written(conf, files, **values):
    for file, text in files.items():
        (conf / file).write_text(text.format(**values))


def waiting(admin):
    """Records that a cfx has yet to bring to its store."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=PATIENCE) as answer:
        return int(float(re.search(rb"^cfx_ledger_queue (\S+)", answer.read(), re.MULTILINE).group(1)))


def ready(contender, patience=PATIENCE):
    """Waits until cfx takes requests: its listeners open after its stores have answered."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{contender.admin}/-/ready", timeout=patience):
                return listens(contender.tls, patience, contender.process)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.002)
    return False
