"""A stand-in for Supabase Auth (GoTrue): a project with users, real tokens, and the keys that verify them.

Its answers have the form that GoTrue's source gives them (github.com/supabase/auth, internal/api/token.go).
"""

import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ANON_KEY = "anon-key-of-the-e2e"


class Gotrue:
    """Started on a free port. `users` holds passwords by e-mail; `asked` the paths that were asked for."""

    def __init__(self, users):
        self.users = {email: (str(uuid.uuid4()), password) for email, password in users.items()}
        self.asked = []
        self.kid = str(uuid.uuid4())
        self.key = ec.generate_private_key(ec.SECP256R1())
        project = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                project.asked.append(self.path)
                if self.path == "/auth/v1/.well-known/jwks.json":
                    self.answer(200, {"keys": [project.jwk()]})
                else:
                    self.answer(404, {"code": 404, "msg": "404: Not found"})

            def do_POST(self):
                project.asked.append(self.path)
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.headers.get("apikey") != ANON_KEY:
                    self.answer(401, {"message": "Invalid API key"})
                elif self.path != "/auth/v1/token?grant_type=password":
                    self.answer(400, {"code": 400, "error_code": "validation_failed", "msg": "unsupported_grant_type"})
                elif project.users.get(body["email"], (None, None))[1] != body["password"]:
                    self.answer(400, {"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"})
                else:
                    self.answer(200, project.session(body["email"]))

            def answer(self, status, body):
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def jwk(self):
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        return {**public, "kid": self.kid, "alg": "ES256", "use": "sig", "key_ops": ["verify"], "ext": True}

    def session(self, email):
        now = int(time.time())
        user = self.users[email][0]
        claims = {
            "iss": f"{self.url}/auth/v1", "sub": user, "aud": "authenticated", "exp": now + 3600, "iat": now, "email": email,
            "phone": "", "app_metadata": {"provider": "email", "providers": ["email"]}, "user_metadata": {},
            "role": "authenticated", "aal": "aal1", "amr": [{"method": "password", "timestamp": now}],
            "session_id": str(uuid.uuid4()), "is_anonymous": False,
        }
        return {
            "access_token": jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": self.kid}), "token_type": "bearer",
            "expires_in": 3600, "expires_at": claims["exp"], "refresh_token": uuid.uuid4().hex[:12],
            "user": {"id": user, "aud": "authenticated", "role": "authenticated", "email": email},
        }

    def close(self):
        self.server.shutdown()
        self.server.server_close()
