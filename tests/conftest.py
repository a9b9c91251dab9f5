"""What all tests share."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, Phase, settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="Write tests/golden anew; review it with git diff.")
    parser.addoption("--explore", action="store_true", help="Draw new examples for hypothesis, not the known ones.")
    parser.addoption("--laws-examples", type=int, default=140, help="Examples of each of the planner's laws.")
    parser.addoption("--soak-cycles", type=int, default=200, help="Cycles of edits by hand and reconciles.")
    parser.addoption("--soak-seed", type=int, default=7, help="What the edits are drawn from; 0 draws that too.")


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts the tests in the background has Ctrl-C ignored, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Like Ctrl-C, so that fixtures take down what they brought up; nohup has SIGHUP ignored, and so it stays.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    # The same examples in every run, so that a red one is the change's fault; --explore draws new ones. No example has
    # a limit of time: how long it takes is the machine's affair.
    settings.register_profile("default", derandomize=not config.getoption("--explore"), deadline=None)
    settings.load_profile("default")
    settings.register_profile(
        "laws",
        derandomize=not config.getoption("--explore"),
        max_examples=config.getoption("--laws-examples"),
        deadline=None,
        # Explaining a failure takes longer than finding it.
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Once: what is taken down now takes its time.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without anything remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def virtrbd(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own, away from any settings, in an empty folder."""

    def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        settings = tmp_path / "settings.yaml"
        if not settings.exists():
            settings.write_text(f"host: kvm-1\nstate_dir: {tmp_path}/state\nceph:\n  conf: {tmp_path}/ceph.conf\n")
        return subprocess.run(
            [sys.executable, "-m", "virtrbd", *words],
            env={**os.environ, "VIRTRBD_CONFIG": str(settings), **(env or {})},
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50,
        )  # fmt: skip

    return run
