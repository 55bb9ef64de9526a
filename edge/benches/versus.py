#!/usr/bin/env python3
"""How fast is the station's network beside other engines on the same machine in the same run?

    edge/benches/versus [--binary PATH] [--model FOLDER ...] [--threads N ...] [--seconds S] [--quick]
                        [--json FILE]

Times the network alone, canvas to raw heads: ours in 8 and 32 bits, ONNX Runtime in 32 bits, on our 8-bit
file and on the fastest that its own quantizer makes of the float file, and ncnn in 32 and 8 bits. Subjects
are all models/*/model.onnx with their model.int8.onnx at their own canvas, and the first (wbc-nano, which
is YOLOv5n) at 416 and 640 px too. Every engine lives in a process of its own; they take turns, a round is
one turn of each, every turn begins with a run that does not count, and no process works while another has
its turn. Before the clock starts every engine must give the right heads on one canvas of our own program:

    32 bits     largest difference from ONNX Runtime's over the largest head at most F32_RELATIVE
    8 bits      signal to noise against ONNX Runtime's 32 bits at least INT8_DB
    same file   ours in 8 bits is nearer to ONNX Runtime on our 8-bit file than to its 32 bits

stdout is markdown: a summary, then every engine. `ms` is the median of all runs, wall; `CPU ms` all threads
of the process, a run, median of the turns; `x ours` the median over rounds of its median over ours in the
same round: above 1 it is slower than we are. A tenth of the runs was faster than `p10 ms`: where that is
far below `ms`, other work disturbed the run, which `load` (average before and after) may tell, too. `first
result` is from opening the file to the first heads, a process and its libraries being there already. `MB`
is peak memory, for engines in Python beyond what the interpreter and the libraries took before the file was
opened. Times are of this machine: an aarch64 station has other ratios, and instruction counts are another
tool's.

Exit: 0, 2 usage, 4 a model is refused or an engine gives wrong heads.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import versus_models as models
from versus_engines import (
    ENGINES,
    NCNN_F32,
    NCNN_INT8,
    ORT_F32,
    ORT_OWN,
    ORT_SAME,
    OURS_F32,
    OURS_INT8,
    Failed,
    edge,
    say,
    worker,
)
from versus_report import machine, print_tables

ROOT = Path(__file__).resolve().parent.parent.parent
OTHER_SIDES = (416, 640)
CHECK_SEED = 1
CALIBRATION_SEEDS = range(2, 10)
F32_RELATIVE = 1e-4
INT8_DB = 15.0
RUNS_A_TURN = 5
ROUNDS_MIN = 5
# Of timing in all, so that a run with its preparation stays below 6 minutes.
TIMING_S = 240.0
ROW_S_MAX = 25.0
ROW_S_QUICK = 4.0


@dataclass
class Subject:
    """A network at a canvas, and the file that each engine takes."""

    name: str
    side: int
    canvas: Path
    files: dict = field(default_factory=dict)

    def engines(self, binary, threads):
        """Starts every engine that has a file; ours come first and write the canvas for the others."""
        for name in ENGINES:
            model = self.files.get(name)
            if model is None:
                continue
            if name in (OURS_INT8, OURS_F32):
                engine = edge(binary, name, model, threads)
                engine.order(f"canvas {CHECK_SEED} {self.canvas}")
                yield engine
            else:
                kind = "ncnn" if name in (NCNN_F32, NCNN_INT8) else "onnxruntime"
                yield worker(name, kind, model, threads, self.canvas)


# -- preparation -----------------------------------------------------------------


def draw_canvases(binary, model, side, work):
    """Canvases of drawn fields as our own program lays them: the one to check on, those to calibrate with."""
    engine = edge(binary, OURS_F32, model, 1)
    paths = {}
    for seed in (CHECK_SEED, *CALIBRATION_SEEDS):
        paths[seed] = work / f"canvas-{side}-{seed}.u8"
        engine.order(f"canvas {seed} {paths[seed]}")
    engine.close()
    pixels = [np.fromfile(paths[seed], "u1").reshape(1, 3, side, side) for seed in CALIBRATION_SEEDS]
    return paths[CHECK_SEED], pixels


def fastest_own_quantization(model, canvases, canvas, work, quick):
    """The file of ONNX Runtime's quantizer that ONNX Runtime runs fastest, and its recipe's name."""
    reference = worker(ORT_F32, "onnxruntime", model, 1, canvas)
    expected = reference.heads(work / "heads")
    reference.close()
    rivals = []
    for index, recipe in enumerate(models.RECIPES):
        file = work / f"{model.parent.name}-own-{index}.onnx"
        models.quantized_by_onnxruntime(str(model), canvases, recipe, str(file))
        engine = worker(f"{ORT_OWN} ({recipe.name})", "onnxruntime", file, 1, canvas)
        noise = decibels(engine.heads(work / "heads"), expected)
        if noise >= INT8_DB:
            rivals.append((engine, recipe, file, []))
        else:
            say(f"{engine.name}: {noise:.1f} dB, expected {INT8_DB} or more; left out")
            engine.close()
    if not rivals:
        raise Failed(f"{model}: ONNX Runtime's quantizer makes nothing of {INT8_DB} dB or more")
    for _ in range(3 if quick else 8):
        for engine, _, _, times in rivals:
            times += engine.turn(RUNS_A_TURN)[0]
    for engine, recipe, _, times in rivals:
        say(f"  {ORT_OWN}, {recipe.name}: {median(times):.2f} ms")
        engine.close()
    _, recipe, file, _ = min(rivals, key=lambda rival: median(rival[3]))
    return file, recipe.name


def prepared(binary, folder, sides, work, quick):
    """The subjects of one model's folder; its own canvas first."""
    float_file, int8_file = folder / "model.onnx", folder / "model.int8.onnx"
    own_side = models.canvas_side(float_file)
    canvas, calibration = draw_canvases(binary, float_file, own_side, work)
    own, recipe = fastest_own_quantization(float_file, calibration, canvas, work, quick)
    files = {OURS_F32: float_file, ORT_F32: float_file, ORT_OWN: own}
    if int8_file.is_file():
        files |= {OURS_INT8: int8_file, ORT_SAME: int8_file}
    else:
        say(f"{int8_file}: absent, so nothing of ours is timed in 8 bits")
    files |= ncnn_files(float_file, calibration, work / folder.name)
    subjects = [Subject(folder.name, own_side, canvas, files)]
    for side in sides:
        resized = {}
        for file in {file for file in files.values() if file.suffix == ".onnx"}:
            resized[file] = work / f"{folder.name}-{file.stem}-{side}.onnx"
            models.at_side(file, side, resized[file])
        # ncnn's layers name no sizes.
        at_side = {name: resized.get(file, file) for name, file in files.items()}
        canvas = work / f"canvas-{side}-{CHECK_SEED}.u8"
        engine = edge(binary, OURS_F32, at_side[OURS_F32], 1)
        engine.order(f"canvas {CHECK_SEED} {canvas}")
        engine.close()
        subjects.append(Subject(folder.name, side, canvas, at_side))
    return subjects, recipe


