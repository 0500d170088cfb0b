"""Every error a user can cause, and the exit code it ends the program with.

    VirembedError
    ├── UsageError        2   options that do not go together
    ├── InputError        3   sample sheet, FASTA or FASTQ
    │   └── CombinedInputError       several of them, shown one a line
    ├── WeightsError      4   model weights: missing, damaged, of another model
    ├── DeviceError       5   a GPU was asked for and is not there, or has no fp8
    ├── MemoryLimitError  6   one sequence is too long for the memory at hand
    ├── IncompleteError   7   shards or results: missing, doubled, damaged, inconsistent
    └── TransientError   75   worth another try as it is (the pipeline retries it)

A message is one line: what is wrong, where (file, line, record), the cause, then the remedy.
What only we can cause is an `assert`.
"""

from __future__ import annotations


class VirembedError(Exception):
    """An error with place and remedy; shown as one line, never as a traceback."""

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy}" if self.remedy else self.problem

    def __reduce__(self) -> tuple[type[VirembedError], tuple[str, str]]:
        # the default would lose the remedy on the way from a worker process
        return type(self), (self.problem, self.remedy)


class UsageError(VirembedError):
    exit_code = 2


class InputError(VirembedError):
    exit_code = 3


class WeightsError(VirembedError):
    exit_code = 4


class DeviceError(VirembedError):
    exit_code = 5


class MemoryLimitError(VirembedError):
    exit_code = 6


class IncompleteError(VirembedError):
    exit_code = 7


class TransientError(VirembedError):
    exit_code = 75


class CombinedInputError(InputError):
    """Several input errors found in one go, so that all can be mended at once."""

    def __init__(self, problems: list[InputError]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
