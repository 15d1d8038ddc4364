"""The front page: asks details and reviews, one after the other, on a thread per request."""
import http.client
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 9080
SERVICES = {"details": os.environ.get("DETAILS", "details:9080"), "reviews": os.environ.get("REVIEWS", "reviews:9080")}


def ask(service, path):
    """Status and content of an answer; what cannot be had is told like a service that fails."""
    connection = http.client.HTTPConnection(SERVICES[service], timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or "null")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 503, {"error": f"{service}: {error}"}
    finally:
        connection.close()


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, {"status": "healthy"})
        if not self.path.startswith("/productpage/"):
            return self.answer(404, {"error": "no such page"})
        # The number goes through all services, so that a test knows its requests.
        number = self.path.rsplit("/", 1)[1]
        statuses, page = [], {}
        for service in SERVICES:
            status, page[service] = ask(service, f"/{service}/{number}")
            statuses.append(status)
        return self.answer(max(statuses), page)

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("", PORT), Page).serve_forever()
