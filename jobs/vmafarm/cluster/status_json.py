"""A status as JSON: docs/json.md says what each field is, and tests/whole/test_json.py compares them."""

from __future__ import annotations

from typing import Any

from vmafarm.cluster.status import Status


def as_document(status: Status) -> dict[str, Any]:
    """What ``vmafarm status --json`` prints."""
    between, merge = status.seconds_left_between, status.merge
    return {
        "version": 1,
        "run": status.run,
        "at": status.at,
        "clips": status.clips,
        "done": status.done,
        "failed_for_good": status.failed_for_good,
        "missing": status.missing,
        "tried": status.tried,
        "waiting": status.waiting,
        "published": status.published,
        "errors": list(status.errors),
        "slices": dict(status.slices),
        "states": status.states,
        "missing_slices": status.missing_slices,
        "working": status.working,
        "clips_per_second": status.clips_per_second,
        "seconds_left": status.seconds_left,
        "seconds_left_between": between and {"low": between[0], "high": between[1]},
        "failures": {
            name: {"count": count, "message": message} for name, (count, message) in status.failures.items()
        },
        "elements": dict(status.elements),
        "messages": [{"count": count, "message": message} for count, message in status.messages],
        "broken_nodes": [
            {"node": broken.node, "message": broken.message, "at": broken.at}
            for broken in status.broken_nodes
        ],
        "pending": [
            {"reason": one.reason, "count": one.count, "jobs": list(one.jobs), "hint": one.hint}
            for one in status.pending
        ],
        "merge": merge
        and {
            "job": merge.job,
            "state": merge.state,
            "published": merge.published,
            "reasons": list(merge.reasons),
        },
        "at_work": status.at_work
        and {
            "host": status.at_work.host,
            "process": status.at_work.identity.process,
            "user": status.at_work.user,
            "since": status.at_work.since,
        },
        "notes": list(status.notes),
        "remarks": {
            kind: {"clips": remark.clips, "examples": list(remark.examples)}
            for kind, remark in status.remarks.items()
        },
    }
