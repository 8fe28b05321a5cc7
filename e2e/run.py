"""Starts the installation once and runs every suite against it. Arguments: names of tests to keep (substrings)."""

import sys
import time
import unittest

import installation
from application import application


def main():
    start = time.monotonic()
    running = installation.running
    try:
        running.start()
        print(f"e2e: LiteLLM and cfx are up after {time.monotonic() - start:.0f} s", flush=True)
        loader = unittest.TestLoader()
        loader.testNamePatterns = [f"*{name}*" for name in sys.argv[1:]] or None
        suite = loader.discover(str(installation.ROOT / "e2e"), pattern="test_*.py")
        if "test_next" in str(suite):
            application.start()
            print(f"e2e: the Next.js application is up after {time.monotonic() - start:.0f} s", flush=True)
        suite.addTests(loader.loadTestsFromName("afterwards"))
        result = unittest.TextTestRunner(verbosity=2).run(suite)
        if not result.wasSuccessful():
            print("---- the last cfx said:\n" + running.log("cfx")[-3000:])
            print("---- the last LiteLLM said:\n" + running.log("litellm")[-3000:])
        sys.exit(0 if result.wasSuccessful() else 1)
    finally:
        running.close()


if __name__ == "__main__":
    main()
