"""Every case of tests/cases for real: define, change, plan, apply, and a second plan with nothing left to do.

All domains are made and started at once; then each has a thread of its own.
"""

import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from support.casebook import Casebook, Chain, Said, Step, read_chains
from support.guests import Guest
from support.lab import LabHost
from support.sources import as_disk

CHAINS = read_chains()
CASES = [(chain.domain, number) for chain in CHAINS for number in range(len(chain.steps))]
AT_A_TIME = 6
NETWORK = "<network><name>{name}</name><bridge name='{bridge}'/></network>"


def step_of(case: tuple[str, int]) -> Step:
    [chain] = [chain for chain in CHAINS if chain.domain == case[0]]
    return chain.steps[case[1]]


@pytest.fixture(scope="module")
def said(golden: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Future[Said]]]]:
    """What came of every step, as it becomes known."""
    folder = tmp_path_factory.mktemp("cases")
    env = LabHost(name="kvm-1", folder=folder).env()
    stem = f"t{uuid.uuid4().hex[:10]}"
    words = {
        "NETWORK": f"{stem}-net",
        "OTHER_ISO": f"vms/{stem}.second",
        "ISO": f"vms/{stem}.iso",
        "GOLDEN": golden,
        "FILE": str(folder / "NAME.img"),
    }
    book = Casebook(env=env, folder=folder, words=words)
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        _make_world(book, stem)
        yield {chain.domain: _begin(book, chain, f"{stem}{chain.domain}", pool) for chain in CHAINS}
    finally:
        pool.shutdown(cancel_futures=True)
        _clear_world(book, stem)


def _make_world(book: Casebook, stem: str) -> None:
    network = book.folder / "network.xml"
    network.write_text(NETWORK.format(name=book.words["NETWORK"], bridge=f"vr{stem[-8:]}"))
    book.call("virsh", f"net-define {network}; net-start {book.words['NETWORK']}", must=True)
    for image in ("ISO", "OTHER_ISO"):
        book.call("rbd", "create", "--size", "1M", book.words[image], must=True)
    for chain in CHAINS:
        (book.folder / f"{stem}{chain.domain}.img").write_bytes(as_disk(bytes(1024**2)))
    files = [(chain.guest, book.write_spec(f"{stem}{chain.domain}", chain.spec)) for chain in CHAINS]
    book.call("virtrbd", "define", *[file for guest, file in files if guest == "off"], must=True)
    book.call("virtrbd", "define", "--start", *[file for guest, file in files if guest != "off"], must=True)


def _begin(book: Casebook, chain: Chain, name: str, pool: ThreadPoolExecutor) -> list["Future[Said]"]:
    """Begin a chain; its steps run one after the other in one thread."""
    futures: list[Future[Said]] = [Future() for _ in chain.steps]

    def run() -> None:
        try:
            if chain.guest == "system":
                guest = Guest(name=name, bus="virtio", env=dict(book.env))
                guest.open_console()
                guest.await_up(1, 120)
            for step, future in zip(chain.steps, futures, strict=True):
                future.set_result(book.run_step(name, step))
        except BaseException as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)

    pool.submit(run)
    return futures


def _clear_world(book: Casebook, stem: str) -> None:
    names = [name for name in book.call("virsh", "list", "--all", "--name").stdout.split() if name.startswith(stem)]
    for name in names:
        book.call("virsh", f"destroy {name}; undefine {name} --managed-save")
    book.call("virsh", f"net-destroy {book.words['NETWORK']}; net-undefine {book.words['NETWORK']}")
    for image in book.call("rbd", "ls", "vms").stdout.split():
        if image.startswith(stem):
            book.call("rbd", "rm", "--no-progress", f"vms/{image}")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {step_of(case).name}")
def test_case(case: tuple[str, int], said: dict[str, list["Future[Said]"]]) -> None:
    step, found = step_of(case), said[case[0]][case[1]].result()
    assert (found.plan, found.exit) == (step.plan, step.exit), found.log
    assert (found.apply, found.left) == (step.apply, step.left), found.log
    waits = step.apply or ": PENDING: " in found.log
    assert found.actions_left == () or waits, "what was done is done, unless a person or the guest has to help"
