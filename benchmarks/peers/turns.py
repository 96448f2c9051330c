"""What the scripts beside it share: programs that take turns, medians, and the record of a run.

A contestant is a name and a function that does the work once and returns seconds. `turns` calls all of
them once a round, so that what the machine does beside hits each alike; rates are compared within a round.
"""

import datetime
import importlib.metadata
import json
import pathlib
import platform
import statistics
import subprocess


def turns(contestants, rounds):
    """Seconds of each contestant, one a round; the first round warms up and is left out."""
    seconds = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            taken = work()
            if turn:
                seconds[name].append(taken)
    return seconds


def rows(what, amount, unit, seconds, ours):
    """One row a contestant: rate of the median, its range, and how many times ours is faster, by round."""
    found = []
    for name, times in seconds.items():
        row = {"what": what, "program": name, "unit": unit, "median": amount / statistics.median(times),
               "least": amount / max(times), "most": amount / min(times), "rounds": len(times)}
        if name != ours and ours in seconds:
            row["ours_over_this"] = statistics.median(b / a for a, b in zip(seconds[ours], times))
        found.append(row)
    return found


def machine():
    """The processor and memory of this machine."""
    fields = {}
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    flags = set(fields.get("flags", "").split())
    meminfo = pathlib.Path("/proc/meminfo")
    memory = int(meminfo.read_text().split()[1]) // 1024 if meminfo.exists() else None
    return {"cpu": fields.get("model name", platform.processor()), "cores": len(__import__("os").sched_getaffinity(0)),
            "memory_mib": memory,
            "units": sorted(flags & {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"})}


def load():
    """Processes that want to run, by the system's count of the last minute: what else the machine did."""
    path = pathlib.Path("/proc/loadavg")
    return float(path.read_text().split()[0]) if path.exists() else None


def revision():
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or None


def versions(*packages):
    """Python's version and the packages'; None of one that is not there."""
    def version(name):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def write(path, name, versions, found, before):
    """Writes the record and prints its table."""
    record = {"name": name, "date": datetime.date.today().isoformat(), "machine": machine(), "revision": revision(),
              "versions": versions, "load_before": before, "load_after": load(), "rows": found}
    if path:
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
    print("| what | program | median | least | most | unit | rounds | ours over this |\n|---|---|---|---|---|---|---|---|")
    for row in found:
        over = f"{row['ours_over_this']:.2f}" if "ours_over_this" in row else ""
        program = row["program"] + (f" (beside {row['ours']})" if row.get("ours") not in (None, row["program"]) else "")
        print(f"| {row['what']} | {program} | {row['median']:.4g} | {row['least']:.4g} | {row['most']:.4g} | {row['unit']} "
              f"| {row['rounds']} | {over} |")
