"""The whole station, measured from outside: `leuko-edge run` on drawn frames.

Without words: JPEG frames of 640x480 and of 1920x1080 (`--frames N` of each, default 400), each shown once: as fast
as they are analysed, and once more as a camera would (`--fps`, default 30), where a newer frame replaces one that
nobody had time for. With `--memory N`: N drawn frames, one case of 100 cells after another, reviewed and signed, and
the memory after every 1000 frames; the slope is that after the first tenth, and that of the last half of the rest.

Numbers are those of /metrics and /proc. A case is open, so fields that pass the gate are searched, stored
and recorded, each on the disk before the next; from 400 cells on, the largest target, frames are only judged. The
age of an analysed frame counts from when it was due, its decoding, wait and record included. A stage's
share is its time over the time the process had; decoding is the CPU time of the thread that captures.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

STAGES = ["see", "canvas", "network", "postprocess", "encode", "store"]
TICKS = os.sysconf("SC_CLK_TCK")


class Station:
    def __init__(self, binary, folder, source, um_per_px=0.1, target=400):
        folder.mkdir(exist_ok=True)
        self.root = root = folder / "data"
        config = folder / "station.toml"
        config.write_text(
            f"source = {{ {source} }}\n"
            f"calibration.um_per_pixel = {um_per_px}\ncounting.target = {target}\n"
            f"store = {{ root = {json.dumps(str(root))}, floor_mb = 1, floor_files = 0 }}\n"
            'http.address = "127.0.0.1:0"\n'
        )
        self.log = folder / "log"
        self.process = subprocess.Popen(
            [binary, "run", "--config", config, "--case", "BENCH"],
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("w"),
        )
        self.page = self.until(lambda: re.search(r'"address":"([^"]+)"', self.said()))[1]
        self.began = time.monotonic()

    def said(self):
        return self.log.read_text()

    def until(self, look, every=0.02):
        while True:
            found = look()
            if found:
                return found
            if self.process.poll() is not None:
                sys.exit(f"the station ended by itself:\n{self.said()}")
            time.sleep(every)

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.page}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    def order(self, what, **words):
        body = json.dumps({"do": what, **words}).encode()
        asked = urllib.request.Request(f"http://{self.page}/api/command", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(asked, timeout=60).read()

    def case(self):
        with urllib.request.urlopen(f"http://{self.page}/api/state", timeout=60) as answer:
            return json.load(answer)["case"]

    def sign(self):
        """Agrees with every suggestion of the case, signs it, and opens the next."""
        case = self.case()["id"]
        self.order("begin_review", who="bench")
        chain = self.root / "cases" / case / "audit.jsonl"
        events = [json.loads(line)["event"] for line in chain.read_text().splitlines()]
        names = events[0]["case_opened"]["model"]["classes"]
        alike = {}
        for field in (event["field_counted"] for event in events if "field_counted" in event):
            for number, cell in enumerate(field["cells"], field["first_cell"]):
                suggestion = cell["suggestion"]
                name = names[suggestion["class"]] if "class" in suggestion else None
                alike.setdefault(name, []).append(number)
        for name, cells in alike.items():
            self.order("confirm", who="bench", cells=cells, **{"class": name})
        self.order("sign", who="bench")
        self.order("new_case", patient="p", specimen="s", stain="MGG")

    def memory(self):
        """Resident now and at most, bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return [int(re.search(rf"{name}:\s+(\d+)", text)[1]) * 1024 for name in ("VmRSS", "VmHWM")]

    def cpu(self):
        """CPU seconds of all threads, and of each by its name."""
        threads = {}
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            name, numbers = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            numbers = numbers.split()
            threads[name] = threads.get(name, 0) + (int(numbers[11]) + int(numbers[12])) / TICKS
        return sum(threads.values()), threads

    def end(self):
        self.process.terminate()
        if self.process.wait(timeout=60) != 0:
            sys.exit(f"the station did not end as asked:\n{self.said()}")


def p95_ms(metrics, stage):
    """As Prometheus' histogram_quantile has it: even within the bin that holds it."""
    of_stage = re.compile(rf'leuko_stage_seconds_bucket{{stage="{stage}",le="([^"]+)"}}')
    bins = [(float(m[1]), int(v)) for k, v in metrics.items() if (m := of_stage.fullmatch(k))]
    wanted, below, before = bins[-1][1] * 0.95, 0.0, 0
    for edge, count in bins:
        if count >= wanted:
            return (below + (edge - below) * (wanted - before) / (count - before)) * 1000
        below, before = edge, count


def finished(station, frames):
    """Metrics once the source is over and its last frame is analysed."""
    station.until(lambda: '"event":"source_over"' in station.said())
    count = 'leuko_stage_seconds_count{stage="frame"}'
    replaced = "leuko_replaced_frames_total"
    return station.until(lambda: (m := station.metrics()) and int(m[count]) + int(m[replaced]) >= frames and m)


