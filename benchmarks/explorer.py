"""Times of the explorer for gpt-l: filtered members after a move, and the exact front.

The last line is of a slider that moves on every 0.3 s while exact fronts are computed: how long
each of them takes to end, and the last move to get its exact front.

python benchmarks/explorer.py [REPEATS]
"""

from __future__ import annotations

import statistics
import sys
import threading
import time

from hwnas.explorer.background import BackgroundFronts
from hwnas.explorer.catalogue import Catalogue
from hwnas.explorer.fronts import filtered_front, front_payload
from hwnas.explorer.queries import parse_query

AXES = ["latency@h100", "perplexity"]
BOUNDS = (
    *(["params <= 2e8"], ["params <= 3e8"], ["params <= 5e8"]),
    *(["energy@h100 <= 2"], ["energy@h100 <= 3"], ["energy@h100 <= 5"]),
    *(["kv_cache.serve <= 9000"], ["kv_cache.serve <= 9500"]),
    # Two bounds and three, of which each adds a dimension to the search.
    ["params <= 3e8", "energy@h100 <= 3"],
    ["params <= 2e8", "energy@h100 <= 2"],
    ["energy@h100 <= 3", "kv_cache.serve <= 9000"],
    ["params <= 2e8", "kv_cache.serve <= 9000"],
    ["params <= 3e8", "energy@h100 <= 3", "kv_cache.serve <= 9000"],
)
PAUSE = 0.3  # seconds between the moves of a slider


def ended(background: BackgroundFronts, catalogue: Catalogue) -> tuple[float, float]:
    """Return seconds: the most until a move ends the last computation, and of the last move."""
    bounds = [[f"params <= {2e8 + 1e5 * i:g}", "kv_cache.serve <= 9000"] for i in range(1, 6)]
    queries = [parse_query(catalogue, "gpt-l", AXES, bound) for bound in bounds]
    asked, answered = [0.0] * len(queries), [0.0] * len(queries)

    def ask(i: int) -> None:
        asked[i] = time.perf_counter()
        background.solve("page", queries[i])
        answered[i] = time.perf_counter()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(queries))]
    for thread in threads:
        thread.start()
        time.sleep(PAUSE)
    for thread in threads:
        thread.join()
    ends = [end - next_move for end, next_move in zip(answered[:-1], asked[1:], strict=True)]
    return max(ends), answered[-1] - asked[-1]


def main(repeats: int) -> None:
    """Print seconds of the filtered and of the exact front for each kind of bound."""
    catalogue = Catalogue()
    bench, background = catalogue.bench("gpt-l"), BackgroundFronts(catalogue)
    background.start()
    filtered_front(bench, parse_query(catalogue, "gpt-l", AXES))  # as when the page opens
    try:
        for bounds in BOUNDS:
            at_once = []
            for _ in range(repeats):
                start = time.perf_counter()
                query = parse_query(catalogue, "gpt-l", AXES, bounds)
                front = filtered_front(bench, query)
                front_payload(front, is_filtered=True)
                at_once.append(time.perf_counter() - start)
            start = time.perf_counter()
            exact = background.solve("page", query)
            seconds = time.perf_counter() - start
            members = "none" if exact is None else f"{len(exact)}, {exact.exactness}"
            print(
                f"{', '.join(bounds):66} filtered {len(front):5} in "
                f"{1000 * statistics.median(at_once):5.0f} ms (longest "
                f"{1000 * max(at_once):.0f}); exact {members} in {seconds:.1f} s",
                flush=True,
            )
        longest, seconds = ended(background, catalogue)
        print(f"moves every {PAUSE} s: ended within {longest:.2f} s; exact in {seconds:.1f} s")
    finally:
        background.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
