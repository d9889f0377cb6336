"""A server that fails as it is told, for the real client: what the stand-in does not do.

It answers every RPC method by the script that the test gives for it, one step a request, the last step for ever.
"""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DROP = "drop"  # close the connection without a word
HANG = "hang"  # say nothing until the test is over

ENVIRONMENT = {"KAGGLE_USERNAME": "tester", "KAGGLE_KEY": "0123456789abcdef", "KAGGLE_API_ENVIRONMENT": "LOCALHOST"}


def ok(**body):
    return 200, {"Content-Type": "application/json"}, json.dumps(body)


def refuse(status, message="no", **headers):
    return status, {"Content-Type": "application/json", **headers}, json.dumps({"code": status, "message": message})


def html(status):
    return status, {"Content-Type": "text/html"}, "<html><body>Bad Gateway</body></html>"


class Scripted:
    """`with Scripted() as server: server.play({"GetSubmissionLimits": [HANG, ok(numToday=1)]})`."""

    def __init__(self):
        self.lock = threading.Lock()
        self.release = threading.Event()
        self.play({})

    def play(self, script):
        """Begin anew with another script; requests that hang are let go."""
        self.release.set()
        with self.lock:
            self.script = {method: list(steps) for method, steps in script.items()}
            self.requests, self.bodies = [], []
            self.release = threading.Event()

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers.get("Content-Length") or 0)
                outer.answer(self, self.rfile.read(length))

            do_GET = do_PUT = do_POST  # noqa: N815 - the names that the base class calls

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    def answer(self, handler, body):
        method = handler.path.split("?")[0].rsplit("/", 1)[-1]
        with self.lock:
            self.requests.append(method)
            self.bodies.append(body)
            steps = self.script.get(method, [refuse(404, f"no {method} here")])
            step = steps.pop(0) if len(steps) > 1 else steps[0]
            release = self.release
        if step == HANG:
            release.wait(60)
        if step in (DROP, HANG):
            handler.close_connection = True
            return
        if callable(step):
            step = step(handler, body)
        status, headers, text = step
        data = text if isinstance(text, bytes) else text.encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    @property
    def count(self):
        return Counter(self.requests)

    def environment(self, home, **more):
        proxy = f"http://127.0.0.1:{self.server.server_port}"
        return {
            **ENVIRONMENT,
            "HOME": str(home),
            "HTTP_PROXY": proxy,
            "http_proxy": proxy,
            "NO_PROXY": "",
            "no_proxy": "",
            **more,
        }


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 0.0
        self.sleeps = []

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now += seconds

    def clock(self):
        return self.now
