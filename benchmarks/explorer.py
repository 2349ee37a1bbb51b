"""Times of the explorer for gpt-l: filtered members after a move, and the exact front.

python benchmarks/explorer.py [REPEATS]
"""

from __future__ import annotations

import statistics
import sys
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
    finally:
        background.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
