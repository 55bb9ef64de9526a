"""What the inner loops for aarch64 reach by the tables of llvm-mca, multiplications and additions a cycle.

    estimate.py LLVM_MCA INT8.s TRACT_LINALG/arm64/arm64simd

Reads every loop of our assembly that multiplies bytes, names its kernel, and of each kernel keeps the loop with the
most to do at a time; of tract's loops of 32 bits the fastest on each processor, whether tract would take that one or
not. A table of llvm-mca holds latencies and pipes, no caches and no memory: an upper bound for a whole network.
The Cortex-A76 has the core of the Neoverse N1, which is the one that LLVM describes.
"""

import re
import subprocess
import sys
from pathlib import Path

PROCESSORS = {"Cortex-A53": "cortex-a53", "Cortex-A72": "cortex-a72", "Cortex-A76": "neoverse-n1"}
WITH_DOT_PRODUCT = {"Cortex-A76"}
ITERATIONS = 200
# Of one instruction on full vectors.
MACS = {"smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8, "sdot": 16, "fmla": 4}
KERNELS = {"dotprod": "8 bits, sdot", "run_pairs": "8 bits, smull/smlal/sadalp", "run_wide": "8 bits, smull/sadalp"}
# Loops with less are remainders.
FULL_LOOP_MACS = 256


def instructions(lines):
    """Without labels, directives and comments."""
    code = (line.split("//")[0].strip() for line in lines)
    return [line for line in code if line and not line.startswith((".", "#")) and not line.endswith(":")]


def loops(path):
    """Function and body of every loop without a branch inside."""
    function, label, body = None, None, []
    for line in path.read_text().splitlines():
        if re.match(r"[\w.$]+:", line):
            named = re.match(r"(\.L\w+):", line)
            function, label, body = (function, named[1], []) if named else (line.split(":")[0], None, [])
            continue
        code = instructions([line])
        body += code
        if label and code and re.match(r"(b\.\w+|cbn?z|tbn?z)\b", code[0]) and code[0].split()[-1] == label:
            yield function, body
            label = None


def macs(body):
    """Multiplications in a round."""
    return sum(MACS.get(code.split()[0], 0) for code in body)


def cycles(mca, body, processor):
    """Of a round, far from the first one."""
    command = [mca, "-mtriple=aarch64", f"-mcpu={processor}", "-mattr=+dotprod", f"-iterations={ITERATIONS}"]
    said = subprocess.run(command, input="\n".join(body), text=True, capture_output=True, check=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", said)[1]) / ITERATIONS


def ours(path):
    """Per kernel the loop that does most at a time."""
    best = {}
    for function, body in loops(path):
        kernel = next((said for name, said in KERNELS.items() if name in function), None)
        if kernel and macs(body) >= max(FULL_LOOP_MACS, macs(best.get(kernel, []))):
            best[kernel] = body
    if len(best) != len(KERNELS):
        sys.exit(f"estimate.py: {path}: loops of {sorted(best)}, expected {sorted(KERNELS.values())}")
    return best


def main():
    """The table."""
    mca, assembly, tract = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    # The files are parts of a template, in which a brace is written twice.
    texts = [file.read_text().replace("{{", "{").replace("}}", "}") for file in sorted(tract.glob("*f32*/*/*.S.raw"))]
    floats = [instructions(text.splitlines()) for text in texts]
    floats = [body for body in floats if macs(body)]
    print("| loop |", " | ".join(PROCESSORS), "|")
    print("|---|" + "---|" * len(PROCESSORS))
    rates = [max(macs(body) / cycles(mca, body, cpu) for body in floats) for cpu in PROCESSORS.values()]
    print(f"| 32 bits, tract: the fastest of {len(floats)} |", " | ".join(f"{rate:.1f}" for rate in rates), "|")
    for kernel, body in sorted(ours(assembly).items()):
        cells = [
            f"{macs(body) / cycles(mca, body, cpu):.1f}" if "sdot" not in kernel or name in WITH_DOT_PRODUCT else "-"
            for name, cpu in PROCESSORS.items()
        ]
        print(f"| {kernel} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
