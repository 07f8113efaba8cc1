"""Requests are priced before they are worked on, and the sum of their prices is bounded."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import gzip
import subprocess
import sys
import threading
import weakref
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from models_store.kinds import table
from models_store.stores import Folder
from service.app import create_app
from service.engine.budget import Allowance, Budget, Stopped, default_bytes, in_thread
from service.errors import TooBusy, TooLarge
from service.formats import bodies
from service.http.edge import PIECE
from service.settings import Settings
from tests.service import spoilt

LABEL = {"inputs": {"label": [1]}}


def test_memory_is_given_back_when_the_task_of_a_request_ends() -> None:
    async def check() -> None:
        budget = Budget(1000)

        async def request() -> None:
            await budget.take(300)
            await budget.take(200)
            assert budget.taken == 500

        await asyncio.create_task(request())
        await asyncio.sleep(0)
        assert budget.taken == 0

    asyncio.run(check())


def test_a_request_waits_for_memory_that_another_gives_back() -> None:
    async def check() -> None:
        budget, held, go = Budget(1000), asyncio.Event(), asyncio.Event()

        async def first() -> None:
            await budget.take(500)
            await budget.take(0)
            held.set()
            await go.wait()

        async def second() -> None:
            await budget.take(500)

        async def third() -> None:
            await budget.take(400)

        tasks = [asyncio.create_task(first())]
        await held.wait()
        tasks.append(asyncio.create_task(second()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting = asyncio.create_task(third())
        go.set()
        await asyncio.gather(*tasks, waiting)

    asyncio.run(check())


def test_the_heap_is_trimmed_after_requests_that_took_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.budget.TRIM_BYTES", 500)

    async def check() -> None:
        trims: list[bool] = []
        budget = Budget(1000, trim=lambda: trims.append(True))
        for size in (100, 399, 1, 499):
            await asyncio.create_task(budget.take(size))
        await asyncio.get_running_loop().shutdown_default_executor()
        assert trims == [True]

    asyncio.run(check())


MAPPED = """
import ctypes
from service.engine.budget import MAPPED_BYTES, keep_large_blocks_apart

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "rest1", "rest2")]
    _fields_ += [(f"more{i}", ctypes.c_size_t) for i in range(4)]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
