"""A RouterDC training step (arXiv 2409.19886) in PyTorch on one thread of the processor, timed on request.

The first line printed says that all is loaded. Then every line of standard input is a request "KIND STEPS",
and one line of JSON answers it: {"samples_per_cpu_s": queries learned from in a second of processor time}.

  head         384-768-768 with GELU on frozen features, AdamW
  head-fused   the same, fused AdamW
  bag          EmbeddingBag 2^14 x 768, mean over 128 ids a query, dense AdamW
  bag-fused    the same, fused AdamW
  bag-sparse   the same with sparse gradients, SparseAdam for the table

11 arms, batches of 64, K+ = K- = H = 3. Both losses are taken for the whole batch at once; choosing
positives, negatives, mates and outsiders is part of the step.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

N_QUERIES, N_ARMS, N_CLUSTERS, BATCH, WIDTH = 4000, 11, 8, 64, 768
BUCKETS, IDS = 1 << 14, 128
POSITIVES = NEGATIVES = OUTSIDERS = 3
TEMPERATURE, RATE, WARM_UP = 0.1, 5e-4, 5
FAR = -1e4

torch.set_num_threads(1)
torch.manual_seed(1)
scores = torch.rand(N_QUERIES, N_ARMS)
clusters = torch.randint(0, N_CLUSTERS, (N_QUERIES,))


def arm_loss(cosines, score):
    """Each of the best arms against all counted bad ones; a bad arm counts below a score of one half."""
    best, best_at = score.topk(POSITIVES, dim=1)
    worst, worst_at = score.topk(NEGATIVES, dim=1, largest=False)
    near = cosines.gather(1, best_at) / TEMPERATURE
    far = (cosines.gather(1, worst_at) / TEMPERATURE).masked_fill(worst >= 0.5, FAR)
    total = torch.logaddexp(near, far.logsumexp(1, keepdim=True))
    return ((total - near) * (best > 0)).sum(1).mean()


def mate_loss(hidden, cluster):
    """A random query of the same cluster against random ones of other clusters."""
    n = len(hidden)
    similarity = hidden @ hidden.T / TEMPERATURE
    same = cluster[:, None] == cluster[None, :]
    draw = torch.rand(n, n)
    mate = draw.masked_fill(~same, -1.0).fill_diagonal_(-1.0)
    outsider = draw.masked_fill(same, -1.0).topk(OUTSIDERS, dim=1)
    best_mate, mate_at = mate.max(1, keepdim=True)
    logits = similarity.gather(1, torch.cat([mate_at, outsider.indices], 1))
    lost = F.cross_entropy(logits, torch.zeros(n, dtype=torch.long), reduction="none")
    counts = (best_mate[:, 0] >= 0) & (outsider.values[:, -1] >= 0)
    return (lost * counts).mean()


class Training:
    """Encoder, arm vectors and optimisers of one kind."""

    def __init__(self, kind):
        encoder, _, variant = kind.partition("-")
        if encoder == "head":
            self.data = torch.rand(N_QUERIES, 384) - 0.5
            self.encoder = nn.Sequential(nn.Linear(384, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        else:
            self.data = torch.randint(0, BUCKETS, (N_QUERIES, IDS))
            self.encoder = nn.EmbeddingBag(BUCKETS, WIDTH, mode="mean", sparse=variant == "sparse")
        self.arms = nn.Parameter(torch.randn(N_ARMS, WIDTH))
        table = list(self.encoder.parameters())
        if variant == "sparse":
            adam = torch.optim.SparseAdam(table, lr=RATE)
            self.optimizers = [adam, torch.optim.AdamW([self.arms], lr=RATE)]
        else:
            fused = True if variant == "fused" else None
            self.optimizers = [torch.optim.AdamW(table + [self.arms], lr=RATE, fused=fused)]
        for _ in range(WARM_UP):
            self.step()

    def step(self):
        rows = torch.randint(0, N_QUERIES, (BATCH,))
        hidden = F.normalize(self.encoder(self.data[rows]), dim=1)
        cosines = hidden @ F.normalize(self.arms, dim=1).T
        loss = arm_loss(cosines, scores[rows]) + mate_loss(hidden, clusters[rows])
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()


print(json.dumps({"ready": f"PyTorch {torch.__version__}"}), flush=True)
trainings = {}
for line in sys.stdin:
    kind, steps = line.split()
    if kind not in trainings:
        trainings[kind] = Training(kind)
    training = trainings[kind]
    start = time.process_time()
    for _ in range(int(steps)):
        training.step()
    spent = time.process_time() - start
    print(json.dumps({"samples_per_cpu_s": BATCH * int(steps) / spent}), flush=True)
