"""A process whose memory can't be looked at: it holds its memory map while it waits for a file system of its own, which
never answers. Usage: stall.py DIRECTORY COMMAND"""
import ctypes, os, struct, sys, threading, mmap as m
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
d = sys.argv[1]
dev = os.open("/dev/fuse", os.O_RDWR)
opts = f"fd={dev},rootmode=40000,user_id=0,group_id=0"
assert libc.mount(b"stall", d.encode(), b"fuse", 0, opts.encode()) == 0, os.strerror(ctypes.get_errno())
INIT, LOOKUP, GETATTR, OPEN, READ, WRITE = 26, 1, 3, 14, 15, 16
def attr(ino, mode, size):
    return struct.pack("<QQQQQQIIIIIIIIII", ino, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
def serve():
    while True:
        try: q = os.read(dev, 1 << 20)
        except OSError: return
        length, op, unique, node = struct.unpack_from("<IIQQ", q)
        body, err = b"", 0
        if op == INIT: body = struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 16, 16, 65536, 1, 16, 0, 0) + b"\0" * 24
        elif op == LOOKUP: body = struct.pack("<QQQQII", 2, 0, 3600, 3600, 0, 0) + attr(2, 0o100666, 4096)
        elif op == GETATTR: body = struct.pack("<QII", 3600, 0, 0) + (attr(1, 0o40777, 0) if node == 1 else attr(2, 0o100666, 4096))
        elif op == OPEN: body = struct.pack("<QII", 1, 0, 0)
        elif op == READ: body = b"\0" * 4096
        elif op == WRITE:
            print("stalled", flush=True); continue
        elif op in (2, 38): continue  # FORGET
        else: err = -38
        os.write(dev, struct.pack("<IiQ", 16 + (len(body) if not err else 0), err, unique) + (body if not err else b""))
threading.Thread(target=serve, daemon=True).start()
child = os.fork()
if child == 0:
    fd = os.open(d + "/f", os.O_RDWR)
    p = libc.mmap(None, 4096, 3, 1, fd, 0)
    ctypes.memset(p, 1, 1)
    print("child", os.getpid(), flush=True)
    libc.mmap(p, 4096, 3, 2 | 0x20 | 0x10, -1, 0)
    print("not stalled", flush=True)
    os._exit(0)
print("forked", child, flush=True)
import time; time.sleep(float(sys.argv[2]))
