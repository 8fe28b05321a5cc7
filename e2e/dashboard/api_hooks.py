"""How schemathesis signs in to the control API: with the session in CFX_SESSION, or not at all.

Some operations end the session that calls them. Each such call takes the next of CFX_SESSIONS, so that what comes after is
not all told that nobody is signed in.
"""

import json
import os

import schemathesis


@schemathesis.hook
def filter_case(context, case):
    """A parameter that is empty counts as not given, as forms send it: it is no wrong date."""
    return "" not in (case.query or {}).values()


SESSIONS = json.loads(os.environ.get("CFX_SESSIONS", "[]"))
ENDING = {"/api/logout", "/api/refresh"}

if SESSIONS:

    @schemathesis.auth(refresh_interval=None)
    class Bearer:
        def get(self, case, context):
            # The last one serves everything else to the end.
            return None if case.operation.path in ENDING and len(SESSIONS) == 1 else SESSIONS[0]

        def set(self, case, data, context):
            if data:
                case.headers = case.headers or {}
                case.headers["Authorization"] = f"Bearer {data}"

    @schemathesis.hook
    def after_call(context, case, response):
        if case.operation.path in ENDING and response.status_code < 300 and len(SESSIONS) > 1:
            SESSIONS.pop(0)