def ncnn_files(float_file, calibration, stem):
    """What ncnn takes; nothing, with a word, where the graph has what the conversion does not know."""
    try:
        models.write_ncnn(float_file, Path(f"{stem}-f32"))
        peaks = models.convolution_input_peaks(float_file, calibration)
        models.write_ncnn(float_file, Path(f"{stem}-int8"), peaks)
    except models.Unsuitable as error:
        say(f"ncnn: {error}; left out")
        return {}
    return {NCNN_F32: Path(f"{stem}-f32.param"), NCNN_INT8: Path(f"{stem}-int8.param")}


# -- correctness -------------------------------------------------------------------


def decibels(heads, expected):
    """Signal to noise over all heads together."""
    noise = float(np.square(heads - expected).sum())
    return float("inf") if noise == 0 else 10 * np.log10(float(np.square(expected).sum()) / noise)


def check_heads(engines, work):
    """Signal to noise of every engine against ONNX Runtime's 32 bits.

    Raises Failed where an engine is further off than rounding explains."""
    heads = {engine.name: engine.heads(work / "heads") for engine in engines}
    expected = heads[ORT_F32]
    for name, values in heads.items():
        if values.size != expected.size or not np.isfinite(values).all():
            raise Failed(f"{name}: {values.size} heads, expected {expected.size} that are finite")
        off = np.abs(values - expected).max() / np.abs(expected).max()
        if name.endswith("f32") and off > F32_RELATIVE:
            raise Failed(f"{name}: heads are {off:.1e} off, expected at most {F32_RELATIVE:.0e}")
    noise = {name: decibels(values, expected) for name, values in heads.items()}
    for name, got in noise.items():
        if got < INT8_DB:
            raise Failed(f"{name}: {got:.1f} dB against 32 bits, expected at least {INT8_DB}")
    if OURS_INT8 in heads:
        same = decibels(heads[OURS_INT8], heads[ORT_SAME])
        say(f"  ours int8 against ONNX Runtime on the same file: {same:.1f} dB")
        if same < noise[OURS_INT8]:
            raise Failed(f"{OURS_INT8}: {same:.1f} dB against {ORT_SAME}, expected at least {noise[OURS_INT8]:.1f}")
    return noise


