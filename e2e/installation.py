"""What `make e2e` runs against: a provider that we script, the real LiteLLM in front of it, cfx in front of that.

Everything stands on free loopback ports and in a folder of its own, and is stopped at the end however it comes.
"""

import datetime
import http.client
import ipaddress
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from provider import Provider

ROOT = pathlib.Path(__file__).resolve().parent.parent
CFX = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "cfx"
MASTER_KEY = "sk-litellm-master-of-the-e2e"
PEPPER = "a pepper of at least thirty-two bytes, for e2e"
PATIENCE = 120
# Whom e2e/conf/cfx.yaml sends to which web application.
WEB_NAMES = ["app.localhost", "compressing.localhost", "dev.localhost", "echo.localhost"]
# A port is given once, so that who asks for several before any is bound gets as many.
GIVEN = set()


class Installation:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cfx-e2e-"))
        self.children = []
        self.keys = {}

    def start(self):
        self.provider = Provider()
        self.litellm_port, http_port, https_port, self.admin_port = (free_port() for _ in range(4))
        self.web_ports = {name: free_port() for name in ["next", "compressing", "dev", "echo"]}
        self.http = f"http://127.0.0.1:{http_port}"
        self.https = f"https://127.0.0.1:{https_port}"
        self.without_litellm = f"http://localhost:{http_port}"
        self.certificate = self.folder / "cert.pem"
        make_certificate(self.certificate, self.folder / "cert.key")
        self.start_litellm()
        self.data = self.folder / "data"
        self.environment = {
            "PATH": os.environ["PATH"], "KEY_HASH_PEPPER": PEPPER, "LITELLM_API_KEY": MASTER_KEY,
            "E2E_LITELLM": f"http://127.0.0.1:{self.litellm_port}", "E2E_PROVIDER": self.provider.root,
            **{f"E2E_{name.upper()}": f"http://127.0.0.1:{port}" for name, port in self.web_ports.items()},
            "E2E_CERT": str(self.certificate), "E2E_CERT_KEY": str(self.folder / "cert.key"),
        }
        self.data.mkdir()
        # A copy, so that a test may change it under the running edge.
        self.conf = self.folder / "conf"
        shutil.copytree(ROOT / "e2e/conf", self.conf)
        subprocess.run([CFX, "migrate", "--data", self.data], env=self.environment, check=True, capture_output=True)
        self.key = self.new_key("ada@example.org")
        self.cfx = self.spawn("cfx", [
            CFX, "run", "--conf", self.conf, "--data", self.data, "--http", f"127.0.0.1:{http_port}",
            "--https", f"127.0.0.1:{https_port}", "--admin", f"127.0.0.1:{self.admin_port}",
        ], self.environment)
        self.wait_for(self.cfx, "cfx", self.admin_port, "/-/ready")

    def start_litellm(self):
        environment = {
            **os.environ, "PROVIDER_BASE": self.provider.root + "/v1", "PROVIDER_ROOT": self.provider.root,
            "LITELLM_MASTER_KEY": MASTER_KEY,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no fetch of prices from the internet
        }
        command = [pathlib.Path(sys.executable).parent / "litellm", "--config", ROOT / "e2e/litellm.yaml",
                   "--host", "127.0.0.1", "--port", str(self.litellm_port), "--telemetry", "False"]
        child = self.spawn("litellm", command, environment)
        self.wait_for(child, "litellm", self.litellm_port, "/health/liveliness")

    def new_key(self, user):
        """A key of this user, made once."""
        if user not in self.keys:
            subprocess.run([CFX, "user", "create", user, "--data", self.data], env=self.environment, check=True,
                           capture_output=True)
            made = subprocess.run(
                [CFX, "key", "create", "--user", user, "--label", "e2e", "--json", "--data", self.data],
                env=self.environment, check=True, capture_output=True, text=True)
            self.keys[user] = json.loads(made.stdout)["key"]
        return self.keys[user]

    def spawn(self, name, command, environment):
        log = open(self.folder / f"{name}.log", "w")
        child = subprocess.Popen([str(part) for part in command], env=environment, cwd=self.folder, stdout=log, stderr=log)
        self.children.append(child)
        return child

    def wait_for(self, child, name, port, path):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and child.poll() is None:
            try:
                if get(port, path) == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        sys.exit(f"{name} did not start:\n{(self.folder / f'{name}.log').read_text()[-4000:]}")

    def ask_litellm(self, path, body, headers=()):
        """Asks LiteLLM itself, with its own key: what would happen without cfx in between."""
        return self.post(f"http://127.0.0.1:{self.litellm_port}", path, body, MASTER_KEY, headers)

    def ask(self, path, body, headers=()):
        """Asks cfx over TLS in the very bytes given."""
        return self.post(self.https, path, body, self.key, headers)

    def post(self, base, path, body, key, headers):
        scheme, address = base.split("://")
        if scheme == "https":
            connection = http.client.HTTPSConnection(address, timeout=PATIENCE, context=self.tls())
        else:
            connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        try:
            body = body if isinstance(body, (bytes, str)) else json.dumps(body)
            sent = {"authorization": f"Bearer {key}", "content-type": "application/json", **dict(headers)}
            connection.request("POST", path, body, sent)
            answer = connection.getresponse()
            text = answer.read()
            try:
                return answer.status, json.loads(text), dict(answer.getheaders())
            except ValueError:
                return answer.status, text.decode(), dict(answer.getheaders())
        finally:
            connection.close()

    def tls(self):
        return ssl.create_default_context(cafile=self.certificate)

    def stop_cfx(self):
        """Stops cfx, which writes all it held, and returns the ledger's rows."""
        if self.cfx.poll() is None:
            self.cfx.send_signal(signal.SIGTERM)
            self.cfx.wait(timeout=PATIENCE)
        store = sqlite3.connect(f"file:{self.data / 'cfx.db'}?mode=ro", uri=True)
        store.row_factory = sqlite3.Row
        return store.execute("select * from request_logs order by created_at").fetchall()

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def close(self):
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def free_port():
    """Below the ports that the system gives to outgoing connections, so that none of those takes it before a server does."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in GIVEN:
            GIVEN.add(port)
            return port


def make_certificate(certificate, key_file):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cfx e2e")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName(name) for name in ["localhost", *WEB_NAMES]] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


running = Installation()
