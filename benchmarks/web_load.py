"""What `unblur serve` does under load, on loopback: `python benchmarks/web_load.py`.

50 clients send 200 requests for jobs; uploads of more than is allowed are refused; slow clients are
given up; memory of the server is watched; names try to lead elsewhere. Prints a table.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

GB = 10**9
DEMO = Path(__file__).parents[1] / "examples" / "demo_blurred.mp4"
ESCAPES = [
    *("../../../etc/passwd", "..\\..\\x", "/etc/passwd", "a\0b.mp4", "CON", "aux.mp4", "COM1"),
    *("link.mp4", "up/secret.mp4", "pipe.mp4", "....//....//etc/passwd", "%2e%2e/secret.mp4"),
]


class Server:
    """A server in a process of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.home, self.films = folder / "home", folder / "films"
        self.films.mkdir()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "unblur", "serve", "--port", "0"),
                *("--home", str(self.home), "--folder", str(self.films), *words),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        found = re.search(r":(\d+)/", self.process.stderr.readline())
        assert found is not None
        self.port = int(found[1])

    def ask(
        self, method: str, path: str, body: object = None, timeout: float = 300
    ) -> tuple[int, bytes]:
        """Status and body of an answer."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body)
            kind = {} if isinstance(body, bytes) else {"content-type": "application/json"}
            line.request(method, path, data, kind)
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            line.close()

    def memory(self) -> float:
        """MB that the server itself holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1]) / 1000

    def stored(self) -> int:
        """Bytes that lie in its folder."""
        return sum(p.stat().st_size for p in self.home.rglob("*") if p.is_file())


class Watch(threading.Thread):
    """Notes the memory of a server every tenth of a second."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server, self.stopped = server, threading.Event()
        self.peak = server.memory()

    def run(self) -> None:
        while not self.stopped.wait(0.1):
            self.peak = max(self.peak, self.server.memory())


def crowd(server: Server, clip: str, clients: int, requests: int) -> dict[str, object]:
    """Clients that all ask at once: for a job each tenth time, else for states and files."""
    body = {"kind": "restore", "clip": clip, "model": "none", "end": "f2"}
    reads = [("GET", "/api/jobs"), ("GET", f"/api/clips/{clip}/file"), ("GET", "/")]
    paths = [("POST", "/api/jobs", body), *((*read, None) for read in 3 * reads)]

    def one(n: int) -> tuple[int, float]:
        began = time.perf_counter()
        status, _ = server.ask(*paths[n % len(paths)])
        return status, time.perf_counter() - began

    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(one, range(requests)))
    statuses: dict[int, int] = {}
    for status, _ in found:
        statuses[status] = statuses.get(status, 0) + 1
    spent = sorted(seconds for _, seconds in found)
    return {
        "statuses": statuses,
        "median_s": round(statistics.median(spent), 3),
        "p95_s": round(spent[int(0.95 * len(spent))], 3),
    }


def drain(server: Server) -> dict[str, int]:
    """Waits until no job lives; states and how many have them."""
    while True:
        jobs = json.loads(server.ask("GET", "/api/jobs")[1])
        if not any(job["state"] in ("queued", "running") for job in jobs):
            states = [job["state"] for job in jobs]
            return {state: states.count(state) for state in set(states)}
        time.sleep(0.5)


def upload(server: Server, size: int, says: bool) -> tuple[int, int]:
    """Sends bytes; the status, and how many were sent before the server refused.

    Args:
        server: which.
        size: bytes to send.
        says: whether the length is known before; otherwise it is sent in chunks.
    """
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=300)
    length = f"content-length: {size}" if says else "transfer-encoding: chunked"
    head = f"POST /api/clips?name=large.mp4 HTTP/1.1\r\nhost: 127.0.0.1\r\n{length}\r\n\r\n"
    sock.sendall(head.encode())
    block, sent = b"\0" * 2**20, 0
    try:
        while sent < size:
            sock.setblocking(False)
            try:
                if sock.recv(1, socket.MSG_PEEK):
                    break  # an answer before the end
            except BlockingIOError:
                pass
            finally:
                sock.settimeout(300)
            sock.sendall(block if says else b"100000\r\n" + block + b"\r\n")
            sent += len(block)
    except (BrokenPipeError, ConnectionResetError):
        pass
    try:
        answer = sock.recv(4096)
    except ConnectionResetError:
        answer = b""
    sock.close()
    return (int(answer.split()[1]) if answer else 0), sent


def slow_head(server: Server) -> float:
    """Seconds until a client that never ends its head is given up."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=120)
    began = time.perf_counter()
    sock.sendall(b"GET / HTTP/1.1\r\n")
    try:
        for _ in range(200):
            sock.sendall(b"x")
            sock.settimeout(0.5)
            try:
                if sock.recv(1) == b"":
                    break
            except TimeoutError:
                continue
    except OSError:
        pass
    return time.perf_counter() - began


