"""An engine with a model, run when it is told to; answers the orders of edge/src/serve.rs but `canvas`.

    python versus_worker.py ENGINE MODEL THREADS CANVAS

ENGINE is `onnxruntime` (MODEL an .onnx) or `ncnn` (MODEL a .param with its .bin). CANVAS is a file of
[3, side, side] bytes. Behind `ready` stand the milliseconds of loading and running once, and the memory
that the interpreter with its libraries had before, in MB.
"""

import math
import sys
import time
from pathlib import Path

import numpy as np


def resident_mb():
    """Memory of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1.024e-3
    return 0.0


class OnnxRuntime:
    """Default optimizations; its threads spin while a run lasts and not between the turns of others."""

    def __init__(self, library, model, threads, pixels):
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = library.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.feed = {self.session.get_inputs()[0].name: pixels[None]}
        # A model with a second attribute file gives feature maps, too.
        names = [output.name for output in self.session.get_outputs()]
        self.heads = [name for name in names if name.startswith("head_")]

    def run(self):
        """Heads, finest first."""
        return self.session.run(self.heads, self.feed)


class Ncnn:
    """32 bits where the file does not say 8; the conversion from bytes is on the clock, as it is in the
    graph of the others."""

    def __init__(self, library, model, threads, pixels):
        self.library, self.side = library, pixels.shape[1]
        self.net = library.Net()
        options = self.net.opt
        options.num_threads = threads
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        if self.net.load_param(model) or self.net.load_model(str(Path(model).with_suffix(".bin"))):
            raise RuntimeError(f"{model}: ncnn cannot load it")
        self.input, self.outputs = self.net.input_names()[0], self.net.output_names()
        self.pixels = np.ascontiguousarray(pixels.transpose(1, 2, 0))

    def run(self):
        """Heads, finest first."""
        mat = self.library.Mat.from_pixels(
            self.pixels, self.library.Mat.PixelType.PIXEL_RGB, self.side, self.side
        )
        mat.substract_mean_normalize([], [1 / 255] * 3)
        extractor = self.net.create_extractor()
        extractor.input(self.input, mat)
        return [extractor.extract(name)[1] for name in self.outputs]


def main():
    kind, model, threads, canvas = sys.argv[1:]
    engine = {"onnxruntime": OnnxRuntime, "ncnn": Ncnn}[kind]
    library = __import__(kind)
    pixels = np.fromfile(canvas, "u1")
    side = math.isqrt(pixels.size // 3)
    pixels = pixels.reshape(3, side, side)
    before = resident_mb()
    start = time.perf_counter()
    engine = engine(library, model, int(threads), pixels)
    engine.run()
    print(f"ready {(time.perf_counter() - start) * 1e3:.3f} {before:.3f}", flush=True)
    for line in sys.stdin:
        order, _, argument = line.rstrip("\n").partition(" ")
        if order == "run":
            times = []
            for _ in range(int(argument)):
                start = time.perf_counter()
                engine.run()
                times.append(f"{(time.perf_counter() - start) * 1e3:.4f}")
            print(*times, flush=True)
        elif order == "heads":
            heads = [np.array(level, "<f4").ravel() for level in engine.run()]
            np.concatenate(heads).tofile(argument)
            print("ok", flush=True)
        else:
            sys.exit(f"order {line!r}, expected `run COUNT` or `heads FILE`")


if __name__ == "__main__":
    main()
