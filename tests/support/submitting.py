"""What tests of submissions share."""

from __future__ import annotations

import pytest
from support.fake_slurm import name_of

from vmafarm.common.errors import VmafarmError
from vmafarm.run_folder.submissions import read_submissions


def queued(run, *slices, job="11", state="RUNNING"):
    """Elements of the first array in the queue."""
    numbers = read_submissions(run.folder)[0].slices
    return [(name_of(run), f"{job}|{job}|{numbers.index(n)}|{state}|None|node1") for n in slices]


def slices_of(cluster, job, count):
    """What the elements of an array will find."""
    specs = cluster.specs(job)
    assert len(specs) == count
    return [number for spec in specs for number in spec.slices]


def refusal(kind, call, *arguments, **options):
    with pytest.raises(VmafarmError) as caught:
        call(*arguments, **options)
    assert type(caught.value) is kind
    return caught.value
