#!/usr/bin/env python3
"""ONNX Runtime's heads of the canvases that `dump_canvases` wrote; tests/int8-parity calls it.

    int8_parity.py MODEL.onnx OUT

Reads OUT/edge, writes OUT/onnxruntime (default optimizations: what a user gets, in integers) and OUT/plain
(no optimization: node by node as the file says, 8-bit values computed in float) in the layout that
onnx_parity.py describes. stdout has a line for each pair of the three: signal to noise over all pictures,
dB, the largest difference, and the share of equal values.

The two of ONNX Runtime are no equals: where a sum falls on the edge between two 8-bit values its rounding
differs, and what follows differs with it; the line of that pair says how much. The station computes the integers
of the first: its heads differ by float rounding alone. Exit: 0 the station is SAME_DB or more from ONNX Runtime
with its default optimizations; 4 not.
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

PAIRS = [("edge", "onnxruntime"), ("edge", "plain"), ("plain", "onnxruntime")]
SAME_DB = 100.0


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


def joined(fields):
    """All heads of all fields in one row."""
    return np.concatenate([head.ravel() for heads in fields for head in heads]).astype(np.float64)


def print_pair(flat, name, other):
    """One line of the table; gives the signal to noise."""
    ours, theirs = flat[name], flat[other]
    noise = np.square(ours - theirs).sum()
    ratio = 10 * np.log10(np.square(theirs).sum() / noise) if noise else float("inf")
    largest, equal = np.abs(ours - theirs).max(), (ours == theirs).mean()
    print(f"{name}\t{other}\t{ratio:.1f}\t{largest:.3g}\t{equal:.4f}")
    return ratio


def main():
    """Arguments in, exit code out."""
    model, out = sys.argv[1], Path(sys.argv[2])
    flat, fields = {}, None
    for name, level in LEVELS.items():
        network = session(model, level)
        feed = network.get_inputs()[0].name
        if fields is None:
            _, fields = read_dump(out / "edge", network)
            flat["edge"] = joined(heads for _, heads in fields)
        theirs = [network.run(None, {feed: pixels}) for pixels, _ in fields]
        write_dump(name, out / name, theirs)
        flat[name] = joined(theirs)
    print("heads\tagainst\tdB\tlargest difference\tequal values")
    ratios = [print_pair(flat, *pair) for pair in PAIRS]
    near = ratios[0] >= SAME_DB
    if not near:
        said = f"station {ratios[0]:.1f} dB from {PAIRS[0][1]}, expected at least {SAME_DB:.0f}"
        print(f"int8-parity: {said}", file=sys.stderr)
    return 0 if near else 4


if __name__ == "__main__":
    sys.exit(main())
