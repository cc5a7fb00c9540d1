"""Vowpal Wabbit reading a file of dsjson events, timed on request, on one thread of the processor.

The argument is a folder with `events.dsjson`. The first line printed says that the package is there. Then every line
of standard input is answered by one line of JSON: {"s": processor seconds}. "learn" reads the file and learns from
each event by SquareCB on request and action features; "read" predicts each event by the cheapest learner that takes
such events and learns nothing (`-t`).
"""

import json
import os
import sys
import time

import vowpalwabbit

events = os.path.join(sys.argv[1], "events.dsjson")
print(json.dumps({"ready": "vowpalwabbit " + vowpalwabbit.__version__}), flush=True)

HOW = {
    "learn": "--cb_explore_adf --squarecb --gamma_scale 10 -q xm --cb_type mtr --power_t 0.5 -b 18 --random_seed 7",
    "read": "--cb_explore_adf --first 1 -t",
}

for line in sys.stdin:
    begin = time.process_time()
    workspace = vowpalwabbit.Workspace(f"{HOW[line.strip()]} --dsjson --quiet --no_stdin -d {events}")
    workspace.run_parser()
    workspace.finish()
    print(json.dumps({"s": time.process_time() - begin}), flush=True)
