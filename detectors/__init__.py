"""Scores, metrics and verdicts: pure functions over counts, one file per method. No I/O, no clock, nothing of ours imported."""
