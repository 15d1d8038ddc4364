"""A process whose memory nobody can look at: its child holds its own memory map locked while it waits for a file system
of ours (FUSE) that never writes anything down.

Needs a mount namespace of its own. Usage: stall.py DIRECTORY
Prints: listening on PORT, then: stalled. When it ends, the child ends too.
"""
import ctypes
import mmap
import os
import signal
import socket
import struct
import sys
import threading

PAGE = mmap.PAGESIZE
MAP_FIXED = 0x10
# linux/fuse.h, version 7.31.
LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE, INIT, BATCH_FORGET = 1, 2, 3, 14, 15, 16, 26, 42
ROOT, FILE = 1, 2
ENOSYS = 38

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def attributes(node):
    mode, size = (0o40777, 0) if node == ROOT else (0o100666, PAGE)
    return struct.pack("<6Q10I", node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0)


def answer(operation, node):
    if operation == INIT:
        return struct.pack("<4I2H2I2HI24x", 7, 31, 65536, 0, 16, 16, 65536, 1, 16, 0, 0)
    if operation == LOOKUP:
        return struct.pack("<4Q2I", FILE, 0, 3600, 3600, 0, 0) + attributes(FILE)
    if operation == GETATTR:
        return struct.pack("<Q2I", 3600, 0, 0) + attributes(node)
    if operation == OPEN:
        return struct.pack("<Q2I", 1, 0, 0)
    if operation == READ:
        return bytes(PAGE)
    return None


def serve(device):
    while True:
        _length, operation, unique, node = struct.unpack_from("<2I2Q", os.read(device, 1 << 20))
        if operation == WRITE:
            print("stalled", flush=True)
        elif operation not in (FORGET, BATCH_FORGET):
            body = answer(operation, node)
            head = struct.pack("<IiQ", 16 + len(body or b""), -ENOSYS if body is None else 0, unique)
            os.write(device, head + (body or b""))


def stall(directory):
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    file = os.open(directory + "/file", os.O_RDWR)
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    page = libc.mmap(None, PAGE, protection, mmap.MAP_SHARED, file, 0)
    ctypes.memset(page, 1, 1)
    # What takes the place of a changed page waits until that is written down, with the memory map locked.
    libc.mmap(page, PAGE, protection, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED, -1, 0)


device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
if libc.mount(b"stall", sys.argv[1].encode(), b"fuse", 0, options.encode()) != 0:
    sys.exit(f"no FUSE: {os.strerror(ctypes.get_errno())}")
if os.fork() == 0:
    # The file system ends with the last one that has this open.
    os.close(device)
    stall(sys.argv[1])
    os._exit(0)
threading.Thread(target=serve, args=(device,), daemon=True).start()
signal.pause()
