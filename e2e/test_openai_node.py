"""The official OpenAI SDK for Node: `node --test e2e/openai.test.mjs`, over plain HTTP and over TLS."""

import os
import subprocess
import unittest

from installation import ROOT, running


class Node(unittest.TestCase):
    def run_suite(self, base, limited):
        environment = {
            **os.environ, "BASE_URL": base + "/v1", "KEY": running.key, "LIMITED_KEY": limited,
            "NODE_EXTRA_CA_CERTS": str(running.certificate),
        }
        done = subprocess.run(["node", "--test", "openai.test.mjs"], cwd=ROOT / "e2e", env=environment,
                              capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_plain(self):
        self.run_suite(running.http, running.new_key("limited-node@example.org"))

    def test_over_tls(self):
        self.run_suite(running.https, "")


if __name__ == "__main__":
    unittest.main()
