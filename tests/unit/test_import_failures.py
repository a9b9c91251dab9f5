"""A file that cannot be imported fails its own disks: the others are looked at."""

import gzip
from pathlib import Path

from support.sources import as_disk

from virtrbd.engine.spec_files import file_sizes
from virtrbd.errors import ExitCode
from virtrbd.model.import_file import ImportFile
from virtrbd.model.settings import ImportSettings, Settings


def test_a_file_that_meets_a_bug_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(as_disk(bytes(4096)))
    (tmp_path / "disk.gz").write_bytes(gzip.compress(as_disk(bytes(4096))))
    packed, plain = (ImportFile(name=str(tmp_path / name)) for name in ("disk.gz", "disk.raw"))
    # No folder has such a name, and only what is packed needs one.
    settings = Settings(host="here", imports=ImportSettings(cache_dir="/no\0folder"))
    sizes, failures = file_sizes([packed, plain], settings)
    assert sizes == {plain: 4096}
    assert failures[packed].exit_code is ExitCode.BUG
    assert failures[packed].text.startswith(f"looking at {tmp_path}/disk.gz: virtrbd cannot handle this (ValueError)")
