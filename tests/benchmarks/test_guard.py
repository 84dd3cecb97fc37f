"""The whole worker beside a loop that only consumes and decodes: a change that makes it several times slower does not pass."""

from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.measure import Measured
from benchmarks.report import of_decode

GUARDED = 0.2  # of the loop's speed; 0.38 to 0.45 is usual, on a busy machine too, since CPU seconds are compared


def test_the_worker_keeps_its_share_of_the_speed_of_decoding_alone() -> None:
    small = ("--case", "decode-both", "--case", "worker", "--predictions", "40000", "--repeat", "1")
    result = CliRunner().invoke(main, [*small, "--at-least", str(GUARDED)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "Target: `worker` at 0.5 of `decode-both`" in result.output


def test_the_share_is_that_of_the_medians() -> None:
    runs = {"decode-both": [measured(1.0), measured(2.0), measured(9.0)], "worker": [measured(10.0), measured(10.0), measured(1.0)]}
    assert of_decode(runs) == 0.2


def measured(cpu_s: float) -> Measured:
    return Measured(wall_s=1.0, cpu_s=cpu_s, peak_rss_bytes=0)
