"""Runs a command and prints wall time, processor time, peak memory and output as JSON: launch.py COMMAND ...

A process of its own between the benchmark and what it measures, and a small one: the system counts the memory of the
process that starts a command to the command's peak.
"""

import json
import os
import subprocess
import sys
import time

start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
output = process.stdout.read() if process.stdout else ""
_, status, usage = os.wait4(process.pid, 0)
wall = time.perf_counter() - start
peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "output": output, "launcher": time.process_time()}))
sys.exit(os.waitstatus_to_exitcode(status))
