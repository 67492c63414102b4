#!/usr/bin/env python3
"""examples/kv beside redis-server: operations per second of the server's CPU time, and of the clock.

    cargo build --release -p wouldblock-kv && benches/kv.py [ROUNDS]

Needs redis-server and redis-benchmark (50 clients; 100,000 different keys; MSET of ten). The servers are asked in turns, each row in
ROUNDS (5) rounds; what is printed is the median of the rounds' ratios, ours over Redis', and Redis' over a second process of
its own as a control. CPU time is what the scheduler has counted for all threads of the server (Linux). Where there are as few
cores as here, the load and the server share them: the rate of two reactors says little there, its CPU time says what the way
between them costs. valkey-server is measured as well where there is one.
"""

import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import time

KV = pathlib.Path(__file__).resolve().parent.parent / "target/release/kv"
TESTS, DEPTHS = ["set", "get", "incr", "lpush", "mset"], [1, 16, 128]
OPERATIONS = {1: 20_000, 16: 200_000, 128: 400_000}


class Server:
    """A server and its port."""

    def __init__(self, name, command, port=None):
        self.name = name
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = port or int(self.child.stdout.readline().rsplit(":", 1)[1])
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def cpu(self):
        tasks = pathlib.Path(f"/proc/{self.child.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def run(self, test, depth):
        """Operations per second of CPU time, and of the clock."""
        count = OPERATIONS[depth] // (4 if test == "mset" else 1)
        before, start = self.cpu(), time.monotonic()
        subprocess.run(
            ["redis-benchmark", "-p", str(self.port), "-t", test, "-n", str(count), "-P", str(depth), "-r", "100000", "-q"],
            check=True, stdout=subprocess.DEVNULL)
        return count / (self.cpu() - before), count / (time.monotonic() - start)

    def forget(self):
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.sendall(b"FLUSHALL\r\n")
            client.recv(100)


def redis(name, program="redis-server"):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Server(name, [program, "--port", str(port), "--save", "", "--appendonly", "no"], port)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    if not KV.exists():
        sys.exit(f"{KV} is not built")
    ours = [Server(f"kv, {n} reactor{'s' * (n > 1)}", [KV, "--listen", "127.0.0.1:0", "--reactors", str(n)]) for n in (1, 2)]
    theirs = [redis("redis"), redis("redis again")]
    if shutil.which("valkey-server"):
        theirs.append(redis("valkey", "valkey-server"))
    servers = [theirs[0], *ours, *theirs[1:]]
    try:
        print(f"{'':12}{'redis: per CPU s, per s':>26}", *(f"{it.name + ': ratios':>24}" for it in servers[1:]))
        for test in TESTS:
            for depth in DEPTHS:
                runs = []
                for _ in range(rounds):
                    runs.append([it.run(test, depth) for it in servers])
                base = [statistics.median(run[0][at] for run in runs) for at in (0, 1)]
                row = f"{test + ' -P ' + str(depth):12}{base[0]:>15,.0f}{base[1]:>11,.0f}"
                for place in range(1, len(servers)):
                    cpu, rate = (statistics.median(run[place][at] / run[0][at] for run in runs) for at in (0, 1))
                    row += f"{cpu:>18.2f}{rate:>7.2f}"
                print(row, flush=True)
                if test in ("lpush", "mset"):
                    for it in servers:
                        it.forget()  # before the list is long; GET has found what SET left
    finally:
        for it in servers:
            it.child.kill()
            it.child.wait()


main()
