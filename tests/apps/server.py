"""Python's http.server for the end-to-end tests: says where it listens, answers every path.

/status/503   that status
/bytes/1000   so many bytes
/slow         "hello", after 5 ms
/hang         reads the request and never answers
anything      "hello"
"""
import http.server
import re
import threading
import time


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = re.search(r"/(status|bytes)/(\d+)$", self.path.split("?")[0])
        if self.path.endswith("/hang"):
            print("hanging", flush=True)
            threading.Event().wait()
        if self.path.endswith("/slow"):
            time.sleep(0.005)
        status, body = 200, b"hello"
        if found and found[1] == "status":
            status, body = int(found[2]), b""
        elif found:
            body = b"x" * int(found[2])
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
print("listening on", server.server_address[1], flush=True)
server.serve_forever()
