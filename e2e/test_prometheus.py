"""A real Prometheus with the shipped rules scrapes cfx, and the shipped dashboard's questions have answers."""

import http.client
import json
import pathlib
import shutil
import signal
import subprocess
import time
import unittest
import urllib.parse

from installation import PATIENCE, ROOT, free_port, running

SHIPPED = ROOT / "conf/prometheus"
# Nothing in this installation asks targets for their health.
WITHOUT_ANSWER = {"Health checks", "Turned away by guards", "Orders of certificates"}


class Prometheus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        hello = {"model": "cfx-plan", "messages": [{"role": "user", "content": "Hello"}]}
        running.ask("/v1/chat/completions", {**hello, "stream": True})
        running.post(running.https, "/v1/chat/completions", hello, "no key of ours", {})
        folder = running.folder / "prometheus"
        folder.mkdir()
        shutil.copy(SHIPPED / "alerts.yaml", folder)
        shipped = (SHIPPED / "prometheus.yaml").read_text()
        ours = shipped.replace('"cfx:9090"', f'"127.0.0.1:{running.admin_port}"').replace(": 15s", ": 1s")
        assert ours.count(": 1s") == 2 and "127.0.0.1" in ours, "the shipped file is written otherwise now"
        (folder / "prometheus.yaml").write_text(ours)
        cls.port = free_port()
        running.prometheus = running.spawn("prometheus", [
            shutil.which("prometheus"), f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{cls.port}",
        ], {})
        running.wait_for(running.prometheus, "prometheus", cls.port, "/-/ready")
        # Rates need more than one look.
        wait_until(lambda: cls.answer('count_over_time(up{job="cfx"}[1m]) > 3'), "Prometheus does not scrape cfx")

    @classmethod
    def answer(cls, question):
        """The series that answer a question in PromQL."""
        said = cls.get("/api/v1/query?" + urllib.parse.urlencode({"query": question}))
        assert said["status"] == "success", f"{question}: {said}"
        return said["data"]["result"]

    @classmethod
    def get(cls, path):
        connection = http.client.HTTPConnection("127.0.0.1", cls.port, timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def firing(self):
        return {alert["labels"]["alertname"] for alert in self.get("/api/v1/alerts")["data"]["alerts"]
                if alert["state"] == "firing"}

    def test_the_rules_are_sound_and_fire_when_they_should(self):
        for arguments in [["check", "config", SHIPPED / "prometheus.yaml"], ["check", "rules", SHIPPED / "alerts.yaml"],
                          ["test", "rules", ROOT / "tests/alerts/alerts.test.yaml"]]:
            said = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_cfx_is_seen(self):
        self.assertEqual([sample["value"][1] for sample in self.answer('up{job="cfx"}')], ["1"])
        self.assertTrue(self.answer("sum(cfx_requests_total) > 0"))

    def test_the_certificate_of_two_days_fires_its_alerts_and_no_other_fires(self):
        wait_until(lambda: {"CfxCertificateExpiresSoon", "CfxCertificateExpires"} <= self.firing(), "no alert fires")
        self.assertEqual(self.firing() - {"CfxConfigurationRefused"}, {"CfxCertificateExpiresSoon", "CfxCertificateExpires"})

    def test_a_refused_configuration_fires_its_alert_until_it_is_mended(self):
        file = running.conf / "limits.yaml"
        sound = file.read_text()
        self.assertNotIn("CfxConfigurationRefused", self.firing())
        try:
            file.write_text(sound + "\nno_such_limit: 1\n")
            running.cfx.send_signal(signal.SIGHUP)
            wait_until(lambda: "CfxConfigurationRefused" in self.firing(), "no alert fires")
        finally:
            file.write_text(sound)
            running.cfx.send_signal(signal.SIGHUP)
        wait_until(lambda: "CfxConfigurationRefused" not in self.firing(), "the alert stays")

    def test_every_panel_of_the_dashboard_has_an_answer(self):
        dashboard = json.loads(pathlib.Path(ROOT / "conf/grafana/dashboards/cfx.json").read_text())
        for panel in dashboard["panels"]:
            found = []
            for target in panel.get("targets", []):
                question = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
                found += self.answer(question)
            if panel["type"] != "row" and panel["title"] not in WITHOUT_ANSWER:
                with self.subTest(panel["title"]):
                    self.assertTrue(found, "no series")


def wait_until(holds, otherwise):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise)
        time.sleep(0.2)


if __name__ == "__main__":
    unittest.main()
