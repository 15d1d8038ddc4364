"""A pod that does one thing, for what Bookinfo has no part: `serve PORT`, `ask URL`, `crash URL`, `keep URL`.

A server answers 200 to everything, but never to `/hold`."""
import http.client
import socket
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/hold"):
            print("holds", self.path, flush=True)
            threading.Event().wait()
        body = socket.gethostname().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def ask(url, connection=None):
    """The status of an answer; a name that is not known yet or a server that does not listen yet is tried again."""
    parts = urllib.parse.urlsplit(url)
    for _ in range(300):
        try:
            kept = connection or http.client.HTTPConnection(parts.hostname, parts.port or 80)
            kept.request("GET", parts.path)
            answer = kept.getresponse()
            answer.read()
            return answer.status
        except (ConnectionRefusedError, socket.gaierror):
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


verb, value = sys.argv[1:3]
if verb == "serve":
    ThreadingHTTPServer(("", int(value)), Answer).serve_forever()
elif verb == "ask":
    print(ask(value), flush=True)
elif verb == "crash":
    print(ask(value), flush=True)
    raise SystemExit(1)
elif verb == "keep":
    # One request a second, each on a connection of its own.
    while True:
        print(ask(value), flush=True)
        time.sleep(1)
