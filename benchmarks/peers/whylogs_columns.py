"""whylogs over the events' features: `python -m benchmarks.peers.whylogs_columns JOB frames|events|rows FILE`.

Reading and JSON are not measured. `frames`: DataFrames of 10 000 events, whylogs' fast path, from the DataFrame on; `events`: the same,
from decoded events on, as they come from a stream; `rows`: an event at a time, as a job that does not batch has to.
"""

import sys
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import orjson
import pandas as pd
from whylogs.core import DatasetProfile

from benchmarks.peers.job import Answer, Job

BATCH = 10_000


def main() -> None:
    """Profile all events of the file, one prediction a line."""
    job, way, path = Job.read(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    names = [feature.name for feature in job.features]
    answer = Answer(versions={name: version(name) for name in ("whylogs", "pandas", "numpy")})
    profile, cpu_s, wall_s = DatasetProfile(), 0.0, 0.0
    DatasetProfile().track(pd.DataFrame([dict.fromkeys(names, 0.0)]))  # imports and whatever else only the first call costs
    with path.open("rb") as lines:
        while batch := [orjson.loads(line)["features"] for line in islice(lines, BATCH)]:
            frame = pd.DataFrame(batch, columns=names) if way == "frames" else None
            answer.start()
            if way == "rows":
                for row in batch:
                    profile.track(row)
            else:
                profile.track(pd.DataFrame(batch, columns=names) if frame is None else frame)
            answer.stop()
            cpu_s, wall_s = cpu_s + answer.cpu_s, wall_s + answer.wall_s
            answer.predictions += len(batch)
    answer.cpu_s, answer.wall_s = cpu_s, wall_s
    found = profile.view().to_pandas()
    for name in names:
        column = found.loc[name]
        answer.columns[name] = [float(column["counts/n"]), float(column["counts/null"]), float(column["distribution/mean"])]
    answer.write(job.folder)


if __name__ == "__main__":
    main()
