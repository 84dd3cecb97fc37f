"""NannyML's CBPE, by its public interface: run in the peers' environment, which has nothing of ours but this file.

`python -m benchmarks.peers.parity_estimates REFERENCE.csv CURRENT.csv OUT.json`; in OUT metric -> [value, lower, upper].
"""

import json
import sys
from typing import Any, Final

import nannyml
import pandas as pd

METRICS: Final = ["accuracy", "precision", "recall", "f1", "roc_auc"]
FIELDS: Final = ["value", "lower_confidence_boundary", "upper_confidence_boundary"]


def estimates(reference: Any, current: Any) -> dict[str, list[float]]:
    """Each metric, all current rows one chunk."""
    estimator = nannyml.CBPE(
        y_pred_proba="score",
        y_pred="prediction",
        y_true="label",
        metrics=METRICS,
        problem_type="classification_binary",
        chunk_number=1,
    )
    frame = estimator.fit(reference).estimate(current).filter(period="analysis").to_df()
    return {metric: [float(frame[metric, field].iloc[0]) for field in FIELDS] for metric in METRICS}


def main(reference_file: str, current_file: str, out: str) -> None:
    found = estimates(*(pd.read_csv(file, float_precision="round_trip") for file in (reference_file, current_file)))
    with open(out, "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
