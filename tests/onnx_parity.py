#!/usr/bin/env python3
"""Does a model file give in ONNX Runtime what other runtimes got from it?

    tests/onnx-parity MODEL.onnx DUMP [DUMP ...] [--tolerance T] [--json FILE]

Checks the file (onnx.checker with full_check, strict shape inference), runs ONNX Runtime on the
canvases of each dump and prints how far the dump's heads are from its own, level by level. Dumps of
different runtimes that hold the same canvases are compared with each other, too.

A dump is a folder:

    index.json   {"runtime": "tch",                      who computed the heads: tch, tract, ...
                  "fields": [{"canvas": "canvas_0.u8",   bytes of the network's input, row-major
                              "heads": ["heads_0_0.f32", "heads_0_1.f32", ...]}]}   finest first
    *.u8         unsigned bytes, shape of the model's input ([1, 3, height, width])
    *.f32        little-endian, shape of the model's output of the same number

stdout has one line a comparison, tab-separated: field, level, a, b, values, largest |a - b|, the same
divided by the largest |b| (or by 1, where that is less: logits below 1 need no finer agreement), and
the largest |b|. Exit: 0 all relative differences within the tolerance (default 1e-5; f32 rounding of
another summing order gives some 1e-6), 2 usage, 3 a dump is not as described, 4 the model is refused
or a difference is too large.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime


class BadDump(Exception):
    """A dump that is not as described above."""


def checked_session(path):
    """Refuses a file that is not ONNX by the book; gives a session on one thread."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def read_array(path, dtype, shape):
    """A plain file as an array; the length must be the shape's."""
    try:
        values = np.fromfile(path, dtype)
    except OSError as error:
        raise BadDump(f"{path}: {error.strerror}") from error
    expected = int(np.prod(shape))
    size = path.stat().st_size
    if size != expected * np.dtype(dtype).itemsize:
        raise BadDump(f"{path}: {size} bytes, expected {expected} values of shape {shape}")
    return values.reshape(shape)


def read_dump(folder, session):
    """Name of the runtime, and per field the canvas and the heads."""
    index = folder / "index.json"
    try:
        described = json.loads(index.read_text(encoding="utf-8"))
        runtime = str(described["runtime"])
        fields = [(field["canvas"], list(field["heads"])) for field in described["fields"]]
    except OSError as error:
        raise BadDump(f"{index}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadDump(f"{index}: not as described in {Path(__file__).name}: {error!r}") from error
    if not fields:
        raise BadDump(f"{index}: no fields")
    outputs = session.get_outputs()
    read = []
    for canvas, heads in fields:
        if len(heads) != len(outputs):
            raise BadDump(f"{index}: {len(heads)} heads, the model has {len(outputs)} outputs")
        pixels = read_array(folder / canvas, "u1", session.get_inputs()[0].shape)
        levels = [read_array(folder / name, "<f4", out.shape) for name, out in zip(heads, outputs)]
        read.append((pixels, levels))
    return runtime, read


def difference(a, b):
    """Largest absolute and relative difference and largest magnitude; infinite where one is NaN."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf"), float("inf"), float("inf")
    absolute, largest = float(np.abs(a - b).max()), float(np.abs(b).max())
    return absolute, absolute / max(1.0, largest), largest


def compare(session, dumps):
    """One row a comparison; every dump against ONNX Runtime, then against the dumps before it."""
    seen, rows = {}, []
    name = session.get_inputs()[0].name
    for runtime, fields in dumps:
        for pixels, heads in fields:
            # Canvases are numbered by their bytes: dumps may hold them in different orders.
            key = hashlib.sha256(pixels.tobytes()).hexdigest()
            if key not in seen:
                seen[key] = len(seen), [("onnxruntime", session.run(None, {name: pixels}))]
            field, known = seen[key]
            for other, levels in known:
                for level, (a, b) in enumerate(zip(heads, levels)):
                    rows.append((field, level, runtime, other, a.size, *difference(a, b)))
            known.append((runtime, heads))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("dumps", type=Path, nargs="+", metavar="dump")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="largest relative difference")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same table for programs")
    arguments = parser.parse_args()
    try:
        session = checked_session(str(arguments.model))
    except Exception as error:  # The three libraries raise a dozen unrelated types.
        print(f"{arguments.model}: {error}", file=sys.stderr)
        return 4
    print(f"{arguments.model}: passes onnx.checker (full) and shape inference", file=sys.stderr)
    try:
        rows = compare(session, [read_dump(folder, session) for folder in arguments.dumps])
    except BadDump as error:
        print(error, file=sys.stderr)
        return 3
    columns = ["field", "level", "a", "b", "values", "max_abs", "max_rel", "largest"]
    print("\t".join(columns))
    for row in rows:
        print("\t".join(str(cell) for cell in row[:5]) + "".join(f"\t{x:.3g}" for x in row[5:]))
    worst = max(row[6] for row in rows)
    if arguments.json:
        # JSON has no infinity; null stands for it.
        finite = [[None if cell == float("inf") else cell for cell in row] for row in rows]
        table = [dict(zip(columns, row)) for row in finite]
        arguments.json.write_text(json.dumps({"rows": table}, indent=1, allow_nan=False))
    within = worst <= arguments.tolerance
    verdict = "within" if within else "ABOVE"
    print(f"worst relative difference {worst:.3g}, {verdict} {arguments.tolerance:g}", file=sys.stderr)
    return 0 if within else 4


if __name__ == "__main__":
    sys.exit(main())
