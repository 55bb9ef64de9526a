"""The engines that edge/benches/versus times, each in a process of its own."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
# ONNX Runtime's and OpenMP's threads may spin for some 20 ms behind the last run.
SETTLE_S = 0.025

OURS_INT8, OURS_F32 = "ours int8", "ours f32"
ORT_F32, ORT_SAME, ORT_OWN = "ONNX Runtime f32", "ONNX Runtime int8, our file", "ONNX Runtime int8, own quantizer"
NCNN_F32, NCNN_INT8 = "ncnn f32", "ncnn int8"
ENGINES = (OURS_INT8, OURS_F32, ORT_SAME, ORT_OWN, ORT_F32, NCNN_INT8, NCNN_F32)


class Failed(Exception):
    """An engine that stopped or gives wrong heads."""


def say(text):
    """Talk."""
    print(text, file=sys.stderr, flush=True)


class Engine:
    """A process that runs a network when told; edge/src/serve.rs describes the orders."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = self.heard().split()
        self.first_result_ms = float(ready[1])
        self.memory_before = float(ready[2]) if len(ready) > 2 else 0.0

    def heard(self):
        """The next answer."""
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"{self.name}: ended with {self.process.wait()}, expected an answer; its words are above")
        return line.strip()

    def order(self, text):
        """Gives an order, waits for its answer."""
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.heard()

    def turn(self, runs):
        """Wall milliseconds of each run, and CPU milliseconds of one on average."""
        time.sleep(SETTLE_S)
        self.order("run 1")
        before = self.cpu_ns()
        times = [float(word) for word in self.order(f"run {runs}").split()]
        return times, (self.cpu_ns() - before) / runs * 1e-6

    def cpu_ns(self):
        """CPU time of all threads of the process: Linux makes a clock of a process' number."""
        return time.clock_gettime_ns((~self.process.pid << 3) | 2)

    def heads(self, file):
        """All heads on the canvas."""
        self.order(f"heads {file}")
        return np.fromfile(file, "<f4").astype(np.float64)

    def peak_mb(self):
        """Peak memory beyond what was there before the model."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return peak * 1.024e-3 - self.memory_before

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


def edge(binary, name, model, threads):
    """Our own program."""
    return Engine(name, [binary, "bench", "--serve", "--model", str(model), "--threads", str(threads)])


def worker(name, kind, model, threads, canvas):
    """An engine in Python."""
    script = str(HERE / "versus_worker.py")
    return Engine(name, [sys.executable, script, kind, str(model), str(threads), str(canvas)])
