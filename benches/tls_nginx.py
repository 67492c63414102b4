#!/usr/bin/env python3
"""What TLS costs the example `tls_echo` beside nginx: one worker, the same ECDSA certificate, TLS 1.3.

    cargo build --release -p wouldblock-rustls --example tls_echo && benches/tls_nginx.py

Needs nginx and openssl. CPU time of the server's process, as the scheduler counts it (Linux): the median of 15 rounds'
ratios, ours over nginx, and nginx over itself as a control. nginx has no echo: to take 16 KiB and send them back is
held against sending a file of 16 KiB.
"""

import os
import pathlib
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

ECHO = pathlib.Path(__file__).resolve().parent.parent / "target/release/examples/tls_echo"
ROUNDS, HANDSHAKES, CLIENTS, MESSAGES, IDLE, SIZE = 15, 60, 64, 5, 3000, 16384
GET = b"GET /file HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
CONF = """daemon off; worker_processes 1; worker_rlimit_nofile 8192; pid {0}/pid; error_log {0}/log;
events {{ worker_connections 8000; }}
http {{ access_log off; keepalive_timeout 1h; keepalive_requests 1000000;
client_body_temp_path {0}/1; proxy_temp_path {0}/2; fastcgi_temp_path {0}/3; uwsgi_temp_path {0}/4; scgi_temp_path {0}/5;
server {{ listen 127.0.0.1:{1} ssl; ssl_protocols TLSv1.3; ssl_certificate {0}/cert; ssl_certificate_key {0}/key;
root {0}; }} }}
"""


class Server:
    """A server, where it listens, and what a client of it says and hears."""

    def __init__(self, pid, port, speaks_http):
        self.pid, self.port, self.speaks_http = pid, port, speaks_http

    def cpu(self):
        return int(pathlib.Path(f"/proc/{self.pid}/schedstat").read_text().split()[0])

    def resident(self):
        lines = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def connect(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port)))

    def ask(self, client, end=b""):
        client.sendall(GET % end if self.speaks_http else b"x" * SIZE)

    def hear(self, client):
        left = SIZE
        if self.speaks_http:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            left -= len(head.split(b"\r\n\r\n", 1)[1])
        while left > 0:
            left -= len(client.recv(65536))

    def handshakes(self):
        """Nanoseconds for a connection with one byte, or one small page, each way."""
        before = self.cpu()
        for _ in range(HANDSHAKES):
            with self.connect() as client:
                client.sendall(b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" if self.speaks_http else b"x")
                client.recv(4096)
        return (self.cpu() - before) / HANDSHAKES

    def messages(self, clients):
        before = self.cpu()
        for _ in range(MESSAGES):
            for client in clients:
                self.ask(client)
            for client in clients:
                self.hear(client)
        return (self.cpu() - before) / MESSAGES / len(clients)

    def idle(self):
        """Bytes that an idle connection adds, when each has asked once."""

        def open_some(n):
            clients = [self.connect() for _ in range(n)]
            for client in clients:
                self.ask(client)
                self.hear(client)
            return clients

        keep = open_some(IDLE // 10)
        before = self.resident()
        keep += open_some(IDLE)
        return (self.resident() - before) / IDLE


def compare(what, slice_of):
    rounds = [[slice_of(at) for at in (0, 1, 1)] for _ in range(ROUNDS)]
    ratio, control = (statistics.median(r[at] / r[1] for r in rounds) for at in (0, 2))
    print(f"{what}: ours / nginx {ratio:.2f} (nginx again / nginx {control:.2f})")


def main():
    if not ECHO.exists():
        sys.exit(f"{ECHO} is not built")
    with tempfile.TemporaryDirectory() as home, socket.socket() as free:
        os.chmod(home, 0o755)
        pathlib.Path(home, "file").write_bytes(b"z" * SIZE)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-keyout", f"{home}/key", "-out", f"{home}/cert"],
            check=True, stderr=subprocess.DEVNULL)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        pathlib.Path(home, "conf").write_text(CONF.format(home, port))
        nginx = subprocess.Popen(["nginx", "-c", f"{home}/conf"], stderr=subprocess.DEVNULL)
        echo = subprocess.Popen(
            [ECHO, "--listen", "127.0.0.1:0", "--cert", f"{home}/cert", "--key", f"{home}/key"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            ours = Server(echo.pid, int(echo.stdout.readline().rsplit(":", 1)[1]), False)
            workers = pathlib.Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children")
            deadline = time.monotonic() + 10
            while not workers.read_text() and time.monotonic() < deadline:
                time.sleep(0.01)
            servers = [ours, Server(int(workers.read_text().split()[0]), port, True)]
            compare("a handshake", lambda at: servers[at].handshakes())
            clients = [[server.connect() for _ in range(CLIENTS)] for server in servers]
            for server, of in zip(servers, clients):
                server.messages(of)
            compare("16 KiB, 64 clients", lambda at: servers[at].messages(clients[at]))
            for name, server in zip(("ours", "nginx"), servers):
                print(f"an idle connection, {name}: {server.idle():.0f} bytes")
        finally:
            nginx.terminate()
            echo.terminate()
            nginx.wait()
            echo.wait()


main()