keep_large_blocks_apart()
libc.free(libc.malloc(7 * MAPPED_BYTES // 4))  # raises the limit, unless it is fixed
before = libc.mallinfo2().hblks
block = libc.malloc(5 * MAPPED_BYTES // 4)
print(libc.mallinfo2().hblks - before)
"""
"""Prints the number of blocks outside of the heaps that one large block adds."""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc from 2.33"
)
def test_large_blocks_stay_out_of_the_heaps_after_larger_ones_were_freed() -> None:
    command = [sys.executable, "-c", MAPPED]
    assert subprocess.check_output(command, text=True) == "1\n"  # noqa: S603 - our own text


def test_more_than_the_share_is_refused_and_more_than_the_total_is_busy() -> None:
    async def check() -> None:
        budget = Budget(1000)

        async def hold(size: int, done: asyncio.Event) -> None:
            await budget.take(size)
            await done.wait()

        with pytest.raises(TooLarge, match="needs 501 bytes of memory, more than the 500"):
            await budget.take(501)
        done = asyncio.Event()
        holders = [asyncio.create_task(hold(500, done)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooBusy, match="this one needs 1 bytes of 1000, and 1000 are taken"):
            await budget.take(1)
        done.set()
        await asyncio.gather(*holders)

    asyncio.run(check())


def test_large_bodies_are_converted_one_at_a_time() -> None:
    """Each step of one holds the interpreter's lock for some time; a small body does not wait for them."""

    async def check() -> None:
        budget, go, began = Budget(1000), threading.Event(), list[str]()

        def work(name: str, _: Allowance | None) -> None:
            began.append(name)
            if name != "small":
                assert go.wait(60)

        def converted(name: str, size: int) -> asyncio.Task[None]:
            return asyncio.create_task(bodies.by_cost(budget, size, False, partial(work, name)))

        large = [converted("large", bodies.LARGE + 1) for _ in range(3)]
        await converted("small", bodies.LARGE)
        assert began.count("large") <= 1
        large.pop().cancel()  # whose client disconnects before its turn
        go.set()
        await asyncio.gather(*large)
        assert began.count("large") == 2

    asyncio.run(check())


def test_work_in_a_thread_ends_when_its_request_is_cancelled() -> None:
    async def check() -> None:
        started, ended = asyncio.Event(), []
        loop = asyncio.get_running_loop()

        def work(allowance: Allowance) -> None:
            loop.call_soon_threadsafe(started.set)
            try:
                while True:
                    allowance.check()
            except Stopped:
                ended.append(True)
                raise

        task = asyncio.create_task(in_thread(Budget(1000), work))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]

    asyncio.run(check())


def test_work_whose_request_was_cancelled_before_a_thread_was_free_is_not_done() -> None:
    gate, done = threading.Event(), list[int]()

    def work(number: int, _allowance: Allowance) -> None:
        gate.wait()
        done.append(number)

    async def check(executor: Executor) -> None:
        budget = Budget(1000, executor=executor)
        tasks = [asyncio.create_task(in_thread(budget, partial(work, number))) for number in range(2)]
        await asyncio.sleep(0)  # both are queued
        tasks[1].cancel()
        asyncio.get_running_loop().call_soon(gate.set)
        await asyncio.wait(tasks)

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(check(executor))
    assert done == [0]


def test_work_that_fails_in_a_thread_leaves_nothing_to_the_garbage_collector() -> None:
    """Many bodies that are refused would fill the memory until it runs."""

    class Body:
        pass

    def refuse(_body: Body, _allowance: Allowance) -> None:
        raise TooLarge("too large")

    async def check() -> weakref.ref[Body]:
        body = Body()
        with suppress(TooLarge):
            await in_thread(Budget(1000), partial(refuse, body))
        return weakref.ref(body)

    gc.disable()
    try:
        assert asyncio.run(check())() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("content", "taken"), [(b"7" * 1000, 2**20), (b"7" * 10**7, 2 * 10**8)])
def test_a_compressed_body_takes_the_memory_of_the_limit_only_where_it_needs_it(
    content: bytes, taken: int
) -> None:
    async def check() -> None:
        budget, body = Budget(2**30), gzip.compress(content)
        assert await bodies.decoded(body, "gzip", 10**8, budget) == content
        assert taken / 2 < budget.taken <= taken

    asyncio.run(check())


def test_a_long_response_is_compressed_before_it_is_sent_in_pieces(bundle_folder: Path) -> None:
    with TestClient(create_app(Settings(store=str(bundle_folder.parents[1])))) as client:
        plain, small = (
            client.post("/encode?cond_mod=none&n_data=1000&N=30", headers={"accept-encoding": coding})
            for coding in ("identity", "gzip")
        )
    assert len(plain.content) > 2 * PIECE
    assert small.headers["content-encoding"] == "gzip"
    assert len(small.json()["z"]) == len(plain.json()["z"]) == 1000


@pytest.mark.parametrize(
    ("limit", "total"), [("max", 2**30), (str(2**30), 2**28), (str(2**40), 2**30), ("-1", 2**24)]
)
def test_the_default_is_half_of_the_control_group(tmp_path: Path, limit: str, total: int) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    assert default_bytes(2 if limit == str(2**30) else 1, tmp_path) == total


def test_a_response_above_the_share_of_memory_is_refused_with_the_numbers(bundle_folder: Path) -> None:
    settings = Settings(store=str(bundle_folder.parents[1]), memory_bytes=2**22)
    with TestClient(create_app(settings)) as client:
        refused = client.post("/encode?N=10000", json={"inputs": {"label": [1] * 10}})
        assert refused.status_code == 422
        assert "more than the 43690 that one request may ask for" in refused.json()["detail"]
        large = client.post("/encode", content=b" " * 2**22, headers={"content-type": "application/json"})
        assert large.status_code == 413
        assert "bytes of memory, more than the 2097152" in large.json()["detail"]
        assert client.post("/encode", json=LABEL).status_code == 200


def test_a_graph_that_loops_for_one_label_is_ended_at_the_deadline(
    bundle_folder: Path, tmp_path: Path
) -> None:
    """It is fast for all others, so it runs on the event loop, where a watchdog ends it."""
    spoilt.looping(Folder(tmp_path), bundle_folder, 1, "odd", label=7, spare_golden=True)
    with TestClient(create_app(Settings(store=str(tmp_path), deadline_seconds=2, threads=1))) as client:
        for _ in range(2):  # more often than there are threads
            answer = client.post("/encode", json={"inputs": {"label": [7]}})
            assert (answer.status_code, "2 s" in answer.json()["detail"]) == (503, True)
            assert client.post("/encode", json=LABEL).status_code == 200
        headers = {"accept": "application/zip"}  # refused before the graph runs
        refused = client.post(
            "/generate?N=1000&gen_mod=image", json={"inputs": {"label": [7]}}, headers=headers
        )
        assert refused.status_code == 413


def test_a_document_of_very_many_values_is_refused_before_it_is_parsed(bundle_folder: Path) -> None:
    """While it is parsed, no other thread of Python runs."""
    values = b"[" + b"0," * table.MOST_VALUES + b"0]"
    tensor = b'{"name":"label","datatype":"INT64","shape":[1],"data":%b}' % values
    with TestClient(create_app(Settings(store=str(bundle_folder.parents[1])))) as client:
        for path, body in (
            ("/encode", b'{"inputs":{"label":%b' % values),  # no JSON, which parsing would report
            ("/v2/models/tiny/infer", b'{"inputs":[%b' % tensor),
        ):
            refused = client.post(path, content=body, headers={"content-type": "application/json"})
            assert refused.status_code == 413
            assert "a request may have 2097152 values in JSON" in refused.text