def free(options, folder, source):
    station = Station(options.binary, folder / "free", source)
    metrics = finished(station, options.frames)
    wall = time.monotonic() - station.began
    cpu, threads = station.cpu()
    now, most = station.memory()
    station.end()
    print(f"  as fast as it goes: {options.frames / wall:.1f} frames/s; CPU {cpu / options.frames * 1000:.1f} ms "
          f"a frame; analysis of a frame: 95 % within {p95_ms(metrics, 'frame'):.1f} ms; "
          f"{metrics['leuko_fields_total']} fields and {metrics['leuko_cells_total']} cells recorded; "
          f"memory {now / 1e6:.1f} MB at the end, {most / 1e6:.1f} MB at most")
    parts = [f"decode {threads.get('capture', 0) / wall:.1%}"]
    for stage in STAGES:
        total = float(metrics[f'leuko_stage_seconds_sum{{stage="{stage}"}}'])
        runs = int(metrics[f'leuko_stage_seconds_count{{stage="{stage}"}}'])
        mean = total / max(runs, 1) * 1000
        parts.append(f"{stage} {total / wall:.1%} ({runs} of {mean:.2f} ms)")
    print("  of the time: " + ", ".join(parts))


def in_time(options, folder, source):
    """Frames come when a camera's would: how old is one when it is analysed?"""
    station = Station(options.binary, folder / "in-time", f"{source}, fps = {options.fps}")
    came = "leuko_source_frames_total"
    metrics = station.until(lambda: (m := station.metrics()) and int(m[came]) >= options.frames and m)
    wall = time.monotonic() - station.began
    cpu, _ = station.cpu()
    station.end()
    replaced = int(metrics["leuko_replaced_frames_total"])
    print(f"  {options.fps} frames/s: from capture to analysed 95 % within {p95_ms(metrics, 'latency'):.1f} ms; "
          f"{replaced} of {metrics[came]} frames replaced by newer ones; CPU {cpu / wall:.0%} of a core")


def throughput(options, width, height):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        frames = folder / "frames"
        subprocess.run([options.draw, frames, str(width), str(height), str(options.frames)], check=True)
        kib = sum(it.stat().st_size for it in frames.iterdir()) / options.frames / 1024
        print(f"{width}x{height}: {options.frames} JPEG frames of {kib:.0f} KiB")
        source = f'kind = "sequence", folder = {json.dumps(str(frames))}'
        free(options, folder, f"{source}, rounds = 1")
        in_time(options, folder, source)


def slope(points):
    """Of the line through (frames, bytes), bytes a frame."""
    n = len(points)
    x0, y0 = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    across = sum((x - x0) ** 2 for x, _ in points)
    return sum((x - x0) * (y - y0) for x, y in points) / across


def memory(options):
    with tempfile.TemporaryDirectory() as folder:
        # Few pixels, because drawing them takes longest.
        source = 'kind = "phantom", phantom = { seed = 1, width = 160, height = 120 }'
        station = Station(options.binary, pathlib.Path(folder), source, 0.32, target=100)
        points, next_at, metrics, signed = [], 0, {}, 0
        while next_at <= options.memory:
            metrics = station.metrics()
            if int(metrics["leuko_source_frames_total"]) < next_at:
                time.sleep(0.2)
                if station.case()["state"] == "target_reached":
                    station.sign()
                    signed += 1
                continue
            frames = int(metrics["leuko_source_frames_total"])
            points.append((frames, station.memory()[0]))
            print(f"{frames} frames: {points[-1][1] / 1e6:.2f} MB", file=sys.stderr)
            next_at = (frames // options.every + 1) * options.every
        wall, most = time.monotonic() - station.began, station.memory()[1]
        station.end()
    late = [it for it in points if it[0] >= options.memory / 10]
    print(f"{points[-1][0]} drawn frames in {wall:.0f} s, {metrics['leuko_fields_total']} fields recorded, "
          f"{signed} cases of 100 cells signed: memory {late[0][1] / 1e6:.2f} MB after {late[0][0]}, {points[-1][1] / 1e6:.2f} MB at the end, "
          f"{most / 1e6:.2f} MB at most; slope {slope(late):.1f} bytes a frame, of the last half "
          f"{slope(late[len(late) // 2:]):.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="leuko-edge")
    parser.add_argument("--draw", required=True, help="the example draw_sequence")
    parser.add_argument("--frames", type=int, default=400, help="of each size (default 400)")
    parser.add_argument("--fps", type=int, default=30, help="of the camera that is imitated (default 30)")
    parser.add_argument("--memory", type=int, nargs="?", const=100_000, metavar="N",
                        help="memory over N frames (default 100000) instead")
    parser.add_argument("--every", type=int, default=1000, help="frames between two looks at the memory")
    options = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    if options.memory:
        memory(options)
    else:
        throughput(options, 640, 480)
        throughput(options, 1920, 1080)


main()
