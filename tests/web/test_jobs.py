"""Jobs over HTTP: what a client relies on, whatever the processes do."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra web")

from fastapi.testclient import TestClient

from tests.web.web_client import VIDEO, add_clip, submit, wait
from unblur.web import Settings, jobs
from unblur.web.jobs import Job, Queue

Serve = Callable[..., TestClient]


def test_a_clip_is_restored_and_its_result_is_there(client: TestClient) -> None:
    clip = add_clip(client)
    job = wait(client, submit(client, clip)["id"])
    assert (job["state"], job["progress"]["share"]) == ("done", 1.0)
    assert job["warnings"] == ["a bit was lost"]
    assert job["facts"] == {"frames": 4, "model": "none"}
    whole = client.get(f"/api/jobs/{job['id']}/files/result.mp4")
    assert whole.headers["content-type"] == "video/mp4"
    part = client.get(f"/api/jobs/{job['id']}/files/result.mp4", headers={"range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, whole.content[3:10])
    assert part.headers["content-range"] == f"bytes 3-9/{len(whole.content)}"
    saved = client.get(f"/api/jobs/{job['id']}/files/result.mp4", params={"download": True})
    assert "film-result.mp4" in saved.headers["content-disposition"]


def test_a_page_that_a_job_made_does_not_run_here(client: TestClient) -> None:
    job = wait(client, submit(client, add_clip(client))["id"])
    page = client.get(f"/api/jobs/{job['id']}/files/report.html")
    assert page.headers["content-disposition"].startswith("attachment")
    assert "script-src 'self'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("where", ["queued", "running"])
def test_cancel(serve: Serve, where: str, settings: Settings) -> None:
    client = serve()
    clip = add_clip(client)
    first = submit(client, clip, model="slow")["id"]
    wait(client, first, ("running",))
    job = submit(client, clip, model="slow")["id"] if where == "queued" else first
    assert client.get(f"/api/jobs/{job}").json()["state"] == where
    client.post(f"/api/jobs/{job}/cancel")
    ended = wait(client, job)
    assert (ended["state"], ended["error"], ended["files"]) == ("cancelled", None, [])
    assert not (settings.home / "jobs" / job / "out").exists()
    client.post(f"/api/jobs/{first}/cancel")
    # and the queue goes on
    assert wait(client, submit(client, clip)["id"])["state"] == "done"


def test_a_job_that_does_not_listen_is_killed(client: TestClient) -> None:
    job = submit(client, add_clip(client), model="deaf")["id"]
    wait(client, job, ("running",))
    client.post(f"/api/jobs/{job}/cancel")
    assert wait(client, job)["state"] == "cancelled"


def test_a_job_is_cancelled_while_its_process_starts(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn, starting = jobs.spawn, []

    async def slowly(*given: Any) -> Any:
        starting.append(1)
        await asyncio.sleep(0.5)
        return await spawn(*given)

    monkeypatch.setattr(jobs, "spawn", slowly)
    client = serve()
    job = submit(client, add_clip(client), model="slow")["id"]
    wait_for(lambda: bool(starting))
    assert client.post(f"/api/jobs/{job}/cancel").json()["state"] == "running"
    assert wait(client, job)["state"] == "cancelled"


def test_time_is_limited(serve: Serve) -> None:
    client = serve(max_seconds=0.5)
    ended = wait(client, submit(client, add_clip(client), model="slow")["id"])
    assert (ended["state"], ended["error"]["code"]) == ("failed", 4)
    assert "longer" in ended["error"]["message"]


@pytest.mark.parametrize(
    ("does", "code"), [("crash", 5 if os.name == "nt" else 4), ("babble", 5), ("fails", 3)]
)
def test_a_process_that_falls_over_fails_its_job_alone(
    client: TestClient, does: str, code: int
) -> None:
    clip = add_clip(client)
    ended = wait(client, submit(client, clip, model=does)["id"])
    assert (ended["state"], ended["error"]["code"]) == ("failed", code)
    assert ended["error"]["message"]
    assert wait(client, submit(client, clip)["id"])["state"] == "done"


def test_a_failed_job_can_begin_anew(client: TestClient) -> None:
    job = submit(client, add_clip(client), model="fails")["id"]
    wait(client, job)
    assert client.post(f"/api/jobs/{job}/again").json()["state"] == "queued"
    assert wait(client, job)["error"]["code"] == 3


@pytest.mark.parametrize(
    ("kind", "stays"), [("restore", True), ("trial", True), ("preview", False)]
)
def test_what_was_done_stays_where_a_job_failed(
    client: TestClient, settings: Settings, kind: str, stays: bool
) -> None:
    job = submit(client, add_clip(client), kind=kind, model="full")["id"]
    assert wait(client, job)["files"] == []
    half = settings.home / "jobs" / job / "out" / "half.mp4"
    assert half.exists() == stays
    if stays:
        client.post(f"/api/jobs/{job}/again")
        wait(client, job)
        assert half.read_bytes() == b"halfhalf"
    client.delete(f"/api/jobs/{job}")
    assert not half.exists()


def test_jobs_outlive_the_server(serve: Serve, settings: Settings) -> None:
    first = serve()
    clip = add_clip(first)
    done = wait(first, submit(first, clip)["id"])
    running = submit(first, clip, model="slow")["id"]
    waiting = submit(first, clip)["id"]
    wait(first, running, ("running",))
    first.__exit__(None, None, None)
    record = json.loads((settings.home / "jobs" / running / "job.json").read_text())
    assert record["state"] == "queued"  # at rest, and not forgotten
    second = serve()
    assert second.get(f"/api/jobs/{done['id']}").json() == done
    wait(second, running, ("running",))
    assert second.get(f"/api/jobs/{waiting}").json()["state"] == "queued"
    second.post(f"/api/jobs/{running}/cancel")
    assert wait(second, waiting)["state"] == "done"
    first.__enter__()  # the fixture closes it again


@pytest.mark.parametrize(
    ("kind", "stays"), [("restore", True), ("trial", True), ("preview", False)]
)
def test_what_was_done_is_there_after_a_restart(
    serve: Serve, settings: Settings, kind: str, stays: bool
) -> None:
    first = serve()
    job = submit(first, add_clip(first), kind=kind, model="slow")["id"]
    half = settings.home / "jobs" / job / "out" / "half.mp4"
    wait_for(half.exists)
    first.__exit__(None, None, None)
    half.write_bytes(b"as the first worker left it")
    (half.parent / "kept").write_bytes(b"")
    second = serve()
    wait(second, job, ("running",))
    wait_for(lambda: half.exists() and half.read_bytes() == b"half")  # the second is at work
    assert (half.parent / "kept").exists() == stays
    second.post(f"/api/jobs/{job}/cancel")
    wait(second, job)
    assert not half.parent.exists()
    first.__enter__()


def wait_for(there: Callable[[], bool]) -> None:
    for _ in range(600):
        if there():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come")


def test_a_job_that_takes_the_server_down_is_not_begun_for_ever(
    serve: Serve, settings: Settings
) -> None:
    folder = settings.home / "jobs" / "00112233445566aa"
    folder.mkdir(parents=True)
    record = {"id": folder.name, "kind": "restore", "request": {}, "name": "x", "source": "y"}
    (folder / "job.json").write_text(json.dumps({**record, "state": "running", "tries": 3}))
    assert wait(serve(), folder.name)["state"] == "failed"


def test_records_that_cannot_be_read_are_left_alone(serve: Serve, settings: Settings) -> None:
    for name, content in {
        "00112233445566aa": "{",
        "00112233445566ab": "[]",
        "00112233445566ac": '{"id": "00112233445566ff"}',
        "..evil": "{}",
    }.items():
        folder = settings.home / "jobs" / name
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(content)
    assert serve().get("/api/jobs").json() == []


@pytest.mark.parametrize(
    "change",
    [
        {"tries": "3"},
        {"created": "yesterday"},
        {"created": 1e300},
        {"state": "perhaps"},
        {"files": [1]},
        {"request": None},
        {"error": "x"},
        {"check": 1},
    ],
)
def test_records_with_values_of_other_kinds_do_not_keep_a_server_from_starting(
    serve: Serve, settings: Settings, change: dict[str, Any]
) -> None:
    folder = settings.home / "jobs" / "00112233445566aa"
    folder.mkdir(parents=True)
    record = {"id": folder.name, "kind": "restore", "request": {}, "name": "x", "source": "y"}
    (folder / "job.json").write_text(json.dumps({**record, "state": "running", **change}))
    (folder.parent / "00112233445566ab").mkdir()
    (folder.parent / "00112233445566ab" / "job.json").write_text(
        json.dumps({**record, "id": "00112233445566ab", "state": "failed"})
    )
    assert [job["id"] for job in serve().get("/api/jobs").json()] == ["00112233445566ab"]
    assert (folder / "job.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
def test_links_and_pipes_among_records_lead_nowhere(serve: Serve, settings: Settings) -> None:
    mine = settings.home.parent / "mine"
    mine.mkdir()
    (mine / "secret.txt").write_text("secret")
    first, second, third = (settings.home / "jobs" / f"00112233445566a{n}" for n in "abc")
    files = [{"name": "secret.txt", "role": "text", "type": "text/plain", "bytes": 6}]
    record = {"kind": "restore", "request": {}, "name": "x", "source": "y", "state": "done"}
    for folder in (first, second, third):
        folder.mkdir(parents=True)
        text = json.dumps({**record, "id": folder.name, "files": files})
        (folder / "job.json").write_text(text)
    (first / "out").symlink_to(mine)
    shutil.move(second, mine / "job")
    (mine / "job" / "out").mkdir()
    (mine / "job" / "out" / "secret.txt").write_text("secret")
    second.symlink_to(mine / "job")
    (third / "job.json").unlink()
    os.mkfifo(third / "job.json")
    client = serve()
    assert client.get("/api/jobs").json() == []
    for folder in (first, second, third):
        assert client.get(f"/api/jobs/{folder.name}/files/secret.txt").status_code == 404
    assert (mine / "secret.txt").read_text() == "secret"


def test_an_upload_whose_record_is_damaged_stays(serve: Serve, settings: Settings) -> None:
    first = serve()
    clip = add_clip(first)
    first.__exit__(None, None, None)
    folder = settings.home / "sources" / clip
    (folder / "source.json").write_text((folder / "source.json").read_text()[:-9])
    assert serve().get("/api/sources").json() == []
    assert len(list(folder.iterdir())) == 2, "the film, and what is left of its record"
    first.__enter__()


def test_the_queue_is_bounded(serve: Serve) -> None:
    client = serve(max_queued=2)
    clip = add_clip(client)
    running = submit(client, clip, model="slow")["id"]
    wait(client, running, ("running",))
    for _ in range(2):
        submit(client, clip)
    refused = client.post("/api/jobs", json={"kind": "restore", "clip": clip})
    assert refused.status_code == 503
    assert "wait" in refused.json()["error"]["message"]
    client.post(f"/api/jobs/{running}/cancel")


def test_estimates_that_no_one_deleted_make_room(serve: Serve) -> None:
    client = serve(max_kept=3)
    clip = add_clip(client)
    old = [wait(client, submit(client, clip, kind="estimate")["id"])["id"] for _ in range(2)]
    kept = [wait(client, submit(client, clip)["id"])["id"] for _ in range(3)]
    assert {job["id"] for job in client.get("/api/jobs").json()} == set(kept)
    assert client.get(f"/api/jobs/{old[0]}").status_code == 404
    refused = client.post("/api/jobs", json={"kind": "restore", "clip": clip})
    assert refused.status_code == 503
    assert "delete some" in refused.json()["error"]["message"]


def test_a_preview_does_not_wait_for_hours_of_restoring(client: TestClient) -> None:
    clip = add_clip(client)
    long = submit(client, clip, model="slow")["id"]
    wait(client, long, ("running",))
    assert wait(client, submit(client, clip, kind="preview")["id"])["state"] == "done"
    assert client.get(f"/api/jobs/{long}").json()["state"] == "running"
    client.post(f"/api/jobs/{long}/cancel")


def test_what_is_old_is_deleted(serve: Serve, settings: Settings) -> None:
    first = serve()
    clip = add_clip(first)
    job = wait(first, submit(first, clip)["id"])
    first.__exit__(None, None, None)
    for record in (
        settings.home / "jobs" / job["id"] / "job.json",
        settings.home / "sources" / clip / "source.json",
    ):
        content = json.loads(record.read_text())
        old = time.time() - 8 * 86_400
        del content["check"]
        record.write_text(json.dumps({**content, "ended": old, "used": old}))
    second = serve()
    assert second.get("/api/jobs").json() == second.get("/api/sources").json() == []
    assert not (settings.home / "jobs" / job["id"]).exists()
    assert not (settings.home / "sources" / clip).exists()
    first.__enter__()


def test_a_clip_in_use_is_not_deleted(client: TestClient) -> None:
    clip = add_clip(client)
    job = submit(client, clip, model="slow")["id"]
    assert client.delete(f"/api/sources/{clip}").status_code == 400
    assert client.delete(f"/api/jobs/{job}").status_code == 400
    client.post(f"/api/jobs/{job}/cancel")
    wait(client, job)
    assert client.delete(f"/api/sources/{clip}").status_code == 204
    assert client.delete(f"/api/jobs/{job}").status_code == 204
    assert client.get(f"/api/jobs/{job}").status_code == 404


def test_a_job_whose_clip_has_gone_says_so(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "films" / "a.mp4").write_bytes(VIDEO)
    clip = client.post("/api/clips/folder", json={"folder": 0, "path": "a.mp4"}).json()["id"]
    (tmp_path / "films" / "a.mp4").unlink()
    ended = wait(client, submit(client, clip)["id"])
    assert (ended["state"], ended["error"]["code"]) == ("failed", 2)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "restore"},
        {"kind": "restore", "clip": "../../etc/passwd"},
        {"kind": "restore", "clip": "0" * 16, "strength": 2},
        {"kind": "restore", "clip": "0" * 16, "strength": "NaN"},
        {"kind": "restore", "clip": "0" * 16, "start": "; rm -rf /"},
        {"kind": "restore", "clip": "0" * 16, "model": "--weights"},
        {"kind": "restore", "clip": "0" * 16, "container": "html"},
        {"kind": "restore", "clip": "0" * 16, "weights": "/etc/passwd"},
        {"kind": "shell", "clip": "0" * 16},
        {"kind": "export", "project": "0" * 16, "paint": {"foreground": "../x"}},
        [],
        None,
    ],
)
def test_wrong_requests_are_refused_in_one_line(client: TestClient, body: object) -> None:
    refused = client.post("/api/jobs", json=body)
    assert refused.status_code == 422
    message = refused.json()["error"]["message"]
    assert message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"content": b"{"}, "content-type: application/json"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, "is no JSON"),
        ({"content": b"[" * 99999, "headers": {"content-type": "application/json"}}, "UTF-8"),
        ({"data": {"kind": "restore"}}, "content-type: application/json"),
    ],
)
def test_what_is_no_json_is_called_that(client: TestClient, sent: dict, says: str) -> None:
    refused = client.post("/api/jobs", **sent)
    assert refused.status_code in (400, 422)
    assert says in refused.json()["error"]["message"]


def test_an_address_or_method_that_is_not_there_is_answered_in_words(client: TestClient) -> None:
    for method, path in (("get", "/api/nothing"), ("get", "/nothing"), ("put", "/api/jobs")):
        refused = client.request(method, path)
        assert refused.status_code in (404, 405)
        assert "/api/openapi.json" in refused.json()["error"]["message"]


def test_a_file_can_be_looked_at_before_it_is_fetched(client: TestClient) -> None:
    clip = add_clip(client)
    job = wait(client, submit(client, clip)["id"])
    for path in (f"/api/clips/{clip}/file", f"/api/jobs/{job['id']}/files/result.mp4"):
        head, whole = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.content))


def test_unknown_numbers_are_not_found(client: TestClient) -> None:
    nothing = "0" * 16
    for path in (f"/api/jobs/{nothing}", f"/api/sources/{nothing}", f"/api/clips/{nothing}/file"):
        assert client.get(path).status_code == 404
    body = {"kind": "restore", "clip": nothing}
    assert client.post("/api/jobs", json=body).status_code == 404


def test_a_image_that_cannot_be_made_does_not_end_the_server(client: TestClient) -> None:
    clip = add_clip(client)
    assert client.get(f"/api/clips/{clip}/frames/3").content.startswith(b"JPEG")
    assert client.get(f"/api/clips/{clip}/frames/7").status_code == 503
    assert client.get(f"/api/clips/{clip}/frames/3").content.startswith(b"JPEG")


def test_no_process_is_left_behind(serve: Serve, settings: Settings) -> None:
    client = serve()
    job = submit(client, add_clip(client), model="slow")["id"]
    wait(client, job, ("running",))
    house = client.app.state.house  # type: ignore[attr-defined]
    (process,) = house.queue._running.values()
    client.__exit__(None, None, None)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    client.__enter__()


def test_the_routes_are_described(client: TestClient) -> None:
    described = client.get("/api/openapi.json").json()
    assert {"/api/clips", "/api/jobs", "/api/jobs/{number}/cancel"} <= set(described["paths"])
    for path, methods in described["paths"].items():
        for method, about in methods.items():
            assert about.get("description"), f"{method} {path} is not described"


def test_a_queue_stops_where_a_job_swallows_that_it_is_cancelled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `asyncio.wait_for` does now and then: the job was begun anew, and the server hung."""

    async def run(self: Queue, job: Job) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            job.state = "queued"

    async def start_and_stop() -> None:
        queue = Queue(settings, lambda job: {})
        queue.load()
        queue.submit("restore", {}, "0" * 12, "film.mp4")
        queue.start()
        await asyncio.sleep(0)
        await asyncio.wait_for(queue.close(), 20)

    monkeypatch.setattr(Queue, "_run", run)
    asyncio.run(start_and_stop())
