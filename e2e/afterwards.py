"""Last: the sockets that were left alone all the while, and what all of it left in the ledger."""

import collections
import unittest

from application import IDLE, application
from installation import MASTER_KEY, running


class Idle(unittest.TestCase):
    @unittest.skipUnless(application.started, "no test of the application was chosen")
    def test_sockets_that_were_idle_for_minutes_carry_on(self):
        self.assertEqual(application.left_alone.wait(timeout=IDLE + 60), 0, running.log("idle"))


class Ledger(unittest.TestCase):
    def test_every_answer_was_accounted_for(self):
        rows = running.stop_cfx()
        served = [row for row in rows if row["attempts"] > 0]
        self.assertGreater(len(served), 0)
        answered = [row for row in served if row["status"] == "success"]
        self.assertGreaterEqual(len(answered), 30, "the suites ask more than that")
        uncounted = []
        for row in answered:
            with self.subTest(row["request_id"]):
                self.assertFalse(row["estimated"], f"the provider says what every answer took: {dict(row)}")
                if row["total_tokens"] is None:
                    uncounted.append(dict(row))
                else:
                    self.assertEqual(row["total_tokens"], row["input_tokens"] + row["output_tokens"])
                    self.assertEqual(row["cost_nano_usd"], row["input_tokens"] * 1000 + row["output_tokens"] * priced(row))
        self.assertLessEqual(len(uncounted), 1, f"only the count of tokens took none: {uncounted}")
        left = [dict(row) for row in served if row["status"] == "cancelled"]
        self.assertEqual(left, [], "every SDK read to its end")
        kinds = collections.Counter((row["stage"], row["status"], row["http_status"]) for row in rows)
        print("\n" + "\n".join(f"  {count:4} rows: {kind}" for kind, count in sorted(kinds.items(), key=str)))
        log = running.log("cfx")
        for secret in [running.key, MASTER_KEY, "How would you go about this?"]:
            self.assertNotIn(secret, log)


def priced(row):
    return 0 if row["model"] == "embedding" else 2000


if __name__ == "__main__":
    unittest.main()
