"""The application model with a thread per connection, requests as the client, and an executor for the two calls at the same time."""
import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from requests.adapters import HTTPAdapter

# Connections that stay open if their number has no limit, and threads of the executor: more than are ever needed.
MANY = 1024


def compute():
    """50 to 100 microseconds."""
    end = time.perf_counter() + random.uniform(50e-6, 100e-6)
    while time.perf_counter() < end:
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of an answer are one write.
    wbufsize = -1
    disable_nagle_algorithm = True

    def get(self, host, call, token, headers):
        self.server.session.get(f"http://{host}/{call}/{token}", headers=headers).raise_for_status()

    def do_GET(self):
        server, token = self.server, self.path.split("/")[2]
        passed = self.headers.get(server.passed_on) if server.passed_on else None
        headers = {server.passed_on: passed} if passed else {}
        self.get(server.first, "a", token, headers)
        compute()
        self.get(server.second, "b", token, headers)
        calls = [
            server.executor.submit(self.get, server.first, "c", token, headers),
            server.executor.submit(self.get, server.second, "d", token, headers),
        ]
        for call in calls:
            call.result()
        body = b"work\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True)
    parser.add_argument("--first", required=True)
    parser.add_argument("--second", required=True)
    parser.add_argument("--pool", type=int, required=True)
    parser.add_argument("--pass", dest="passed_on", default="")
    arguments = parser.parse_args()
    host, port = arguments.listen.rsplit(":", 1)
    server = Server((host, int(port)), Handler)
    server.first, server.second, server.passed_on = arguments.first, arguments.second, arguments.passed_on
    server.executor = ThreadPoolExecutor(max_workers=MANY)
    server.session = requests.Session()
    # Per host.
    adapter = HTTPAdapter(pool_maxsize=arguments.pool or MANY, pool_block=arguments.pool > 0)
    server.session.mount("http://", adapter)
    # Nothing of the environment (proxies, passwords) is looked up for each call.
    server.session.trust_env = False
    print("listening", flush=True)
    server.serve_forever()


main()
