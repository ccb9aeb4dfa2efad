"""Read by every Python process that finds this folder in PYTHONPATH: installs the faults asked for."""

import os

if "VMAFARM_FAULTS" in os.environ:
    from crash.faults import Faults, install

    install(Faults.from_json(os.environ["VMAFARM_FAULTS"]))
