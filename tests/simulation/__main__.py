"""Runs the simulator: see `make simulate`."""

import argparse
import logging
import os
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import count

from tests.simulation import broken

CHUNK = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.simulation")
    parser.add_argument("--seed", type=int, help="run this one and show all that happens")
    parser.add_argument("--first", type=int, default=0, help="the seed to begin with")
    parser.add_argument("--seeds", type=int, help="how many; without end if left out")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--broken", help="with this change to our own code, see broken.py")
    options = parser.parse_args()
    if options.broken:
        broken.apply(options.broken)
        return hunt(range(options.first, options.first + options.seeds))
    if options.seed is not None:
        return replay(options.seed)
    return search(options.first, options.seeds, options.seconds)


def hunt(seeds: range) -> int:
    """Return 1 and say which seed finds something, or 0 if none does."""
    _, _, found = run(seeds)
    print(found or f"nothing in {len(seeds)} seeds")
    return 1 if found else 0


def replay(seed: int) -> int:
    from tests.simulation.world import Violation, World

    quiet()
    world = World(seed)
    try:
        world.run()
    except Violation as violation:
        print(f"{world.told(len(world.trace))}{violation}")
        return 1
    print(f"{world.told(len(world.trace))}\n{world.plan}: nothing")
    return 0


def search(first: int, seeds: int | None, seconds: float) -> int:
    began = shown = time.monotonic()
    chunks = (
        range(one, one + CHUNK)
        for one in (count(first, CHUNK) if seeds is None else range(first, first + seeds, CHUNK))
    )
    done = jobs = steps = 0
    with ProcessPoolExecutor() as pool:
        waiting = {pool.submit(run, next(chunks)) for _ in range(2 * (os.cpu_count() or 1))}
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for one in ready:
                more_jobs, more_steps, found = one.result()
                if found:
                    print(found)
                    pool.shutdown(cancel_futures=True)
                    return 1
                done, jobs, steps = done + CHUNK, jobs + more_jobs, steps + more_steps
                chunk = next(chunks, None)
                if chunk and time.monotonic() - began < seconds:
                    waiting.add(pool.submit(run, chunk))
            if not waiting or time.monotonic() - shown > 10:
                shown = time.monotonic()
                rate = done / (shown - began)
                print(f"{done} seeds, {jobs} jobs, {steps} steps, {rate:.0f} seeds a second", flush=True)
    return 0


def run(seeds: range) -> tuple[int, int, str]:
    """Run some seeds; return how many jobs and steps there were, and what the first that fails tells."""
    from tests.simulation.world import Violation, World

    quiet()
    jobs = steps = 0
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except Violation as violation:
            return jobs, steps, str(violation)
        jobs, steps = jobs + len(world.watch.rows), steps + len(world.trace)
    return jobs, steps, ""


def quiet() -> None:
    """Keep the service's log from the terminal: the trace has what matters."""
    logging.getLogger("services").propagate = False


if __name__ == "__main__":
    sys.exit(main())
