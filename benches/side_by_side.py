"""Comparing two ways of doing the same thing: in turn (A B A B …), and by the median of the ratios A/B, since on a noisy
machine single times mean little. CPU and memory are those of the whole process, as the kernel accounts for them."""

import os
import platform
import pwd
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = int(os.environ.get("ROUNDS", "3"))
RELEASE = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", "target") + "/release")
LIFEBOAT = RELEASE + "/lifeboat"
FIGURES = {"wall": 0, "cpu": 1, "memory": 2}


def run(command, may_fail=False, **options):
    """Runs a command, which may end with findings (exit code 1) if `may_fail`; returns wall seconds, CPU seconds, peak MiB and what it printed."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode > may_fail or process.returncode < 0:
        sys.exit(f"{command} failed with {process.returncode}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, printed


def timed(work):
    """Wall seconds of a function, in the form of `run`."""
    began = time.monotonic()
    work()
    return time.monotonic() - began, 0, 0, b""


def heading(what):
    print(f"\n{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.machine()}, {what}\n")
    print("| what, against what | figure | ours | theirs | ratio | target |\n|---|---|---|---|---|---|", flush=True)


def compare(title, ours, theirs, figures=("wall",), target="", before=None):
    """Runs both in turn and prints the medians of the named figures and of their ratios. `before` each: `before()`."""
    def one(way):
        if before:
            before()
        return way()

    pairs = [(one(ours), one(theirs)) for _ in range(ROUNDS)]
    for figure in figures:
        at = FIGURES[figure]
        ratio = statistics.median(a[at] / b[at] for a, b in pairs)
        medians = [statistics.median(side[at] for side in sides) for sides in zip(*pairs)]
        print(f"| {title} | {figure} | {medians[0]:.3f} | {medians[1]:.3f} | {ratio:.3f} | {target} |", flush=True)


class Cluster:
    """A PostgreSQL server of its own, in a directory of its own. Servers refuse to run as root."""

    def __init__(self, directory, settings=()):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        self.bin = (found[-1] if found else Path(shutil.which("initdb"))).parent
        self.user = pwd.getpwnam("postgres").pw_uid if os.getuid() == 0 else None
        self.data, self.settings = Path(directory) / "data", settings
        os.makedirs(directory, exist_ok=True)
        if self.user:
            os.chown(directory, self.user, -1)
        self.port = 40_000 + os.getpid() % 20_000
        self.ctl("initdb", "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def ctl(self, program, *arguments):
        options = {"user": self.user, "cwd": self.data.parent} if self.user else {}
        command = [str(self.bin / program), "-D", str(self.data), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)

    def start(self):
        settings = [f"-p {self.port}", "-c listen_addresses=127.0.0.1", "-c unix_socket_directories=", "-c fsync=off"]
        settings += [f"-c {setting}" for setting in self.settings]
        self.ctl("pg_ctl", "-w", "-l", str(self.data.parent / "log"), "-o", " ".join(settings), "start")

    def stop(self):
        self.ctl("pg_ctl", "-w", "-m", "fast", "stop")

    def url(self, database="bench"):
        return f"postgresql://bench@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def psql(self, sql, database="bench"):
        return run(["psql", "-XAtq", "-d", self.url(database)], stdin=self.piped(sql))

    @staticmethod
    def piped(text):
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                pipe.write(text)
            os._exit(0)
        os.close(writing)
        return os.fdopen(reading)

    def files(self, database="bench"):
        oid = self.psql(f"select oid from pg_database where datname = '{database}'", "postgres")[3].decode().strip()
        return sorted(path for path in (self.data / "base" / oid).iterdir() if path.is_file())

    def forget(self, files):
        """Takes the files out of the page cache, and the server's buffers with them."""
        self.stop()
        for path in filter(Path.exists, files):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        self.start()


def aws(*arguments):
    """The AWS CLI's `rds`, against the stack that was started last."""
    return run(["aws", "--endpoint-url", os.environ["AWS_ENDPOINT_URL"], "rds", *arguments, "--output", "json"])


class Stack:
    """A local RDS, which this process's AWS clients use from now on."""

    def __init__(self, directory, *flags):
        self.data, self.flags = directory + "/stack", flags
        self.start()

    def start(self):
        command = [RELEASE + "/lifeboat-localstack", "--listen", "127.0.0.1:0", "--data", self.data, "--pace", "instant"]
        self.process = subprocess.Popen([*command, *self.flags], stdout=subprocess.PIPE)
        os.environ.update(
            AWS_ENDPOINT_URL=self.process.stdout.readline().decode().split()[1], AWS_REGION="eu-central-1",
            AWS_DEFAULT_REGION="eu-central-1", AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench",
            AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null",
        )

    def stop(self):
        self.process.terminate()
        self.process.wait()
