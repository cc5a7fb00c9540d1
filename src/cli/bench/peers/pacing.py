"""Spend of ParetoBandit's paced router against its target, under feedback as production sends it.

pacing.py FOLDER: the folder holds for each stream 0, 1, .. pacing_x0.npy (rounds, d), pacing_u0.npy (rounds, arms:
scores), pacing_n0.npy (rounds, arms: bill over expected price) and pacing_p0.npy (1, arms: expected prices).

The first line printed says that all is loaded. Then every line of standard input is a request
"SCENARIO TARGET STREAM" (target in units of the prices), and one line of JSON answers it: {"spend_over_target": ...}.

  clean       feedback after every decision
  missing     feedback for three decisions of ten
  late        feedback 200 decisions later, the router's own memory of the request evicted
  duplicated  every feedback twice
  restart     clean, saved and loaded half way
  all         missing, late, duplicated and restart at once
"""

import json
import logging
import os
import sys
import tempfile

import numpy as np

logging.disable(logging.CRITICAL)
from importlib.metadata import version

from pareto_bandit.budget_pacer import BudgetPacer, PacingMode
from pareto_bandit.router import BanditRouter
from pareto_bandit.storage import CheckpointManager, SqliteContextStore

folder = sys.argv[1]


def load(stream):
    x, scores, noise, prices = (np.load(os.path.join(folder, f"pacing_{name}{stream}.npy")) for name in "xunp")
    return x, scores, noise, prices[0]


# Prices and width are those of every stream.
x, scores, noise, prices = load(0)
names = [f"arm{arm}" for arm in range(len(prices))]
registry = {n: {"input_cost_per_m": float(p), "output_cost_per_m": float(p)} for n, p in zip(names, prices)}


class Given:
    dimension = x.shape[1]

    def extract_features(self, prompt):
        return np.asarray(prompt, float)


def router(folder, target):
    return BanditRouter(
        registry,
        feature_service=Given(),
        bandit_seed=1,
        cost_penalty=0.0,
        alpha=0.3,
        forgetting_factor=1.0,
        context_store=SqliteContextStore(os.path.join(folder, "context.db")),
        budget_pacer=BudgetPacer(target, mode=PacingMode.SOFT),
    )


def unit():
    """What the package says a call costs, over our price: its own guess of tokens a call."""
    with tempfile.TemporaryDirectory() as folder:
        name, log = router(folder, 1.0).route(x[0].astype(float))
        return log.cost_usd / prices[names.index(name)]


UNIT = unit()


def run(scenario, target, stream):
    x, scores, noise, _ = load(stream)
    spent, waiting = 0.0, []
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        bandit = router(folder, target * UNIT)
        for at, row in enumerate(x.astype(float)):
            name, log = bandit.route(row)
            arm = names.index(name)
            spent += prices[arm] * noise[at, arm]
            waiting.append((log.request_id, float(scores[at, arm])))
            late, lost = scenario in ("late", "all"), scenario in ("missing", "all") and rng.random() >= 0.3
            if late:
                bandit.logs.clear()
                bandit.log_index.clear()
            of = at - 200 if late else at
            if of >= 0 and not lost:
                for _ in range(2 if scenario in ("duplicated", "all") else 1):
                    bandit.process_feedback(*waiting[of])
            if scenario in ("restart", "all") and at == len(x) // 2:
                manager = CheckpointManager(folder)
                manager.save(bandit)
                bandit = router(folder, target * UNIT)
                manager.load(bandit)
    return spent / len(x) / target


print(json.dumps({"ready": f"paretobandit {version('paretobandit')}"}), flush=True)
for request in sys.stdin:
    scenario, target, stream = request.split()
    print(json.dumps({"spend_over_target": float(run(scenario, float(target), stream))}), flush=True)
