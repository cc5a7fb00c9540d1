"""Off-policy estimators of the Open Bandit Pipeline (obp), timed on request, on one thread of the processor.

The argument is a folder with the log as f32 arrays: `target.npy` and `q.npy` (rounds x arms), `action.npy`,
`reward.npy` and `propensity.npy` (rounds x 1). The first line printed says that all is loaded. Then every line
of standard input is a number of bootstrap samples, answered by one line of JSON:
{"s": processor seconds of values and intervals, "values": {...}, "peak_mb": most memory held so far}.

obp imports torch for its learners, which the estimators do not need; an empty stand-in serves where it is
missing.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import resource
import sys
import time
import types


class Meta(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty


class Empty(metaclass=Meta):
    pass


class StandIn(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "torch":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


if importlib.util.find_spec("torch") is None:
    sys.meta_path.append(Finder())

import numpy as np
import obp
from obp.ope import (
    DirectMethod,
    DoublyRobust,
    DoublyRobustWithShrinkage,
    InverseProbabilityWeighting,
    OffPolicyEvaluation,
    SelfNormalizedDoublyRobust,
    SelfNormalizedInverseProbabilityWeighting,
    SwitchDoublyRobust,
)

ESTIMATORS = {
    "ips": InverseProbabilityWeighting(estimator_name="ips"),
    "snips": SelfNormalizedInverseProbabilityWeighting(estimator_name="snips"),
    "dm": DirectMethod(estimator_name="dm"),
    "dr": DoublyRobust(estimator_name="dr"),
    "sndr": SelfNormalizedDoublyRobust(estimator_name="sndr"),
    "switch-dr": SwitchDoublyRobust(tau=10.0, estimator_name="switch-dr"),
    "dros": DoublyRobustWithShrinkage(lambda_=10.0, estimator_name="dros"),
}


def load(name):
    return np.load(f"{sys.argv[1]}/{name}.npy").astype(np.float64)


target, q = load("target"), load("q")
action, reward, propensity = load("action")[:, 0].astype(int), load("reward")[:, 0], load("propensity")[:, 0]
n, n_arms = target.shape
feedback = {
    "n_rounds": n,
    "n_actions": n_arms,
    "action": action,
    "position": np.zeros(n, dtype=int),
    "reward": reward,
    "pscore": propensity,
    "context": np.zeros((n, 1)),
    "action_context": None,
}
evaluation = OffPolicyEvaluation(bandit_feedback=feedback, ope_estimators=list(ESTIMATORS.values()))
arrays = {"action_dist": target[:, :, None], "estimated_rewards_by_reg_model": q[:, :, None]}
print(json.dumps({"ready": f"obp {obp.__version__}, numpy {np.__version__}"}), flush=True)
for line in sys.stdin:
    start = time.process_time()
    values = evaluation.estimate_policy_values(**arrays)
    evaluation.estimate_intervals(n_bootstrap_samples=int(line), random_state=1, **arrays)
    spent = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer = {"s": spent, "values": {name: float(v) for name, v in values.items()}, "peak_mb": peak}
    print(json.dumps(answer), flush=True)
