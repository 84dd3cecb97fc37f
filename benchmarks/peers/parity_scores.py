"""Scores of Evidently and NannyML, by their public interfaces: run in their environment, which has nothing of ours but this file.

`python -m benchmarks.peers.parity_scores REFERENCE.csv CURRENT.csv OUT.json`; in OUT peer -> score -> column -> value.
"""

import json
import sys
from typing import Any, Final

import nannyml
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift

EVIDENTLY: Final = {
    "number": ("psi", "jensenshannon", "hellinger", "wasserstein", "ks"),
    "category": ("psi", "jensenshannon", "hellinger", "chisquare"),
}
NANNYML: Final = {
    "number": ["jensen_shannon", "hellinger", "wasserstein", "kolmogorov_smirnov"],
    "category": ["jensen_shannon", "hellinger", "chi2"],
}
Scores = dict[str, dict[str, float]]


def evidently_scores(reference: Any, current: Any, columns: dict[str, list[str]]) -> Scores:
    """Each method of each column."""
    definition = DataDefinition(numerical_columns=columns["number"], categorical_columns=columns["category"])
    asked = [
        (method, column, ValueDrift(column=column, method=method))
        for kind in columns
        for method in EVIDENTLY[kind]
        for column in columns[kind]
    ]
    report = Report([metric for _, _, metric in asked])
    done = report.run(*(Dataset.from_pandas(side, data_definition=definition) for side in (current, reference)))
    found: Scores = {}
    for (method, column, _), answer in zip(asked, done.dict()["metrics"], strict=True):
        found.setdefault(method, {})[column] = float(answer["value"])
    return found


def nannyml_scores(reference: Any, current: Any, columns: dict[str, list[str]]) -> Scores:
    """Each method of each column, all current rows one chunk."""
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=[*columns["number"], *columns["category"]],
        treat_as_categorical=columns["category"],
        continuous_methods=NANNYML["number"],
        categorical_methods=NANNYML["category"],
        chunk_number=1,
    )
    frame = calculator.fit(reference).calculate(current).filter(period="analysis").to_df()
    return {
        method: {
            column: float(frame[column, method, "value"].iloc[0]) for kind in columns if method in NANNYML[kind] for column in columns[kind]
        }
        for method in sorted({*NANNYML["number"], *NANNYML["category"]})
    }


def main(reference_file: str, current_file: str, out: str) -> None:
    reference, current = (pd.read_csv(file, float_precision="round_trip") for file in (reference_file, current_file))
    columns: dict[str, list[str]] = {"number": [], "category": []}
    for name in reference:
        columns["number" if pd.api.types.is_numeric_dtype(reference[name]) else "category"].append(str(name))
    scores = {"evidently": evidently_scores(reference, current, columns), "nannyml": nannyml_scores(reference, current, columns)}
    with open(out, "w", encoding="utf-8") as file:
        json.dump(scores, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
