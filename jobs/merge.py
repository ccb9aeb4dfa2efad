"""The merge: all shards of a run to one validated table, or the reasons why not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from jobs import durable, merge_checks, sql
from jobs.config import Config
from jobs.errors import IncompleteError, UnavailableError, UsageError, VmafarmError, show
from jobs.failures import FailureRecord, read_failures, set_aside
from jobs.merge_inputs import (
    MOVE_AWAY,
    SHOWN,
    Finding,
    Listing,
    check_footers,
    examples,
    list_shards,
    unreadable,
)
from jobs.merge_journals import Recovered, choose_latest, read_finished, read_hosts, recover
from jobs.merge_table import NullFoundError, temporary_beside, write_table
from jobs.provenance import METADATA_KEY, Provenance
from jobs.run_folder import RunFolder
from jobs.schema import COLUMNS, KEY_COLUMNS

DUPLICATE_TOLERANCE = 1e-6
"""Rows of one clip whose values differ by no more are the same row."""