# -- timing --------------------------------------------------------------------------


def timed(engines, seconds):
    """Per engine all wall times and the CPU times of its turns, and per round the median wall times."""
    wall, cpu, rounds = {e.name: [] for e in engines}, {e.name: [] for e in engines}, []
    end = time.monotonic() + seconds
    while len(rounds) < ROUNDS_MIN or time.monotonic() < end:
        medians = {}
        # Who comes behind whom changes from round to round.
        shift = len(rounds) % len(engines)
        for engine in engines[shift:] + engines[:shift]:
            times, spent = engine.turn(RUNS_A_TURN)
            wall[engine.name] += times
            cpu[engine.name].append(spent)
            medians[engine.name] = median(times)
        rounds.append(medians)
    return wall, cpu, rounds


def cell(subject, binary, threads, seconds, work):
    """Everything about one subject at one number of threads, ready for JSON."""
    say(f"{subject.name}, {subject.side} px, threads: {threads}")
    engines = list(subject.engines(binary, threads))
    noise = check_heads(engines, work)
    load = os.getloadavg()[0]
    wall, cpu, rounds = timed(engines, seconds)
    rows = []
    for engine in engines:
        name = engine.name
        row = {"engine": name, "ms": median(wall[name]), "p10_ms": float(np.percentile(wall[name], 10))}
        row |= {"cpu_ms": median(cpu[name]), "runs": len(wall[name]), "first_result_ms": engine.first_result_ms}
        row |= {"peak_mb": engine.peak_mb(), "db_against_f32": min(noise[name], 999.0)}
        row |= {"over_ours_int8": over(rounds, name, OURS_INT8), "over_ours_f32": over(rounds, name, OURS_F32)}
        rows.append(row)
        engine.close()
    about = {"model": subject.name, "side": subject.side, "threads": threads, "rounds": len(rounds)}
    return about | {"load_before": load, "load_after": os.getloadavg()[0], "engines": rows} | summary(rounds)


def over(rounds, name, base):
    """Median over the rounds of one engine's time over another's; None where the other is not there."""
    return median(one[name] / one[base] for one in rounds) if base in rounds[0] else None


def summary(rounds):
    """The two ratios that matter: what our 8 bits gain, and how they stand beside ONNX Runtime's."""
    if OURS_INT8 not in rounds[0]:
        return {}
    best = min((ORT_SAME, ORT_OWN), key=lambda name: median(one[name] for one in rounds))
    gain, beside = over(rounds, OURS_F32, OURS_INT8), over(rounds, OURS_INT8, best)
    return {"gain_of_int8": gain, "onnxruntime_int8": best, "over_onnxruntime_int8": beside}


def measured(arguments, work):
    """The whole run."""
    subjects, recipes = [], {}
    for index, folder in enumerate(arguments.model):
        sides = OTHER_SIDES if index == 0 and not arguments.quick else ()
        more, recipes[folder.name] = prepared(arguments.binary, folder, sides, work, arguments.quick)
        subjects += more
    rows = len(subjects) * len(arguments.threads)
    seconds = arguments.seconds or (ROW_S_QUICK if arguments.quick else min(ROW_S_MAX, TIMING_S / rows))
    cells = [
        cell(subject, arguments.binary, threads, seconds, work)
        for subject in subjects
        for threads in arguments.threads
    ]
    return {"machine": machine(), "own_quantizer": recipes, "cells": cells}


def main():
    """Arguments in, exit code out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True, help="leuko-edge")
    parser.add_argument("--model", type=Path, action="append", metavar="FOLDER", help="default: all of models/")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, help="of timing for each row of the summary")
    parser.add_argument("--quick", action="store_true", help="the models' own canvas only, 4 seconds a row")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same for programs")
    arguments = parser.parse_args()
    arguments.model = arguments.model or sorted(file.parent for file in ROOT.glob("models/*/model.onnx"))
    # The quantizer advises on a step that our files do not need.
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory(prefix="versus-") as work:
            report = measured(arguments, Path(work))
    except (Failed, models.Unsuitable) as error:
        say(f"versus: {error}")
        return 4
    print_tables(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
