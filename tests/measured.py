"""A pytest plugin of `make coverage`: child processes are measured, however they are started and ended.

coverage.py tells children by a variable to measure themselves. The stand-in, the official client's process and others start with
an allow-list of variables, which is right, and would go unseen; workers end by SIGKILL, before which they could not write what
they saw. A rehearsed notebook keeps its environment: from its sandbox nothing could be written here.
"""

import contextlib
import os
import subprocess

TOLD = "COVERAGE_PROCESS_CONFIG"
SANDBOXED = "KKB_SESSION_START"
PATIENCE_S = 10.0  # in which a child writes what it saw; one that hangs is killed after it

_start, _kill = subprocess.Popen.__init__, subprocess.Popen.kill


def _start_measured(self, *arguments, env=None, **keywords):
    if env is not None and TOLD in os.environ and SANDBOXED not in env:
        env = {**env, TOLD: os.environ[TOLD]}
    self.measured = TOLD in (os.environ if env is None else env)
    _start(self, *arguments, env=env, **keywords)


def _kill_measured(self):
    if self.measured and self.poll() is None:
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(PATIENCE_S)
    _kill(self)


subprocess.Popen.__init__, subprocess.Popen.kill = _start_measured, _kill_measured
