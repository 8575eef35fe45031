"""A Slurm cluster of one node on this machine: munged, slurmctld and slurmd, in one folder.

    python tests/slurm/cluster.py start /tmp/slurm     prints the SLURM_CONF to export
    python tests/slurm/cluster.py stop /tmp/slurm      ends the daemons that it started

Needs Debian's `slurm-wlm` and `munge`. Nothing outside the folder is written; ports are free ones.
It keeps no accounts, so `sacct` has nothing to say, as on small clusters.
"""

import argparse
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
ENVIRONMENT = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}

CONFIG = """
ClusterName=medrobust
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=2,batch_sched_delay=1
KillWait=5
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes}
PartitionName=main Nodes={host} Default=YES PriorityTier=1 MaxTime=60 State=UP
PartitionName=urgent Nodes={host} PriorityTier=10 MaxTime=60 State=UP
"""


class ClusterError(RuntimeError):
    """A daemon is not installed or does not start."""


def missing() -> list[str]:
    """Programs that are not installed."""
    path = ENVIRONMENT["PATH"]
    return [name for name in (*DAEMONS, *CLIENTS) if shutil.which(name, path=path) is None]


def start(folder: Path) -> Path:
    """Start the daemons.

    Args:
        folder: made; holds config, state, logs and process ids.

    Returns:
        The config; programs find the cluster when the variable SLURM_CONF names it.

    Raises:
        ClusterError: a program is not installed or does not come up.
    """
    if absent := missing():
        raise ClusterError(f"not installed: {', '.join(absent)}; apt install slurm-wlm munge")
    folder = folder.resolve()
    for name in ("", "state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            folder=folder,
            host=socket.gethostname().split(".")[0],
            user=pwd.getpwuid(os.getuid()).pw_name,
            controller_port=_free_port(),
            node_port=_free_port(),
            cpus=os.cpu_count(),
            megabytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 100,
        )
    )
    try:
        _daemon(folder, "munged", "--foreground", "--force", *_munge_files(folder))
        _wait("munged", lambda: (folder / "munge.socket").exists(), folder)
        _daemon(folder, "slurmctld", "-D", "-c", "-f", str(config))
        _daemon(folder, "slurmd", "-D", "-c", "-f", str(config))
        _wait("an idle node", lambda: "idle" in _node_state(config), folder)
    except ClusterError:
        stop(folder)
        raise
    return config


def stop(folder: Path) -> None:
    """Cancel all jobs and end the daemons that `start` started, by their process ids."""
    config = folder.resolve() / "slurm.conf"
    environment = {**os.environ, **ENVIRONMENT, "SLURM_CONF": str(config)}
    if (folder / "slurmctld.started").exists():
        cancel = ["scancel", "--me"]
        subprocess.run(cancel, env=environment, capture_output=True, timeout=60, check=False)
        time.sleep(2)  # steps are told
    for name in reversed(DAEMONS):
        started = folder / f"{name}.started"
        if not started.exists():
            continue
        process = int(started.read_text())
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not _alive(process):
                break
            os.kill(process, number)
            deadline = time.monotonic() + 10
            while _alive(process) and time.monotonic() < deadline:
                time.sleep(0.1)
        started.unlink()


def _munge_files(folder: Path) -> list[str]:
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
    flags = [f"--{flag}={folder}/munge.{end}" for flag, end in files.items()]
    return [*flags, f"--seed-file={folder}/munge.seed"]


def _daemon(folder: Path, name: str, *arguments: str) -> None:
    with (folder / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(
            [shutil.which(name, path=ENVIRONMENT["PATH"]) or name, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT, "SLURM_CONF": f"{folder}/slurm.conf"},
            start_new_session=True,
        )
    (folder / f"{name}.started").write_text(str(process.pid))


def _node_state(config: Path) -> str:
    command = ["sinfo", "--noheader", "--format=%T"]
    environment = {**os.environ, **ENVIRONMENT, "SLURM_CONF": str(config)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


def _wait(what: str, ready: Callable[[], bool], folder: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            logs = "\n".join(
                f"{path.name}: {path.read_text(errors='replace')[-1000:]}"
                for path in sorted([*folder.glob("*.out"), *folder.glob("*.log")])
            )
            raise ClusterError(f"no {what} after {seconds} s\n{logs}")
        time.sleep(0.2)


def _alive(process: int) -> bool:
    """Whether a process runs; one that ended and was our child is collected."""
    try:
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
    except ChildProcessError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        if given.verb == "start":
            print(f"export SLURM_CONF={start(given.folder)}")
        else:
            stop(given.folder)
    except ClusterError as error:
        sys.exit(str(error))
