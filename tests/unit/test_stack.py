"""What tools/stack says of a run: pytest's closing lines counted, one row a release."""

import pytest
from stacklib.runs import Run, counts_in, demo_in, table


@pytest.mark.parametrize(
    ("output", "counts"),
    [
        ("===== 2577 passed in 275.10s (0:04:35) =====\n", (2577, 0, 0)),
        ("2577 passed in 275.10s (0:04:35)\n", (2577, 0, 0)),
        ("= 1 failed, 88 passed, 554 deselected in 786.98s (0:13:06) =\n", (88, 1, 0)),
        ("= 3 passed, 1 warning, 2 errors in 1.00s =\n== 4 passed in 2.00s ==\n", (7, 0, 2)),
        ("a guest said: 5 passed\ndone in 3 s\n", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_tests_are_counted_over_all_closing_lines(output: str, counts: tuple[int, int, int]) -> None:
    assert counts_in(output) == dict(zip(("passed", "failed", "error"), counts, strict=True))


def test_the_demo_is_a_line_of_its_own() -> None:
    assert demo_in("Done in 91 s.\ndemo: passed in 92 s\n== 3 passed in 2.00s ==\n") == "passed 92 s"
    assert demo_in("demo: FAILED after 7 s\n") == "FAILED 7 s"
    assert demo_in("$ tools/demo: passed in 3 s, they say\n") == ""


def test_each_run_is_a_row_and_columns_stand_below_each_other() -> None:
    versions = {"python3": "3.13.5", "libvirt-daemon": "11.3.0", "qemu-system-x86": "10.0.13", "ceph-common": "18.2.7"}
    counts = {"passed": 432, "failed": 17, "error": 1}
    runs = [
        Run(release="trixie", versions=versions, code=1, demo="passed 92 s", counts=counts, seconds=1230.0),
        Run(release="sid", versions={}, code=0, demo="", counts={"passed": 1, "failed": 0, "error": 0}, seconds=6.0),
    ]
    assert table(runs).splitlines() == [
        "STACK   PYTHON  LIBVIRT  QEMU     CEPH    DEMO         PASSED  FAILED  MINUTES  EXIT",
        "trixie  3.13.5  11.3.0   10.0.13  18.2.7  passed 92 s  432     18      20.5     1",
        "sid     -       -        -        -       -            1       0       0.1      0",
    ]
