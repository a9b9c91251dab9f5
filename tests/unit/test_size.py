import pytest

from virtrbd.model.size import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("20G", 20 * 1024**3), ("512 MiB", 512 * 1024**2), ("1.5T", 3 * 1024**4 // 2), ("4k", 4096)],
)
def test_reads_sizes_in_powers_of_1024(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["20", "20GB", "-1G", "", "0", "1.0000001K", "G", "8192P"])
def test_refuses_what_tools_read_differently(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|whole|larger"):
        parse_size(text)


def test_prints_what_it_reads() -> None:
    assert format_size(parse_size("20G")) == "20 GiB"
    assert format_size(1536 * 1024**2) == "1.5 GiB"
