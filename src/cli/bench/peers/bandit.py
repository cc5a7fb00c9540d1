"""Linear bandits on streams with full information, one thread, timed on request.

bandit.py FOLDER [PACKAGE]: for every width d the folder holds x_d.npy (rounds of all seeds, d), u_d.npy and m_d.npy
(rounds of all seeds, arms): contexts, utilities as drawn and as expected.

The first line printed says that all is loaded. Then every line of standard input is a request
"KIND WIDTH FIRST ROUNDS" (rows FIRST to FIRST + ROUNDS), and one line of JSON answers it:
{"rounds_per_cpu_s": select and update, "regret": a round, against the best expected utility}.

  numpy         LinUCB with a rank-one update of the inverse after every round, f32
  paretobandit  the LinUCB core of the package: select, mark, update
  mabwiser      LinUCB of the package, updated in batches of 64
  vw-NAME       Vowpal Wabbit, cb_explore_adf with the explorer NAME, drawn from the distribution it states

With PACKAGE the script ends at once where that cannot be imported; else the requests for what is missing are refused.
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


EXPLORERS = {
    "first": "--first 1000",
    "epsilon": "--epsilon 0.05",
    "squarecb": "--squarecb --gamma_scale 10",
    "bag": "--bag 5",
    "cover": "--cover 5",
    "softmax": "--softmax --lambda 10",
    # Costs are minus a utility in [-0.1, 1]; with the range of the defaults it never learns.
    "regcb": "--regcb --regcbopt --mellowness 0.01 --cb_min_cost -1 --cb_max_cost 1",
}


def vowpal(explorer):
    def run(x, u):
        import vowpalwabbit

        base = "--cb_explore_adf -q qm --cb_type mtr --power_t 0.5 -b 18 --quiet --random_seed 7 "
        workspace = vowpalwabbit.Workspace(base + EXPLORERS[explorer])
        draws = np.random.default_rng(1)
        arms = [f"|m {arm}" for arm in range(u.shape[1])]
        called = np.empty(len(x), int)
        for at, row in enumerate(x):
            shared = "shared |q " + " ".join(f"{i}:{value:.5f}" for i, value in enumerate(row))
            p = np.asarray(workspace.predict([shared] + arms))
            p /= p.sum()
            arm = int(min((p.cumsum() > draws.random()).argmax(), len(p) - 1))
            label = f"0:{-u[at, arm]:.5f}:{p[arm]:.6f} {arms[arm]}"
            workspace.learn([shared] + arms[:arm] + [label] + arms[arm + 1 :])
            called[at] = arm
        workspace.finish()
        return called

    return run


KINDS = {"numpy": numpy_linucb, "paretobandit": paretobandit, "mabwiser": mabwiser}
KINDS |= {f"vw-{explorer}": vowpal(explorer) for explorer in EXPLORERS}
for package in sys.argv[2:]:
    __import__(package)
about = [f"numpy {np.__version__}"]
for package, module in (("paretobandit", "pareto_bandit.policy"), ("mabwiser", "mabwiser.mab")):
    try:
        __import__(module)
        from importlib.metadata import version

        about.append(f"{package} {version(package)}")
    except ImportError:
        del KINDS[package]
try:
    from vowpalwabbit import __version__ as vowpal_version

    about.append(f"vowpalwabbit {vowpal_version}")
except ImportError:
    KINDS = {kind: run for kind, run in KINDS.items() if not kind.startswith("vw-")}
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
