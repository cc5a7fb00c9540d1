"""Linear bandits on streams with full information, one thread, timed on request.

bandit.py FOLDER: for every width d the folder holds x_d.npy (rounds of all seeds, d), u_d.npy and m_d.npy
(rounds of all seeds, arms): contexts, utilities as drawn and as expected.

The first line printed says that all is loaded. Then every line of standard input is a request
"KIND WIDTH FIRST ROUNDS" (rows FIRST to FIRST + ROUNDS), and one line of JSON answers it:
{"rounds_per_cpu_s": select and update, "regret": a round, against the best expected utility}.

  numpy         LinUCB with a rank-one update of the inverse after every round, f32
  paretobandit  the LinUCB core of the package: select, mark, update
  mabwiser      LinUCB of the package, updated in batches of 64
"""

import json
import os
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
ALPHA = 0.3
folder = sys.argv[1]


def load(name):
    return np.load(os.path.join(folder, name))


def numpy_linucb(x, u):
    n_arms, d = u.shape[1], x.shape[1]
    inverse = np.repeat(np.eye(d, dtype=np.float32)[None], n_arms, 0)
    moment = np.zeros((n_arms, d), np.float32)
    theta = np.zeros((n_arms, d), np.float32)
    called = np.empty(len(x), int)
    for at, row in enumerate(x):
        product = inverse @ row
        bound = theta @ row + ALPHA * np.sqrt(np.maximum(product @ row, 0))
        arm = int(bound.argmax())
        inverse[arm] -= np.outer(product[arm], product[arm]) / (1 + product[arm] @ row)
        moment[arm] += u[at, arm] * row
        theta[arm] = inverse[arm] @ moment[arm]
        called[at] = arm
    return called


def paretobandit(x, u):
    from pareto_bandit.policy import DisjointLinUCBPolicy

    names = [f"arm{arm}" for arm in range(u.shape[1])]
    policy = DisjointLinUCBPolicy(names, dim=x.shape[1], alpha=ALPHA, seed=1)
    called = np.empty(len(x), int)
    for at, row in enumerate(x.astype(np.float64)):
        name, _ = policy.select_arm(row)
        arm = int(name[3:])
        policy.mark_selected(name)
        policy.update(name, row, float(u[at, arm]), advance_time=False)
        called[at] = arm
    return called


def mabwiser(x, u, batch=64):
    from mabwiser.mab import MAB, LearningPolicy

    x = x.astype(np.float64)
    bandit = MAB(list(range(u.shape[1])), LearningPolicy.LinUCB(alpha=ALPHA), seed=1)
    called = np.random.default_rng(1).integers(0, u.shape[1], len(x))
    bandit.fit(called[:batch], u[np.arange(batch), called[:batch]], x[:batch])
    for start in range(batch, len(x), batch):
        end = min(start + batch, len(x))
        arms = np.atleast_1d(bandit.predict(x[start:end]))
        called[start:end] = arms
        bandit.partial_fit(arms, u[np.arange(start, end), arms], x[start:end])
    return called


KINDS = {"numpy": numpy_linucb, "paretobandit": paretobandit, "mabwiser": mabwiser}
about = [f"numpy {np.__version__}"]
for package, module in (("paretobandit", "pareto_bandit.policy"), ("mabwiser", "mabwiser.mab")):
    try:
        __import__(module)
        from importlib.metadata import version

        about.append(f"{package} {version(package)}")
    except ImportError:
        del KINDS[package]
print(json.dumps({"ready": ", ".join(about)}), flush=True)
for request in sys.stdin:
    kind, width, first, rounds = request.split()
    rows = slice(int(first), int(first) + int(rounds))
    if kind not in KINDS:
        print(json.dumps({"missing": kind}), flush=True)
        continue
    x, u, mean = (load(f"{letter}_{width}.npy")[rows] for letter in "xum")
    start = time.process_time()
    called = KINDS[kind](x, u)
    spent = time.process_time() - start
    regret = float((mean.max(1) - mean[np.arange(len(x)), called]).mean())
    print(json.dumps({"rounds_per_cpu_s": len(x) / spent, "regret": regret}), flush=True)
