"""Where no C compiler is: the wall clock of Python's own time.time, stepped by the seconds in a mapped file."""

import mmap
import os
import struct
import time

if path := os.environ.get("FARM_TEST_CLOCK"):
    with open(path, "rb") as file:
        page = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    real = time.time
    time.time = lambda: real() + struct.unpack_from("=d", page)[0]
