#!/usr/bin/env python3
"""ONNX Runtime's heads of the canvases that `dump_canvases` wrote; tests/int8-parity calls it.

    int8_parity.py MODEL.onnx OUT

Reads OUT/edge, writes OUT/onnxruntime (default optimizations: what a user gets, in integers) and OUT/plain
(no optimization: node by node as the file says, 8-bit values computed in float) in the layout that
onnx_parity.py describes. stdout has a line for each: signal to noise of the station's heads against it over
all pictures, dB, the largest difference, and the share of equal values.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnx_parity import read_dump

LEVELS = {
    "onnxruntime": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "plain": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


def session(model, level):
    """On one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def write_dump(name, folder, fields):
    """Heads only: the canvases lie in the station's dump."""
    folder.mkdir(exist_ok=True)
    index = []
    for number, heads in enumerate(fields):
        names = [f"heads_{number}_{level}.f32" for level in range(len(heads))]
        for file, values in zip(names, heads):
            values.astype("<f4").tofile(folder / file)
        index.append({"canvas": f"../edge/canvas_{number}.u8", "heads": names})
    (folder / "index.json").write_text(json.dumps({"runtime": name, "fields": index}))


def main():
    """Arguments in, exit code out."""
    model, out = sys.argv[1], Path(sys.argv[2])
    print("heads of the station against\tdB\tlargest difference\tequal values")
    for name, level in LEVELS.items():
        network = session(model, level)
        feed = network.get_inputs()[0].name
        _, fields = read_dump(out / "edge", network)
        theirs = [network.run(None, {feed: pixels}) for pixels, _ in fields]
        write_dump(name, out / name, theirs)
        ours = np.concatenate([head.ravel() for _, heads in fields for head in heads]).astype("f8")
        flat = np.concatenate([head.ravel() for heads in theirs for head in heads]).astype("f8")
        noise = np.square(ours - flat).sum()
        ratio = 10 * np.log10(np.square(flat).sum() / noise) if noise else float("inf")
        print(f"{name}\t{ratio:.1f}\t{np.abs(ours - flat).max():.3g}\t{(ours == flat).mean():.4f}")


if __name__ == "__main__":
    main()
