"""Nearest neighbors by faiss and NumPy (exact) and hnswlib (graph), timed on request.

python knn.py DIR, with DIR/ref.npy (n, dim) and DIR/ann_queries.npy (m, dim): little-endian f32, unit rows.

The first line printed says that all is loaded. Then every line of standard input is a request, and one line
of JSON answers it:

  flat ROWS BATCH QUERIES K     -> {"us": CPU microseconds a query of the fastest, "by": its name, "each": all}
  graph ROWS EF QUERIES K       -> {"us": ..., "recall": share of the true neighbors found}
  answers ROWS QUERIES K        -> {"rows": row numbers of the flat index, one list a query}

faiss or hnswlib may be missing; what needs it is then left out. Exact search is taken at its best: the flat index of faiss as it comes, the same with matrix products for batches
(`distance_compute_blas_threshold`, above which faiss multiplies at once, is 128,000 in some wheels), and a product
and a partition by NumPy. The OpenBLAS inside a faiss wheel may not know a new processor and fall back to a kernel
without wide registers; it is told which one to take unless OPENBLAS_CORETYPE is set, and what it runs is printed.

Time is that of the process, one thread. Indexes are built on first use, outside the time.
"""

import functools
import json
import os
import sys
import time


def core_type():
    """The kernel of OpenBLAS for the widest registers of this processor; None leaves the choice to it."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line.split() for line in file if line.startswith("flags")), [])
    except OSError:
        return None
    return "SkylakeX" if "avx512bw" in flags else "Haswell" if "avx2" in flags else None


if core_type():
    os.environ.setdefault("OPENBLAS_CORETYPE", core_type())

# What is imported after this line reads the variable when it is loaded.
import numpy as np  # noqa: E402

try:
    import faiss

    faiss.omp_set_num_threads(1)
    default_threshold = faiss.cvar.distance_compute_blas_threshold
except ImportError:
    faiss = None
try:
    import hnswlib
except ImportError:
    hnswlib = None

LINKS, EF_BUILD = 16, 100
# Queries from which on faiss multiplies at once: its older default.
BLAS_THRESHOLD = 20

reference = np.load(os.path.join(sys.argv[1], "ref.npy"))
queries = np.load(os.path.join(sys.argv[1], "ann_queries.npy"))


def kernels():
    """What the linear algebra runs on, as threadpoolctl sees it."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "kernels unknown (no threadpoolctl)"
    found = [(os.path.basename(p["filepath"]), p.get("architecture")) for p in threadpool_info()]
    found = [(name, architecture) for name, architecture in found if architecture]
    text = ", ".join(f"{name}: {architecture}" for name, architecture in found)
    slow = any(architecture in ("Prescott", "Core2") for _, architecture in found)
    return text + ("; WARNING: an old kernel, the peer is slower than it need be" if slow else "")


@functools.lru_cache(maxsize=1)
def flat_index(rows):
    index = faiss.IndexFlatIP(reference.shape[1])
    index.add(np.ascontiguousarray(reference[:rows]))
    return index


@functools.lru_cache(maxsize=1)
def graph_index(rows):
    index = hnswlib.Index("ip", reference.shape[1])
    index.init_index(rows, M=LINKS, ef_construction=EF_BUILD, random_seed=1)
    index.set_num_threads(1)
    index.add_items(reference[:rows], np.arange(rows))
    return index


@functools.lru_cache(maxsize=1)
def truth(rows, count, k):
    search = by_faiss(rows, k, BLAS_THRESHOLD) if faiss else by_numpy(rows, k)
    return search(queries[:count])


def by_faiss(rows, k, threshold):
    index = flat_index(rows)

    def search(part):
        faiss.cvar.distance_compute_blas_threshold = threshold
        return index.search(part, k)[1]

    return search


def by_numpy(rows, k):
    transposed = np.ascontiguousarray(reference[:rows]).T

    def search(part):
        similarities = part @ transposed
        if k >= rows:
            return np.argsort(-similarities, axis=1)
        best = np.argpartition(similarities, rows - k, axis=1)[:, rows - k :]
        order = np.argsort(-np.take_along_axis(similarities, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    return search


def timed(search, count, batch):
    found = []
    start = time.process_time()
    for at in range(0, count, batch):
        found.append(search(queries[at : min(at + batch, count)]))
    spent = time.process_time() - start
    return spent * 1e6 / count, np.concatenate(found)


def flat(rows, batch, count, k):
    searches = {"NumPy": by_numpy(rows, k)}
    if faiss:
        searches["faiss"] = by_faiss(rows, k, default_threshold)
    if faiss and batch > 1:
        searches["faiss by products"] = by_faiss(rows, k, BLAS_THRESHOLD)
    each = {name: timed(search, count, batch)[0] for name, search in searches.items()}
    best = min(each, key=each.get)
    return {"us": each[best], "by": best, "each": each}


def graph(rows, ef, count, k):
    if not hnswlib:
        return {"error": "no hnswlib"}
    index, wanted = graph_index(rows), truth(rows, count, k)
    index.set_ef(ef)
    us, found = timed(lambda part: index.knn_query(part, k, num_threads=1)[0], count, 1)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, wanted))
    return {"us": us, "recall": hits / wanted.size}


def answers(rows, count, k):
    return {"rows": truth(rows, count, k).tolist()}


VERBS = {"flat": flat, "graph": graph, "answers": answers}


def version(package):
    return getattr(package, "__version__", "of unknown version") if package else "missing"


versions = f"faiss {version(faiss)}, NumPy {np.__version__}, hnswlib {version(hnswlib)}"
print(json.dumps({"ready": f"{versions}; {kernels()}"}), flush=True)
for line in sys.stdin:
    verb, *numbers = line.split()
    print(json.dumps(VERBS[verb](*map(int, numbers))), flush=True)
