"""Where the process of an element or of the merge begins.

``python -m vmafarm.start FILE SHA256 [INDEX RESULT]``, see `vmafarm.scoring.handover`. Within SLURM the index
is the job's own; on this machine it follows, with the file that the result goes to.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # else one per processor, for nothing

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from vmafarm.common.errors import VmafarmError
from vmafarm.common.say import say, say_aside
from vmafarm.config.sections import Config
from vmafarm.disk.writers import make_nothing_for_all
from vmafarm.process.node import element_index, job_label, node_name
from vmafarm.scoring.element import run_element
from vmafarm.scoring.handover import as_spec, read_work, require_own_log, write_result


def main() -> None:
    """Do the work that the command line names; ends the process."""
    make_nothing_for_all()
    path, digest, *local = sys.argv[1:]
    label = job_label(os.environ, "on this machine")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        require_own_log(Path(path).parent)
        say(f"=== vmafarm starts: {label}, {node_name(os.environ)}, {at}")
        work = read_work(Path(path), digest)
        if "merge" in work:
            from vmafarm.publish import merge_on_node  # an element needs none of it

            merge_on_node(work["merge"])
            return
        count = len(work["elements"])
        index = int(local[0]) if local else element_index(os.environ, as_spec(work, 0).tasks)
        if index >= count:
            say(f"this node has no element: the job has nodes for more than the last of {count:,} elements")
            return
        spec = as_spec(work, index)
        result = run_element(spec, _examine if spec.canary else None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it has ended in order, and may be asked to once more
        if local:
            write_result(Path(local[1]), result)
    except VmafarmError as error:
        say_aside(str(error))
        sys.exit(error.exit_code)


def _examine(config: Config) -> None:
    from vmafarm.doctor.preflight import examine_node  # a canary alone needs it

    examine_node(config)


if __name__ == "__main__":
    main()
