"""Tasks of a job: done whole or not at all, found done again, by this process or by several."""

from promptseg.work.executors import Executor, Inline, Processes, Threads
from promptseg.work.late import Watched, await_results
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
    "Watched",
    "as_json",
    "await_results",
    "request_hash",
    "run",
    "stream",
]
