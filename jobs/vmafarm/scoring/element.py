"""One element: works through its slices, scores their clips, and writes shards."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from vmafarm.common.errors import INCOMPLETE, IncompleteError, VmafarmError, explain, show
from vmafarm.common.say import say as say_aloud
from vmafarm.common.signals import hear_of_children
from vmafarm.config.clip_limits import Limits
from vmafarm.config.sections import Config
from vmafarm.config.workers import worker_count
from vmafarm.corpus.planned_set import keeps_frames, measured_set
from vmafarm.corpus.squashfs import require_folder
from vmafarm.engines import make_engine
from vmafarm.process.node import image_digest, job_label, node_name, task_of, visible_gpus, writer_name
from vmafarm.process.run import Stop, Stopped, die_with
from vmafarm.process.scratch import scratch_folder
from vmafarm.process.usage import UsageMeter
from vmafarm.run_folder.broken_nodes import NodeBrokenError, mark_broken, on_this_node
from vmafarm.run_folder.element_records import OUT_OF_TIME, ElementLog, ElementResult
from vmafarm.run_folder.failure_log import FailureLog
from vmafarm.run_folder.failures import ENGINE_FAULTS, WRONG_CONSTANT, FailureRecord
from vmafarm.run_folder.manifest import load_slices
from vmafarm.run_folder.submissions import ELSEWHERE, LAST_LOOK
from vmafarm.scoring.attempts import Attempts, Outcome
from vmafarm.scoring.audit import make_auditor
from vmafarm.scoring.clip import Clip
from vmafarm.scoring.deadline import Deadline, elapsed_seconds, ignore_early_notice, signals_set, watch
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.scoring.extract import Scorer
from vmafarm.scoring.origin import freeze_for_run, provenance_of
from vmafarm.scoring.probing import probed_on
from vmafarm.scoring.todo import check_visible, find_todo, hand_on_audit, take_sample
from vmafarm.shards.writer import ShardWriter


def run_element(spec: ElementSpec, examine: Callable[[Config], None] | None = None) -> ElementResult:
    """Work through the slices; errors of this package are in the result and never raised.

    Parameters
    ----------
    spec
        The work.
    examine
        Checks everything on this node before the first clip of a canary, and raises what failed.

    Returns
    -------
    ElementResult
    """
    for name, value in spec.environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    stop = Stop()
    hear_of_children()
    if not spec.launcher:
        ignore_early_notice()
    with signals_set(stop):
        if spec.launcher:
            die_with(os.getppid())
            watch(spec.launcher, stop)
        element = _Element(spec, stop, examine)
        try:
            element.run()
        except Stopped:
            pass
        except (VmafarmError, OSError, MemoryError) as error:
            return element.end(explain(error))
        return element.end()


class _Element:
    def __init__(
        self, spec: ElementSpec, stop: Stop, examine: Callable[[Config], None] | None = None
    ) -> None:
        self._spec, self._stop, self._examine = spec, stop, examine
        self._config = Config.model_validate(spec.config)
        self._folder = self._config.folder
        self._host = node_name(os.environ)
        self._writer = writer_name(job_label(os.environ, spec.job), self._host)
        self._limits = Limits.of(self._config.extract)
        self._before = elapsed_seconds(os.environ)
        self._started = time.monotonic()
        self._deadline = Deadline(spec.minutes, self._before)
        self._log: ElementLog | None = None
        self._meter: UsageMeter | None = None
        self._began = self._ended = 0.0
        self._shards: dict[int, ShardWriter] = {}
        self._failures = FailureLog(self._folder, self._writer)
        self._done = 0
        self._failed: Counter[str] = Counter()
        self._in_a_row = 0
        self._remaining: Counter[int] = Counter()
        self._left_out: dict[str, str] = {}

    def end(self, error: VmafarmError | None = None) -> ElementResult:
        """The result; also written to disk for status and the next submission."""
        out_of_time = self._deadline.refused and any(self._remaining.values())
        exit_code = INCOMPLETE if self._stop.is_set() or out_of_time else 0
        message = OUT_OF_TIME if out_of_time else ""
        hint = ""
        if error is not None:
            exit_code, message, hint = error.exit_code, error.message, error.hint
        result = ElementResult(
            self._done, dict(self._failed), self._stop.is_set(), exit_code, message, hint,
            tuple(f"GPU {gpu}: {why}" for gpu, why in self._left_out.items()),
        )  # fmt: skip
        try:
            if self._log is not None:
                elapsed = self._before + time.monotonic() - self._started
                usage = self._meter.end() if self._meter else None
                self._log.end(result, self._ended - self._began, elapsed, usage)
            if isinstance(error, NodeBrokenError) and "SLURM_JOB_ID" in os.environ:
                mark_broken(self._folder, self._host, message)
        except VmafarmError as unwritten:
            if error is None:  # otherwise the cause, say a full disk, is already known
                result = replace(
                    result, exit_code=unwritten.exit_code, message=unwritten.message, hint=unwritten.hint
                )
        return result

    def run(self) -> None:
        extract, section, spec = self._config.extract, self._config.engine, self._spec
        manifest = load_slices(self._folder, spec.slices, spec.manifest)
        todo = find_todo(self._folder, self._config, manifest, spec.slices, spec.share, self._host)
        todo = take_sample(todo, spec.limit) if spec.limit else todo
        if not todo:
            return
        self._log = ElementLog(
            self._folder, self._writer,
            *task_of(os.environ, spec.job, spec.tasks, self._config.slurm.cluster),
            self._host, spec.slices, len(todo), image_digest(os.environ),
        )  # fmt: skip
        gpus = visible_gpus(os.environ) if section.backend == "cuda" else []
        self._meter = UsageMeter(os.environ.get("SLURM_JOB_ID", ""), gpus)
        with ExitStack() as stack:
            with on_this_node():
                if self._spec.canary and self._examine is not None:
                    self._examine(self._config)
                clips = Path(self._config.corpus.clips)
                require_folder(clips)
                check_visible(todo, clips, manifest.examples)
                scratch = stack.enter_context(scratch_folder(extract.scratch))
                engine = make_engine(section, self._limits, measured_set(self._config))
                engine, gpus, failed = probed_on(engine, gpus, scratch, self._stop)
                self._leave_out(failed)
                is_audited = engine.is_audited and any(clip.audited for clip in todo)
                auditor = make_auditor(section, engine, scratch, self._stop) if is_audited else None
            self._provenance = provenance_of(engine, manifest)
            freeze_for_run(self._folder, self._provenance, manifest)
            self._frames = keeps_frames(self._config)  # no plan may change it from here on
            workers = worker_count(extract.workers, section.threads, len(gpus))
            attempts = Attempts(
                Scorer(engine, scratch, self._stop, extract.timeout, auditor, self._frames), workers,
                extract.retries + 1, gpus, decides=self._spec.share == LAST_LOOK, leave_out=self._leave_out,
            )  # fmt: skip
            self._remaining = Counter(clip.slice for clip in todo)
            self._log.work_begins(attempts.at_once, self._config.engine.threads)
            self._began = self._ended = time.monotonic()
            try:
                waiting = deque(todo)
                with closing(self._outcomes(attempts, waiting)) as outcomes:
                    for outcome in outcomes:
                        self._take(outcome)
                        hand_on_audit(outcome, waiting)
                        self._remaining[outcome.clip.slice] -= 1
                        if not self._remaining[outcome.clip.slice]:
                            self._close(outcome.clip.slice)
            finally:
                self._close_all()

    def _leave_out(self, gpus: Mapping[str, str]) -> None:
        """Note GPUs that fail alone, with the reason, for the log and the record."""
        for gpu, why in gpus.items():
            self._left_out[gpu] = why
            say_aloud(f"GPU {gpu} is left out, the others go on: {why}")

    def _outcomes(self, attempts: Attempts, todo: deque[Clip]) -> Generator[Outcome, None, None]:
        """Work on a few clips at once; when this returns, none is in progress."""
        pool = ThreadPoolExecutor(attempts.at_once, thread_name_prefix="clip")
        working: set[Future[Outcome]] = set()
        try:
            while True:
                while len(working) < attempts.at_once and self._takes_another(todo):
                    working.add(pool.submit(attempts.run, todo.popleft()))
                if not working:
                    return
                # With a timeout, because signal handlers run only between two waits.
                finished, working = wait(working, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in finished:
                    with suppress(Stopped):
                        with on_this_node():
                            outcome = future.result()
                        yield outcome
        except BaseException:
            self._stop.set()  # the others stop at once; this error is the one to report
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _takes_another(self, todo: deque[Clip]) -> bool:
        return bool(todo) and not self._stop.is_set() and self._deadline.allows_another(todo[0].audited)

    def _take(self, outcome: Outcome) -> None:
        clip = outcome.clip
        self._ended = time.monotonic()
        self._deadline.note(outcome.seconds, clip.audited)
        for attempt, failed in outcome.failures:
            record = FailureRecord(
                clip.name, failed.failure, failed.message, failed.stderr, attempt,
                clip.slice, self._host, self._writer, datetime.now(UTC).isoformat(),
                failed.limit, self._limits.as_dict().get(failed.limit, 0),
            )  # fmt: skip
            self._failures.append(record)
        if outcome.extracted is None:
            self._count_failure(outcome)
            return
        extracted = outcome.extracted
        entry = {
            "clip_name": clip.name,
            **extracted.log_entry(),
            "attempts": len(outcome.failures) + 1,
            "host": self._host,
            "engine": self._provenance.engine,
            "writer": self._writer,
            "slice": clip.slice,
            "finished_at": datetime.now(UTC),
        }
        self._shard(clip.slice).append(extracted.row, entry, extracted.values)
        self._done += 1
        engine = self._config.engine
        # A GPU's audit took the CPU's time, which says nothing about the other plan on the GPU.
        comparable = extracted.audit == "equal" and engine.plan == "full" and engine.backend == "cpu"
        if comparable and self._log is not None:
            decoding = extracted.seconds_decoding
            self._log.compare_plans(
                decoding + extracted.seconds_scoring, decoding + extracted.seconds_other_plan
            )
        self._count_in_a_row(outcome, fails=extracted.backend != self._provenance.backend)

    def _count_failure(self, outcome: Outcome) -> None:
        failed = outcome.failures[-1][1]
        self._failed[failed.failure] += 1
        if failed.failure == WRONG_CONSTANT:
            # Not a NodeBrokenError: another node has the same engine and would fill in the same values.
            raise IncompleteError(
                "a constant that the plan identity fills in differs from its measured value: "
                f"{show(outcome.clip.name)}: {failed.message}",
                'measure all features: plan another run with engine.plan = "full"',
            )
        self._count_in_a_row(outcome, fails=failed.failure in ENGINE_FAULTS)

    def _count_in_a_row(self, outcome: Outcome, *, fails: bool) -> None:
        """Count clips that the engine, or its GPU, fails on; too many in a row are the node's fault."""
        if self._spec.share in (ELSEWHERE, LAST_LOOK):  # all of them are suspects
            return
        self._in_a_row = self._in_a_row + 1 if fails else 0
        # After each failure the engine scored the built-in clip (see `Attempts`), so these clips are suspects
        # that another host will try. With this many, the node itself is at fault.
        if self._in_a_row >= self._config.extract.max_engine_failures:
            failed = outcome.failures[-1][1]
            raise EngineBrokenError(
                f"{self._in_a_row} engine failures in a row although the engine scores a built-in clip, the "
                f"last one on {show(outcome.clip.name)}: {failed.message}",
                f"their records are in {self._folder.failures}; repair the engine, or publish the table "
                "without these clips: vmafarm merge --allow-missing",
            )

    def _shard(self, slice_id: int) -> ShardWriter:
        if slice_id not in self._shards:
            place, every = (self._folder, slice_id, self._writer), self._config.extract.flush_every
            self._shards[slice_id] = ShardWriter(*place, self._provenance, every, frames=self._frames)
        return self._shards[slice_id]

    def _close(self, slice_id: int) -> None:
        self._failures.close_slice(slice_id)
        shard = self._shards.pop(slice_id, None)
        if shard is not None:
            shard.close()

    def _close_all(self) -> None:
        # If the disk is full, the rows are in the journals and the error is already being raised.
        for slice_id in list(self._shards):
            with suppress(VmafarmError):
                self._close(slice_id)
        self._failures.close()


class EngineBrokenError(NodeBrokenError):
    """The engine fails on this machine with every clip (exit status 3)."""
