"""Stands in for the processes of the server: `fake_program.py MODULE`. Answers at once, by rote.

What a job does is in its `model`: `ok`, `slow` (until it is stopped), `deaf` (also then), `crash`,
`babble` (no JSON), `fails`, `full` (half of it is done when the disk is full).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path


def tell(**event: object) -> None:
    print(json.dumps(event), flush=True)


def work() -> None:
    order = json.loads(sys.stdin.readline())
    does, out = order["request"].get("model", "ok"), Path(order["out"])
    (out.parent / "order.json").write_text(json.dumps(order))
    tell(event="progress", stage="restore", share=0.25, left=3.0, done=1, total=4)
    if does == "slow":
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(130)), daemon=True).start()
        (out / "half.mp4").write_bytes(b"half")
        time.sleep(60)
    if does == "deaf":
        time.sleep(60)
    if does == "crash":
        os.kill(os.getpid(), 9)
    if does == "babble":
        print("Traceback or whatever", flush=True)
        time.sleep(60)
    if does == "full":
        with (out / "half.mp4").open("ab") as file:
            file.write(b"half")
        tell(event="error", code=4, message="the disk is full")
        sys.exit(4)
    if does == "fails":
        tell(event="error", code=3, message="the clip is not a clip")
        sys.exit(3)
    (out / "result.mp4").write_bytes(bytes(range(256)) * 40)
    (out / "report.html").write_text("<script>alert(1)</script>")
    tell(event="warning", message="a bit was lost")
    tell(event="warning", message="a bit was lost")
    tell(event="file", name="result.mp4", role="result", type="video/mp4", bytes=10240)
    tell(event="file", name="report.html", role="report", type="text/html", bytes=25)
    tell(event="done", frames=4, model="none")


def studio() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        facts, data = answer(request)
        sys.stdout.buffer.write(json.dumps({**facts, "bytes": len(data)}).encode() + b"\n" + data)
        sys.stdout.buffer.flush()


def answer(request: dict[str, object]) -> tuple[dict[str, object], bytes]:
    what, path = request["what"], Path(str(request["path"]))
    if what == "clip":
        if not path.read_bytes().startswith(b"VIDEO"):
            return {"error": {"code": 3, "message": f"{request['name']} is not a video"}}, b""
        return {"width": 64, "height": 48, "rate": 24.0, "frames": 10}, b""
    if what == "frame" and request["frame"] == 7:
        sys.exit(1)  # as a decoder that falls over
    if what == "frame":
        return {"type": "image/jpeg"}, b"JPEG" * 100
    if what == "project":
        layers = [{"name": "foreground", "width": 4, "height": 3}]
        return {"width": 8, "height": 6, "frames": 3, "times": [0, 1, 2], "layers": layers}, b""
    if what == "image":
        return {"type": "image/jpeg"}, json.dumps(request["paint"]).encode()
    return {"models": []}, b""


if __name__ == "__main__":
    work() if sys.argv[1].endswith("work") else studio()
