"""The machine and the tables of edge/benches/versus."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from versus_engines import ENGINES


def machine():
    """What the times depend on."""
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    known = {key.strip(): value.strip() for key, _, value in lines}
    flags = set(known.get("flags", known.get("Features", "")).split())
    telling = ("avx2", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
    return {
        "cpu": known.get("model name", platform.machine()),
        "cores": os.cpu_count(),
        "flags": [flag for flag in telling if flag in flags],
        "kernel": platform.release(),
        "libraries": {name: version(name) for name in ("onnxruntime", "ncnn", "numpy", "onnx")},
    }


def number(value, digits):
    """A table's cell."""
    return "-" if value is None else f"{value:.{digits}f}"


def print_tables(report):
    """Markdown."""
    about = report["machine"]
    libraries = ", ".join(f"{name} {number}" for name, number in about["libraries"].items())
    print(f"{about['cpu']}, {about['cores']} cores, {' '.join(about['flags'])}; {libraries}\n")
    for name, recipe in report["own_quantizer"].items():
        print(f"{name}: the fastest of ONNX Runtime's own quantizer is {recipe}\n")
    print("| model | px | threads |", " | ".join(ENGINES), "| ours f32 / int8 | ours int8 / ONNX Runtime int8 |")
    print("|---|---|---|" + "---|" * (len(ENGINES) + 2))
    for one in report["cells"]:
        times = {row["engine"]: row["ms"] for row in one["engines"]}
        cells = [number(times.get(name), 2) for name in ENGINES]
        cells += [number(one.get("gain_of_int8"), 2), number(one.get("over_onnxruntime_int8"), 2)]
        print(f"| {one['model']} | {one['side']} | {one['threads']} |", " | ".join(cells), "|")
    print()
    print("| model | px | threads | load | engine | ms | p10 ms | CPU ms | x ours int8 | x ours f32 | first result ms | MB | dB |")
    print("|" + "---|" * 13)
    for one in report["cells"]:
        load = f"{one['load_before']:.1f}-{one['load_after']:.1f}"
        for row in one["engines"]:
            ratios = f"{number(row['over_ours_int8'], 2)} | {number(row['over_ours_f32'], 2)}"
            print(
                f"| {one['model']} | {one['side']} | {one['threads']} | {load} | {row['engine']} | {row['ms']:.2f}"
                f" | {row['p10_ms']:.2f} | {row['cpu_ms']:.2f} | {ratios} | {row['first_result_ms']:.0f} | {row['peak_mb']:.0f}"
                f" | {row['db_against_f32']:.1f} |"
            )
