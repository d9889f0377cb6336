"""What our notebook does: the travelling runtime, as its wheel, runs a plan.

    python our_notebook.py PLAN DATASETS WHEEL SETTINGS

KKB_KAGGLE says where the fake /kaggle is; its working/ gets submission.csv and run.json.
"""

import json
import sys
from pathlib import Path


def main(plan, datasets, wheel, settings):
    sys.path.insert(0, wheel)
    import kkb_runtime

    kkb_runtime.run(json.loads(Path(plan).read_text()), json.loads(Path(datasets).read_text()), settings=json.loads(settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
