"""Tasks of a job: done whole or not at all, found done again, by this process or by several."""

from promptseg.work.executors import Executor, Inline, Processes, Threads
from promptseg.work.late import await_results, looks
from promptseg.work.run import Failure, Outcome, Tally, run, stream
from promptseg.work.shards import WHOLE, Shard
from promptseg.work.task import Staged, Task, as_json, request_hash

__all__ = [
    "WHOLE",
    "Executor",
    "Failure",
    "Inline",
    "Outcome",
    "Processes",
    "Shard",
    "Staged",
    "Tally",
    "Task",
    "Threads",
    "as_json",
    "await_results",
    "looks",
    "request_hash",
    "run",
    "stream",
]