def slow_body(server: Server) -> tuple[int, float]:
    """Status and seconds of an upload that trickles."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=120)
    began = time.perf_counter()
    sock.sendall(
        b"POST /api/clips?name=slow.mp4 HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-length: 1000000\r\n\r\n"
    )
    answer = b""
    try:
        for _ in range(400):
            sock.sendall(b"x")
            sock.settimeout(0.3)
            try:
                answer = sock.recv(4096)
                break
            except TimeoutError:
                continue
    except OSError:
        pass
    return (int(answer.split()[1]) if answer else 0), time.perf_counter() - began


def slow_reader(server: Server, clip: str, count: int) -> float:
    """MB by which the server's memory grows while clients request a file and do not read it."""
    before = server.memory()
    request = f"GET /api/clips/{clip}/file HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
    socks = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(request)
        socks.append(sock)
    time.sleep(2)
    grown = server.memory() - before
    assert server.ask("GET", "/api/about")[0] == 200
    for sock in socks:
        sock.close()
    return grown


def escapes(server: Server, clip: str, job: str) -> tuple[int, int]:
    """How many requests tried to leave their folder, and how many got anything."""
    tried = got = 0
    for path in ESCAPES:
        coded = quote(path, safe="")
        for method, address, body in (
            ("GET", f"/api/folders/0?path={coded}", None),
            ("POST", "/api/clips/folder", {"folder": 0, "path": path}),
            ("POST", "/api/projects/folder", {"folder": 0, "path": path}),
            ("GET", f"/api/jobs/{job}/files/{coded}", None),
            ("GET", f"/api/clips/{coded}/file", None),
            ("GET", f"/{coded}", None),
            ("POST", f"/api/clips?name={coded}", b"root:x:0:0"),
        ):
            tried += 1
            got += server.ask(method, address, body)[0] < 400
    return tried, got


def main() -> None:
    """Runs all of it and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--gigabytes", type=float, default=2.2, help="of the upload refused")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server(folder, "--max-jobs", "60")
        (folder / "secret.mp4").write_bytes(DEMO.read_bytes())
        (server.films / "link.mp4").symlink_to(folder / "secret.mp4")
        (server.films / "up").symlink_to(folder)
        subprocess.run(["mkfifo", server.films / "pipe.mp4"], check=True)
        try:
            report(server, options)
        finally:
            server.process.terminate()
            server.process.wait(30)


def report(server: Server, options: argparse.Namespace) -> None:
    """Prints what each trial found."""
    clip = json.loads(server.ask("POST", "/api/clips?name=demo.mp4", DEMO.read_bytes())[1])["id"]
    print(f"memory at rest: {server.memory():.0f} MB")
    watch = Watch(server)
    watch.start()
    found = crowd(server, clip, options.clients, options.requests)
    print(f"{options.clients} clients, {options.requests} requests: {found}")
    print(f"jobs: {drain(server)}")
    again = crowd(server, clip, options.clients, options.requests)
    print(f"once more: {again}; jobs: {drain(server)}")
    watch.stopped.set()
    print(f"peak memory of the server: {watch.peak:.0f} MB, now {server.memory():.0f} MB")
    job = json.loads(server.ask("GET", "/api/jobs")[1])[0]["id"]
    size = int(options.gigabytes * GB)
    for says in (True, False):
        before, watch = server.stored(), Watch(server)
        watch.start()
        began = time.perf_counter()
        status, sent = upload(server, size, says)
        spent = time.perf_counter() - began
        watch.stopped.set()
        time.sleep(1)
        print(
            f"upload of {options.gigabytes} GB, {'length known' if says else 'in chunks'}: {status}"
            f" after {sent / 1e6:.0f} MB and {spent:.1f} s; kept {server.stored() - before} bytes;"
            f" peak memory {watch.peak:.0f} MB"
        )
    print(f"head that never ends: given up after {slow_head(server):.1f} s")
    status, spent = slow_body(server)
    print(f"upload of 3 bytes a second: {status} after {spent:.1f} s")
    print(f"50 clients that do not read: {slow_reader(server, clip, 50):+.1f} MB")
    tried, got = escapes(server, clip, job)
    print(f"paths that lead elsewhere: {tried} tried, {got} answered")
    print(f"memory at the end: {server.memory():.0f} MB")


if __name__ == "__main__":
    main()
