"""Run commands in processes that die: start once and fork for each run, so that a run costs no import.

A line of JSON on stdin names the commands and how they end; a line of JSON on stdout has their results. It is a
separate program, because a process that forks must have only one thread.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import resource
import signal
import sys
import time
import traceback

WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link", "os.symlink"}


def inside(path, root):
    if path is None or isinstance(path, int):
        return False
    return os.path.abspath(os.fsdecode(path)).startswith(root)  # noqa: PTH100  resolving would read links


def changes_files(event, arguments, root):
    """Whether an audit event is a change of the project's folder."""
    if event != "open" and event not in WRITES:
        return False
    if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return False
    return inside(arguments[0], root)


def prepare(job, root):
    """Make the process die, or a change of the folder fail, at the n-th change; report their number.

    ``slow`` is the number of seconds that opening and flushing each file of the folder takes.
    """
    changes = 0

    def watch(event, arguments):
        nonlocal changes
        if "slow" in job and event == "open" and inside(arguments[0], root):
            time.sleep(job["slow"])
        if not changes_files(event, arguments, root):
            return
        changes += 1
        if changes == job.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if changes == job.get("fail_at"):
            number = getattr(errno, job["error"])
            raise OSError(number, os.strerror(number), str(arguments[0]))

    sys.addaudithook(watch)
    if "slow" in job:
        flush = os.fsync
        os.fsync = lambda handle: (time.sleep(job["slow"]), flush(handle))
    if "largest_file" in job:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], resource.RLIM_INFINITY))
    return lambda: changes


def disk_faults(job, root):
    """Make the disk fail as in the job; return the counters of operations and failures."""
    if "DISK_FAULTS" not in os.environ:
        return lambda: (0, 0)
    library = ctypes.CDLL(os.environ["DISK_FAULTS"])
    library.disk_faults_begin(root.encode(), job.get("disk_fault_at", 0), job.get("disk_fault", 0))
    return lambda: (library.disk_faults_count(), library.disk_faults_fired())


def run_command(job, tell):
    """Run the command in this process, then end the process."""
    os.chdir(job["folder"])
    root = os.path.realpath(job["folder"])
    changes = prepare(job, root)
    operations = disk_faults(job, root)
    from tracinctl.cli.app import app
    from tracinctl.cli.base import run

    code = run(app, job["arguments"])
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(tell, json.dumps([changes(), *operations()]).encode())
    os._exit(code)


def start(job):
    """Fork a process for the command: its number, the pipe with its count of changes, and its output."""
    heard, tell = os.pipe()
    said, say = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.dup2(say, 1)
            os.dup2(say, 2)
            os.close(say)
            sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115  a pipe has no path
            sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115
            run_command(job, tell)
        finally:
            traceback.print_exc()
            os._exit(99)
    os.close(tell)
    os.close(say)
    return child, heard, said


def ended(child, heard, said, begun):
    """The result of a process."""
    _, status = os.waitpid(child, 0)
    answer = {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - begun}
    with open(heard, encoding="utf-8") as file:  # noqa: PTH123  a pipe has no path
        answer["changes"], answer["operations"], answer["failures"] = json.loads(file.read() or "[0, 0, 0]")
    with open(said, encoding="utf-8") as file:  # noqa: PTH123
        answer["said"] = file.read()
    return answer


def main():
    """Answer until the input ends; jobs in one line run side by side."""
    warm()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        jobs = json.loads(line)
        begun = time.monotonic()
        running = [start(job) for job in jobs]
        for job, (child, *_) in zip(jobs, running, strict=True):
            if "kill_after" in job:
                time.sleep(max(0, begun + job["kill_after"] - time.monotonic()))
                os.kill(child, signal.SIGKILL)
        sys.stdout.write(json.dumps([ended(*run, begun) for run in running]) + "\n")
        sys.stdout.flush()


def warm():
    """Import the commands' modules, and make the demo as small as possible."""
    import torch

    from tracinctl.demo import make as demo

    torch.set_num_threads(1)
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.sum().backward()
    torch.optim.Adam([weight]).step()
    demo.DemoSize = functools.partial(demo.DemoSize, takes=(5, 2), comparisons=60, flipped=0.25, misfiled=1, epochs=2)


if __name__ == "__main__":
    main()
