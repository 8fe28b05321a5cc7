"""A real Next.js application behind cfx: what browsers, uploads and its development server need."""

import subprocess
import unittest

from application import WEB, client


class Next(unittest.TestCase):
    def run_suite(self, name):
        done = subprocess.run(["node", "--test", "--test-reporter=spec", WEB / name], env=client(), capture_output=True,
                              text=True, timeout=400)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        figures = [line for line in done.stdout.splitlines() if "grew by" in line or "upgrades" in line]
        print("\n" + "\n".join(f"  {figure}" for figure in figures), flush=True)

    def test_pages(self):
        self.run_suite("pages.test.mjs")

    def test_gigabytes(self):
        self.run_suite("gigabytes.test.mjs")

    def test_sockets_under_load(self):
        self.run_suite("sockets.test.mjs")


if __name__ == "__main__":
    unittest.main()
