"""Servers that make it hard to tell who answers whom, for the end-to-end tests: adversarial.py HOW BACKEND

threads   a thread and a connection to the backend for each connection
passes    each accepted connection is handed to a child by SCM_RIGHTS, which calls the backend and answers
execs     each accepted connection is inherited by a program that calls and answers
forks     each request is read by one process, and the call and the answer are made by a child that it forks then
splits    threads read requests; two others make the calls and answer
shares    a thread for each connection, one connection to the backend for all of them
batches   ten requests become one call
executes  a thread for each connection, whose calls are made by the threads of an executor

Each request for /work/X makes a call for /call/X, and is answered with the process id of who takes it.
"""
import os
import queue
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor


def connect():
    return socket.create_connection(("127.0.0.1", backend))


def head(connection):
    """The next head on a connection; None at its end."""
    seen = b""
    while not seen.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return None
        seen += byte
    return seen.decode()


def token(request):
    return request.split()[1].rsplit("/", 1)[1]


def call(upstream, name):
    upstream.sendall(f"GET /call/{name} HTTP/1.1\r\nHost: backend\r\n\r\n".encode())
    if "Content-Length: 0" not in (head(upstream) or ""):
        raise OSError("the backend did not answer")


def answer(connection, pid=None):
    body = str(pid or os.getpid())
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


def serve(connection, upstream=None, lock=None):
    """Answers all requests of a connection."""
    upstream = upstream or connect()
    while request := head(connection):
        with lock or threading.Lock():
            call(upstream, token(request))
        answer(connection)


def accept(handle):
    """Handles each connection on a thread of its own."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


def read_into(work):
    """Takes all requests of all connections, for others to answer."""
    def read(connection):
        while request := head(connection):
            work.put((connection, request))

    accept(read)


def passes():
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        listener.close()
        while True:
            _, (fd,), _, _ = socket.recv_fds(theirs, 1, 1)
            threading.Thread(target=serve, args=(socket.socket(fileno=fd),), daemon=True).start()
    while True:
        connection, _ = listener.accept()
        socket.send_fds(ours, [b"x"], [connection.fileno()])
        connection.close()


def execs():
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            connection.set_inheritable(True)
            os.execv(sys.executable, [sys.executable, __file__, "inherits", str(backend), str(connection.fileno())])
        connection.close()


def forks():
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            while request := head(connection):
                child = os.fork()
                if child == 0:
                    call(connect(), token(request))
                    # Named is who takes the requests.
                    answer(connection, os.getppid())
                    os._exit(0)
                os.waitpid(child, 0)
            os._exit(0)
        connection.close()


def splits():
    work = queue.Queue()

    def work_off():
        upstream = connect()
        while True:
            connection, request = work.get()
            call(upstream, token(request))
            answer(connection)

    for _ in range(2):
        threading.Thread(target=work_off, daemon=True).start()
    read_into(work)


def shares():
    upstream, lock = connect(), threading.Lock()
    accept(lambda connection: serve(connection, upstream, lock))


def batches():
    work = queue.Queue()

    def work_off():
        upstream = connect()
        while True:
            batch = [work.get() for _ in range(10)]
            call(upstream, "batch")
            for connection, _ in batch:
                answer(connection)

    threading.Thread(target=work_off, daemon=True).start()
    read_into(work)


def executes():
    executor, upstreams = ThreadPoolExecutor(max_workers=10), threading.local()

    def work_off(name):
        if not hasattr(upstreams, "own"):
            upstreams.own = connect()
        call(upstreams.own, name)

    def serve_by_others(connection):
        while request := head(connection):
            executor.submit(work_off, token(request)).result()
            answer(connection)

    accept(serve_by_others)


how, backend = sys.argv[1], int(sys.argv[2])
if how == "inherits":
    serve(socket.socket(fileno=int(sys.argv[3])))
else:
    listener = socket.create_server(("127.0.0.1", 0))
    print("listening on", listener.getsockname()[1], flush=True)
    {"threads": lambda: accept(serve), "passes": passes, "execs": execs, "forks": forks, "splits": splits,
     "shares": shares, "batches": batches, "executes": executes}[how]()
