"""Private anonymous mergeable memory for bench/peers/linux-ksm.ts.

Reads one JSON request a line from stdin, answers one JSON line each on stdout, and keeps what it has
loaded mapped until stdin closes (so it dies with whoever started it).

  {"load": ["file", ...]}  ->  {"pages": n, "seconds": t}  or {"error": "a sentence"}
  {"write": {"first": f, "step": s, "byte": b, "salt": x}}  ->  the same; n pages were written

Every page is present: the file is read into the mapping, so each page is written, holes and the zero
padded tail included. Huge pages are off: a huge page counts and merges differently.
"""

import json
import mmap
import os
import sys
import time

PAGE = 4096
AREAS = []


def fill(area, path, size):
    view = memoryview(area)
    done = 0
    with open(path, "rb", buffering=0) as source:
        while done < size:
            got = source.readinto(view[done : min(size, done + (1 << 26))])
            if not got:
                raise OSError(f"{path} ended after {done} of {size} bytes")
            done += got


def load(paths):
    begin = time.perf_counter()
    pages = 0
    areas = []
    for path in paths:
        size = os.stat(path).st_size
        count = -(-size // PAGE)
        if count == 0:
            continue
        # Without MAP_PRIVATE python maps shared memory, which KSM does not take.
        area = mmap.mmap(-1, count * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        try:
            area.madvise(mmap.MADV_NOHUGEPAGE)
        except OSError:
            pass  # a kernel without huge pages
        fill(area, path, size)
        areas.append(area)
        pages += count
    for area in areas:
        area.madvise(mmap.MADV_MERGEABLE)
    AREAS.extend(areas)
    return {"pages": pages, "seconds": time.perf_counter() - begin}


def write(first, step, byte, salt):
    """Stores 16 * page + salt, four bytes, into every step-th page from page `first` on."""
    begin = time.perf_counter()
    written = 0
    base = 0
    for area in AREAS:
        count = len(area) // PAGE
        start = first - base if first > base else (first - base) % step
        for page in range(start, count, step):
            at = page * PAGE + byte
            area[at : at + 4] = ((base + page) * 16 + salt).to_bytes(4, "little")
            written += 1
        base += count
    return {"pages": written, "seconds": time.perf_counter() - begin}


def main():
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer = write(**request["write"]) if "write" in request else load(request["load"])
        except (OSError, ValueError, KeyError, TypeError, MemoryError) as failure:
            answer = {"error": f"{type(failure).__name__}: {failure}"}
        print(json.dumps(answer), flush=True)


main()
