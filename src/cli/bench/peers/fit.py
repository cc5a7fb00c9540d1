"""TF-IDF and truncated SVD by scikit-learn, timed on request.

python fit.py DIR, with DIR/texts.json: a list of texts.

The first line printed says that all is loaded. Then every line of standard input is a request, and one line
of JSON answers it:

  fit TEXTS -> {"s": CPU seconds of fitting on the first TEXTS texts and making their features}

Time is that of the process, one thread.
"""

import json
import os
import sys
import time

import sklearn
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

with open(os.path.join(sys.argv[1], "texts.json"), encoding="utf-8") as file:
    texts = json.load(file)

KEPT, DIM = 16_384, 128


def fit(count):
    start = time.process_time()
    part = texts[:count]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=KEPT, sublinear_tf=True)
    chars = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), min_df=2, max_features=KEPT, sublinear_tf=True
    )
    rows = sparse.hstack([words.fit_transform(part), chars.fit_transform(part)]).tocsr()
    svd = TruncatedSVD(DIM, algorithm="randomized", n_iter=4, n_oversamples=16, random_state=1)
    normalize(svd.fit_transform(rows))
    return time.process_time() - start


print(json.dumps({"ready": f"scikit-learn {sklearn.__version__}"}), flush=True)
for line in sys.stdin:
    verb, count = line.split()
    print(json.dumps({"s": fit(int(count))} if verb == "fit" else {"error": verb}), flush=True)
