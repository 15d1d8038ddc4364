"""Another program's filter on the root of cgroup v2, for the end-to-end tests.

    filter.py link|multi PORT

Drops datagrams over IPv4 to PORT, by a link or by a plain attachment that lets others in. Says its program's id, and
detaches when it is told to end.
"""
import ctypes
import os
import platform
import signal
import socket
import struct
import sys

PROG_LOAD, PROG_ATTACH, PROG_DETACH, GET_INFO, LINK_CREATE = 5, 8, 9, 15, 28
CGROUP_SKB, EGRESS, ALLOW_MULTI = 8, 1, 2
SYSCALL = {"x86_64": 321, "aarch64": 280}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
    result = libc.syscall(SYSCALL, command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}")
    return result


def instruction(code, to=0, of=0, offset=0, value=0):
    return struct.pack("=BBhi", code, of << 4 | to, offset, value)


def drop(port):
    """Loads the program: offsets of `struct __sk_buff`, then of the IPv4 and UDP headers."""
    code = b"".join([
        instruction(0x61, 2, 1, 76),                        # r2 = data
        instruction(0x61, 3, 1, 80),                        # r3 = data_end
        instruction(0xBF, 4, 2),                            # r4 = r2
        instruction(0x07, 4, value=24),                     # r4 += 24
        instruction(0x2D, 4, 3, 6),                         # if r4 > r3: pass
        instruction(0x71, 5, 2, 9),                         # r5 = protocol
        instruction(0x55, 5, 0, 4, socket.IPPROTO_UDP),     # if r5 != UDP: pass
        instruction(0x69, 5, 2, 22),                        # r5 = destination port
        instruction(0x55, 5, 0, 2, socket.htons(port)),     # if r5 != port: pass
        instruction(0xB7, 0, value=0),                      # drop
        instruction(0x95),
        instruction(0xB7, 0, value=1),                      # pass
        instruction(0x95),
    ])
    code_buffer, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    return bpf(PROG_LOAD, struct.pack(
        "=IIQQIIQII16sII", CGROUP_SKB, len(code) // 8, ctypes.addressof(code_buffer), ctypes.addressof(licence),
        0, 0, 0, 0, 0, b"other_filter", 0, EGRESS))


def identity(program):
    info = ctypes.create_string_buffer(64)
    bpf(GET_INFO, struct.pack("=IIQ", program, len(info), ctypes.addressof(info)))
    return struct.unpack_from("=II", info)[1]


def root():
    for line in open("/proc/self/mountinfo"):
        mount, kind = line.split(" - ")
        if kind.startswith("cgroup2 ") and mount.split()[3] == "/":
            return os.open(mount.split()[4], os.O_RDONLY | os.O_DIRECTORY)
    sys.exit("cgroup v2 is not mounted")


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
how, program, group = sys.argv[1], drop(int(sys.argv[2])), root()
if how == "link":
    bpf(LINK_CREATE, struct.pack("=IIII", program, group, EGRESS, 0))
else:
    bpf(PROG_ATTACH, struct.pack("=IIII", group, program, EGRESS, ALLOW_MULTI))
print("attached", identity(program), flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
if how != "link":
    bpf(PROG_DETACH, struct.pack("=III", group, program, EGRESS))
