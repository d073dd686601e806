"""Run work items in worker processes on this machine. Results come as they are finished."""

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

ALLOWED = ("holdfast.cli.worker:work",)
"""Jobs that may be run: a job travels as a dotted name, never as pickled code."""


@dataclass(frozen=True)
class Item:
    """One piece of work: a key to know it by, and its input as JSON."""

    key: str
    payload: str


@dataclass(frozen=True)
class Done:
    """An item that was finished."""

    key: str
    result: Any


@dataclass(frozen=True)
class Failed:
    """An item whose worker raised, or died twice."""

    key: str
    error: str


def run(job: str, items: Sequence[Item], workers: int) -> Iterator[Done | Failed]:
    """Run `job` on every item; a failure is a value, so the stream never dies.

    Each worker computes with one thread: results do not depend on how many run side by side. A
    worker that dies (out of memory, killed) is replaced and its item tried once more, alone.
    """
    if job not in ALLOWED:
        raise ValueError(f"{job} is not an allowed job")
    waiting, doubtful = list(items)[::-1], list[Item]()
    while waiting or doubtful:
        alone = not waiting
        queue, size = (doubtful, 1) if alone else (waiting, workers)
        running: dict[Future[Any], Item] = {}
        pool = _pool(min(size, max(1, len(queue))))
        try:
            while queue or running:
                while queue and len(running) < size:
                    item = queue.pop()
                    running[pool.submit(_call, job, item.payload)] = item
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    item = running.pop(future)
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        if alone:
                            yield Failed(item.key, "its worker process died twice")
                        else:
                            doubtful.append(item)
                    elif error is not None:
                        yield Failed(item.key, f"{type(error).__name__}: {error}")
                    else:
                        yield Done(item.key, future.result())
                if any(isinstance(f.exception(), BrokenProcessPool) for f in finished):
                    doubtful += running.values() if not alone else []
                    break
        finally:
            _stop(pool)


def _pool(size: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(size, mp_context=context, initializer=_begin)


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers now, whatever they do: their unfinished items are simply run again."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def _begin() -> None:
    """In a worker: one thread, Ctrl-C left to the parent, and an end together with it."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _call(job: str, payload: str) -> Any:
    module, name = job.split(":")
    return getattr(importlib.import_module(module), name)(payload)
