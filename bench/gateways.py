"""The gateways that one could pick in cfx' place, as their own documentation would have them run for speed.

scripts/setup brings them, from the ordinary registries, and says by the environment where they are. One that is not there, or
does not start, is left out of the table, which says so.
"""

import json
import os
import pathlib

from contenders import Contender, threads
from ground import NotStarted, free_port

# LiteLLM reads a thousand files of Python before it listens.
SLOW_START = 120

LITELLM_CONF = """
model_list:
  - model_name: plan
    litellm_params: {{ model: openai/upstream-bench, api_key: sk-upstream, api_base: "http://127.0.0.1:{upstream}/v1" }}
litellm_settings: {{ set_verbose: false, json_logs: true, request_timeout: 600, num_retries: 0, telemetry: false }}
router_settings: {{ num_retries: 0, allowed_fails: 1000000 }}
general_settings: {{ master_key: sk-bench }}
"""


def program(variable):
    path = os.environ.get(variable)
    if not path or not pathlib.Path(path).exists():
        raise NotStarted("not installed")
    return pathlib.Path(path)


def onwards(ground, tag, upstream):
    binary, port, metrics = program("BENCH_ONWARDS"), free_port(), free_port()
    conf = ground.folder / f"onwards-{tag}.json"
    conf.write_text(json.dumps({
        "targets": {"plan": {"url": f"http://127.0.0.1:{upstream}/v1/", "onwards_key": "sk-upstream",
                             "onwards_model": "upstream-bench", "keys": ["sk-bench"]}},
        "http_pool": {"max_idle_per_host": 2_000, "idle_timeout_secs": 120}}))
    # Its runtime makes a thread for each core that it may use.
    command = [binary, "-f", conf, "--port", port, "--metrics-port", metrics]
    return Contender("onwards", ground.contend(f"onwards-{tag}", command, port, env={"PATH": os.environ["PATH"]}), port)


def portkey(ground, tag, upstream):
    script, port = program("BENCH_PORTKEY"), free_port()
    environment = {"PATH": os.environ["PATH"], "NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
    command = ["node", script, "--headless", f"--port={port}"]
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1"}
    return Contender("Portkey", ground.contend(f"portkey-{tag}", command, port, env=environment), port, headers=headers)


def litellm(ground, tag, upstream):
    binary, port = program("BENCH_LITELLM"), free_port()
    conf = ground.folder / f"litellm-{tag}.yaml"
    conf.write_text(LITELLM_CONF.format(upstream=upstream))
    environment = {"PATH": os.environ["PATH"], "HOME": str(ground.folder), "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR",
                   "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [binary, "--config", conf, "--host", "127.0.0.1", "--port", port, "--num_workers", threads(ground)]
    started = ground.contend(f"litellm-{tag}", command, port, SLOW_START, env=environment)
    return Contender("LiteLLM", started, port)
