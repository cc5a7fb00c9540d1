"""Vowpal Wabbit reading a file of dsjson events, timed on request, on one thread of the processor.

The argument is a folder with `events.json`. The first line printed says that the package is there. Then every line of
standard input is answered by one line of JSON: {"s": processor seconds}. Nothing is learned (`-t`); what is timed is
reading the file and predicting each event, by the cheapest learner that takes such events.
"""

import json
import os
import sys
import time

import vowpalwabbit

events = os.path.join(sys.argv[1], "events.json")
print(json.dumps({"ready": "vowpalwabbit " + vowpalwabbit.__version__}), flush=True)

for line in sys.stdin:
    begin = time.process_time()
    workspace = vowpalwabbit.Workspace(
        f"--cb_explore_adf --first 1 --dsjson -t --quiet --no_stdin -d {events}"
    )
    workspace.finish()
    print(json.dumps({"s": time.process_time() - begin}), flush=True)
