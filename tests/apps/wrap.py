"""Talks HTTP across the end of the sequence number space, in lockstep with itself.

TCP_REPAIR lets root choose the sequence number of a socket that is not connected yet (tcp(7), CRIU).
Prints: NUMBER requests on port PORT, bytes sent BYTES
"""
import socket

TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
TCP_SEND_QUEUE = 2
TCP_REPAIR_ON, TCP_REPAIR_OFF_NO_WP = 1, -1
REQUESTS = 20
FIRST = 2**32 - 5000


def read(end, count):
    while count:
        count -= len(end.recv(count))


listener = socket.create_server(("127.0.0.1", 0))
client = socket.socket()
client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON)
client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)
client.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, FIRST - 2**32)
client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)
client.connect(listener.getsockname())
server, _ = listener.accept()
sent = 0
for number in range(REQUESTS):
    request = b"POST /wrap/%d HTTP/1.1\r\nHost: wrap\r\nContent-Length: 1000\r\n\r\n" % number + b"b" * 1000
    client.sendall(request)
    read(server, len(request))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwrap"
    server.sendall(answer)
    read(client, len(answer))
    sent += len(request)
print(f"{REQUESTS} requests on port {listener.getsockname()[1]} bytes sent {sent}", flush=True)
