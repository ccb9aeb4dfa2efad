"""Which tests run on the cluster that is up, and what they share."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_site import CLIPS, Site
from real_slurm import (
    CHECKOUT,
    IMAGES,
    SLURM_CONF,
    Daemons,
    Facts,
    as_user,
    ask_facts,
    give_to_user,
)
from support.command import table

from vmafarm.process import toolkit

HERE = Path(__file__).parent
HAVE_IMAGES = "VMAFARM_IMAGES" in os.environ
HAVE_CLUSTER = HAVE_IMAGES and bool(SLURM_CONF)
FACTS = pytest.StashKey[Facts]()
NEEDED = "needs a real SLURM and Apptainer: SLURM_CONF, VMAFARM_IMAGES; see tests/real_cluster/README.md"
USUAL = {"gpus": True, "small_arrays": False, "whole_nodes": False}
"""Where a test runs that asks for nothing else."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "cluster(accounting, gpus, small_arrays, whole_nodes): the kind of cluster that this test is for",
    )
    config.addinivalue_line("markers", "disturbed: also worth it on a cluster that keeps no accounts")
    config.addinivalue_line("markers", "alone: no other test may use the cluster at the same time")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests for a kind of cluster other than the running one."""
    own = [item for item in items if item.path.is_relative_to(HERE)]
    if HAVE_IMAGES and own:
        _check_images()
    if not HAVE_CLUSTER:
        for item in own:
            item.add_marker(pytest.mark.skip(reason=NEEDED))
    if not HAVE_CLUSTER or not own:
        return
    config.stash[FACTS] = ask_facts()  # now, while no test ends any daemon
    facts = vars(config.stash[FACTS])
    left_out = [
        item for item in own
        if any(facts[name] != value for name, value in (USUAL | _wanted(item)).items())
    ]  # fmt: skip
    items[:] = [item for item in items if item not in left_out]
    items.sort(key=_is_alone)  # those come last, so that the others need not wait for them
    config.hook.pytest_deselected(items=left_out)


def _is_alone(item: pytest.Item) -> bool:
    return "daemons" in getattr(item, "fixturenames", ()) or item.get_closest_marker("alone") is not None


def _wanted(item: pytest.Item) -> dict[str, bool]:
    mark = item.get_closest_marker("cluster")
    return dict(mark.kwargs) if mark else {}


def _check_images() -> None:
    said = as_user(
        CHECKOUT / ".venv/bin/python", "-c", "from vmafarm.process.toolkit import version; print(version())"
    )
    if said.stdout.strip() != toolkit.version():
        raise pytest.UsageError(
            f"{IMAGES} holds images of {said.stdout.strip() or said.stderr}, this is {toolkit.version()}: "
            "run tests/real_cluster/images again"
        )


@pytest.fixture(autouse=True)
def _turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give tests that stop daemons or need all nodes the cluster to themselves, among pytest processes."""
    if not HAVE_IMAGES:
        yield
        return
    with (IMAGES / ".turn").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if _is_alone(request.node) else fcntl.LOCK_SH)
        yield


@pytest.fixture
def shared() -> Iterator[Path]:
    """A new folder that the ordinary user can read and write."""
    folder = IMAGES / f"test-{os.getpid()}"
    folder.mkdir()
    give_to_user(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def facts(site: Site, pytestconfig: pytest.Config) -> Facts:
    """What the cluster that is up has."""
    return pytestconfig.stash[FACTS]


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A working folder with a corpus; on disk for as long as the tests take."""
    folder = IMAGES / f"site-{os.getpid()}"
    folder.mkdir()
    made = Site(folder)
    yield made
    made.cancel_all()
    shutil.rmtree(folder, ignore_errors=True)  # behind a broken network an element may live on


@pytest.fixture(scope="session")
def expected(site: Site) -> bytes:
    """The table of the same clips from this machine, without SLURM and without an image."""
    site.vmafarm("run", "here")
    rows = {repr(list(row.values())[1:]) for row in table(site.table("here")).drop_columns("mos").to_pylist()}
    assert len(rows) == CLIPS, "two clips have the same features: swapping them would not show"
    return site.table("here").read_bytes()


@pytest.fixture
def daemons(site: Site, _turn: None) -> Iterator[Daemons]:
    """Power over the cluster's nodes; all of them serve again afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it ends nodes and daemons of the cluster, and starts them again")
    there = Daemons()
    yield there
    there.restore()
