"""holder - a process whose memory is known: maps it, prints where, and does what stdin says.

Prints one JSON object of addresses. Lines of stdin, each answered by a line:
  unmap NAME FIRST PAGES   nothing is mapped there any more
  name TEXT                what the process is called
  thread                   starts one that waits; answered by its number
  leave                    the main thread ends, others stay
  exec                     another program runs in this process
"""
import ctypes
import json
import mmap
import os
import platform
import sys
import tempfile
import threading

PAGE = 4096
maps = {}


def address(mapping):
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def page(number):
    return number.to_bytes(8, "little") * (PAGE // 8)


def private(name, pages, written):
    mapping = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        mapping.madvise(mmap.MADV_NOHUGEPAGE)
    except OSError:
        pass  # A kernel without huge pages.
    for i in written:
        mapping[i * PAGE : (i + 1) * PAGE] = page(i + 1)
    maps[name] = mapping


private("data", int(sys.argv[1]), range(int(sys.argv[1])))
private("sparse", 100, range(10, 40, 3))
private("looked", 8, [5])
# Reading alone maps the kernel's page of zeros.
sum(maps["looked"][i * PAGE] for i in (1, 2))
private("guarded", 8, range(8))
if sys.argv[2] == "guard":
    # MADV_GUARD_INSTALL
    maps["guarded"].madvise(102, 2 * PAGE, 3 * PAGE)
shared = mmap.mmap(-1, 4 * PAGE)
shared[:] = page(7) * 4
maps["shared"] = shared
with tempfile.TemporaryFile() as file:
    file.write(page(9) * 6)
    file.flush()
    copied = mmap.mmap(file.fileno(), 6 * PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    copied[PAGE : 2 * PAGE] = page(10)
    maps["copied"] = copied
# The address space alone: a guard region of 8 GiB.
reserve = mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
print(json.dumps({name: address(mapping) for name, mapping in maps.items()}), flush=True)
libc = ctypes.CDLL(None, use_errno=True)


def unmap(name, first, pages):
    start = address(maps[name]) + int(first) * PAGE
    if libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(int(pages) * PAGE)) != 0:
        sys.exit("munmap failed")


def rename(text):
    with open("/proc/self/comm", "w") as comm:
        comm.write(text)


def thread():
    waiting = threading.Thread(target=threading.Event().wait, daemon=True)
    waiting.start()
    return waiting.native_id


def leave():
    print("done", flush=True)
    # exit, not exit_group.
    libc.syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)


def start_another():
    os.execv("/bin/sh", ["sh", "-c", "echo done; exec cat"])


commands = {"unmap": unmap, "name": rename, "thread": thread, "leave": leave, "exec": start_another}
for line in sys.stdin:
    command, *words = line.split()
    print(commands[command](*words) or "done", flush=True)
