"""Elements that ran another image than the one that was submitted."""

from __future__ import annotations

from collections.abc import Iterable

from vmafarm.common.errors import show
from vmafarm.common.text import counted
from vmafarm.run_folder.element_records import ElementRecord
from vmafarm.run_folder.submissions import Submission


def tell_other_images(submissions: Iterable[Submission], records: Iterable[ElementRecord]) -> str:
    """Say how many elements ran another image than their submission's; empty: none did, as far as known."""
    submitted = {job: one.image_digest for one in submissions for job in one.jobs() if one.image_digest}
    others = [
        record
        for record in records
        if record.image_digest and record.image_digest != submitted.get(record.job, record.image_digest)
    ]
    if not others:
        return ""
    last = others[-1]
    ran, expected = last.image_digest[:19], submitted[last.job][:19]
    return (
        f"{counted(len(others), 'element')} ran another image than the submitted one, the last on "
        f"{show(last.node)}: {ran}..., expected {expected}...: was it replaced meanwhile?"
    )
