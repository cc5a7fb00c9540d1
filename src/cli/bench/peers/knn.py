"""Nearest neighbors by faiss (flat) and hnswlib, timed on request.

python knn.py DIR, with DIR/ref.npy (n, dim) and DIR/ann_queries.npy (m, dim): little-endian f32, unit rows.

The first line printed says that all is loaded. Then every line of standard input is a request, and one line
of JSON answers it:

  flat ROWS BATCH QUERIES K     -> {"us": CPU microseconds a query}
  graph ROWS EF QUERIES K       -> {"us": ..., "recall": share of the true neighbors found}
  answers ROWS QUERIES K        -> {"rows": row numbers of the flat index, one list a query}

Time is that of the process, one thread. Indexes are built on first use, outside the time.
"""

import functools
import json
import os
import sys
import time

import faiss
import hnswlib
import numpy as np

LINKS, EF_BUILD = 16, 100

faiss.omp_set_num_threads(1)
reference = np.load(os.path.join(sys.argv[1], "ref.npy"))
queries = np.load(os.path.join(sys.argv[1], "ann_queries.npy"))


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
    return flat_index(rows).search(queries[:count], k)[1]


def timed(search, count, batch):
    found = []
    start = time.process_time()
    for at in range(0, count, batch):
        found.append(search(queries[at : min(at + batch, count)]))
    spent = time.process_time() - start
    return spent * 1e6 / count, np.concatenate(found)


def flat(rows, batch, count, k):
    index = flat_index(rows)
    return {"us": timed(lambda part: index.search(part, k)[1], count, batch)[0]}


def graph(rows, ef, count, k):
    index, wanted = graph_index(rows), truth(rows, count, k)
    index.set_ef(ef)
    us, found = timed(lambda part: index.knn_query(part, k, num_threads=1)[0], count, 1)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, wanted))
    return {"us": us, "recall": hits / wanted.size}


def answers(rows, count, k):
    return {"rows": truth(rows, count, k).tolist()}


VERBS = {"flat": flat, "graph": graph, "answers": answers}

hnswlib_version = getattr(hnswlib, "__version__", "of unknown version")
print(json.dumps({"ready": f"faiss {faiss.__version__}, hnswlib {hnswlib_version}"}), flush=True)
for line in sys.stdin:
    verb, *numbers = line.split()
    print(json.dumps(VERBS[verb](*map(int, numbers))), flush=True)
