"""A step of GaC (arXiv 2406.12585) by sparse products, as its paper describes it, timed on request.

The first line printed says that all is loaded. Then every line of standard input is a request
"KIND STEPS UNION VOCABULARY...", and one line of JSON answers it: {"ms": processor time of a step, milliseconds}.

Without torch the kinds that need it are answered by {"error": ...}, the others as ever.

  gac     a row of probabilities times its 0/1 matrix, tokens by units, in coordinate form and in the order of the
          ids, by torch.sparse.mm: the product the released code asks for
  torch   the same product with the matrix transposed and sorted beforehand
  scipy   the same with matrices in compressed rows

A step starts at log-probabilities over each vocabulary and ends with the most probable unit of the union. On a
processor, one thread; the released code has its matrices on a GPU.
"""

import json
import sys
import time

import numpy as np
import scipy
from scipy import sparse

try:
    import torch

    torch.set_num_threads(1)
    VERSIONS = f"SciPy {scipy.__version__}, PyTorch {torch.__version__}"
except ImportError:
    torch = None
    VERSIONS = f"SciPy {scipy.__version__}"


class Steps:
    """Matrices and log-probabilities of one size."""

    def __init__(self, kind, union, sizes):
        rng = np.random.default_rng(1)
        self.members = []
        for size in sizes:
            units = np.sort(rng.choice(union, size=min(size, union), replace=False))
            rng.shuffle(units)
            logits = 3.0 * rng.standard_normal(len(units)).astype(np.float32)
            told = logits - np.log(np.exp(logits).sum())
            ones = np.ones(len(units), dtype=np.float32)
            at = (units, np.arange(len(units)))
            if kind == "gac":
                matrix = torch.sparse_coo_tensor(np.stack(at[::-1]), ones, (len(units), union))
                self.members.append((matrix, torch.from_numpy(told)[None, :]))
            elif kind == "torch":
                matrix = torch.sparse_coo_tensor(np.stack(at), ones, (union, len(units))).coalesce()
                self.members.append((matrix, torch.from_numpy(told)[:, None]))
            else:
                self.members.append((sparse.csr_matrix((ones, at), (union, len(units))), told))
        self.share = 1.0 / len(sizes)
        self.union = union
        self.step = {"gac": self.gac, "torch": self.torch, "scipy": self.scipy}[kind]

    def gac(self):
        merged = torch.zeros((1, self.union))
        for matrix, told in self.members:
            merged += torch.sparse.mm(self.share * told.exp(), matrix)
        return int(torch.argmax(merged, dim=1)[0])

    def torch(self):
        return int(sum(self.share * torch.sparse.mm(m, told.exp()) for m, told in self.members).argmax())

    def scipy(self):
        return int(sum(self.share * (m @ np.exp(told)) for m, told in self.members).argmax())


print(json.dumps({"ready": VERSIONS}), flush=True)
known = {}
for line in sys.stdin:
    kind, steps, *sizes = line.split()
    key = (kind, *sizes)
    if kind != "scipy" and torch is None:
        print(json.dumps({"error": "no torch"}), flush=True)
        continue
    if key not in known:
        union, *sizes = map(int, sizes)
        known[key] = Steps(kind, union, sizes)
        known[key].step()
    start = time.process_time()
    for _ in range(int(steps)):
        known[key].step()
    print(json.dumps({"ms": 1000 * (time.process_time() - start) / int(steps)}), flush=True)
