"""Starts the program as a user does, alone or on ranks, and ends what hangs. For the tests of this folder. Standard library only."""
import os
import signal
import subprocess

# As the CMake file sets it for ctest (cmake/Rooms.cmake says why); here too for tests that are started by hand.
SURROUNDINGS = {"OMP_NUM_THREADS": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_pml": "ob1"}


def flags(settings):
    """{"a.b": 1} -> ["--set", "a.b=1"]."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def dotted(changes):
    """Keyword arguments cannot hold points: optimize__beta is optimize.beta."""
    return {key.replace("__", "."): value for key, value in changes.items()}


class Launcher:
    def __init__(self, program, project, limit):
        self.program, self.project, self.limit = program, project, limit  # limit: seconds; a start that takes longer hangs

    def start(self, words, ranks=0, **environment):
        """`ranks` 0: without mpirun. The processes form a group of their own, so that all of them can be killed."""
        command = [self.project / "launch/mpirun", "-n", ranks] if ranks else []
        surroundings = {**os.environ, **SURROUNDINGS, **environment}
        return subprocess.Popen([str(word) for word in [*command, self.program, *words]], env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def finish(self, process):
        """Exit code and output."""
        try:
            text, _ = process.communicate(timeout=self.limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            text, _ = process.communicate()
            raise AssertionError(f"hangs for {self.limit} s:\n{text}")
        return process.returncode, text

    def outcome(self, words, ranks=0, **environment):
        return self.finish(self.start(words, ranks, **environment))

    def run(self, words, ranks=0, expect=0, **environment):
        """Output of a start that ends with exit code `expect`."""
        code, text = self.outcome(words, ranks, **environment)
        if code != expect:
            raise AssertionError(f"exit code {code}, expected {expect}:\n{text}")
        return text
