#!/usr/bin/env python3
"""How long does a training step take here, and how long in Python's PyTorch?

    tests/step-time [--host BINARY] [--imgsz N] [--batch-size N] [--steps N] [--rounds N]
                    [--threads N] [--json FILE]

The network (YOLOv5n), its loss and its step are written below in plain PyTorch. `leuko-host bench`
writes its weights; both programs then take the same steps on the same canvases and cells, which are
given by formula. First the losses of the first two steps are compared, to 1e-4: the same function of
the same weights, then the same gradients and the same optimizer. (Random weights on noise magnify
rounding, ten times a step, so that later losses say nothing.) Then the programs are timed in turn,
`--rounds` times each, and the medians over all rounds are printed: ours, Python with canvases as they
come, and Python with the channels innermost in memory (`channels_last`), as ours has them.

stdout has one line a part, tab-separated: part, ms here, ms in Python, their ratio (above 1: faster
here), ms in Python with channels_last, ratio. Exit: 0 done, whoever is faster, 1 the losses differ or
a program failed, 2 usage or no torch.
"""

import argparse
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

try:
    import torch
except ImportError:
    sys.exit(
        print(
            f"step-time: {sys.executable} has no torch: pip install torch==2.11.0, "
            "or name another one: PYTHON=/path/to/python tests/step-time",
            file=sys.stderr,
        )
        or 2
    )
from torch import nn
from torch.nn import functional

# Prior boxes in canvas pixels, by stride.
ANCHORS = {
    8: [[10, 13], [16, 30], [33, 23]],
    16: [[30, 61], [62, 45], [59, 119]],
    32: [[116, 90], [156, 198], [373, 326]],
}
N_CLASSES = 80
PARTS = ["input", "forward", "loss", "backward", "optimizer", "step"]


# The network.


class Conv(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, c_in, c_out, kernel=1, stride=1, padding=None):
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.03)

    def forward(self, x):
        return functional.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, channels, shortcut):
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels), Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x):
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    def __init__(self, c_in, c_out, repeats=1, shortcut=True):
        super().__init__()
        half = c_out // 2
        self.cv1, self.cv2, self.cv3 = Conv(c_in, half), Conv(c_in, half), Conv(2 * half, c_out)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(repeats)))

    def forward(self, x):
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class Pyramid(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels // 2), Conv(channels * 2, channels)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.cv2(torch.cat(maps, 1))


class Detect(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.m = nn.ModuleList(nn.Conv2d(c, 3 * (5 + N_CLASSES), 1) for c in widths)


class Network(nn.Module):
    """YOLOv5n; the numbers of the layers are those of its drawing."""

    def __init__(self):
        super().__init__()
        up = nn.Upsample(scale_factor=2, mode="nearest")
        layers = [Conv(3, 16, 6, 2, 2), Conv(16, 32, 3, 2), C3(32, 32), Conv(32, 64, 3, 2)]
        layers += [C3(64, 64, 2), Conv(64, 128, 3, 2), C3(128, 128, 3), Conv(128, 256, 3, 2)]
        layers += [C3(256, 256), Pyramid(256), Conv(256, 128), up, None, C3(256, 128, 1, False)]
        layers += [Conv(128, 64), up, None, C3(128, 64, 1, False), Conv(64, 64, 3, 2), None]
        layers += [C3(128, 128, 1, False), Conv(128, 128, 3, 2), None, C3(256, 256, 1, False)]
        self.model = nn.ModuleList(l or nn.Identity() for l in [*layers, Detect([64, 128, 256])])

    def forward(self, x):
        joined = {12: 6, 16: 4, 19: 14, 22: 10}
        maps = []
        for index, layer in enumerate(self.model[:24]):
            x = torch.cat([x, maps[joined[index]]], 1) if index in joined else layer(x)
            maps.append(x)
        return [conv(maps[at]) for conv, at in zip(self.model[24].m, [17, 20, 23])]


# The loss.


def matched(cells, anchors, width, height):
    """Places that shall answer: image, class, anchor, column, row, box relative to the place."""
    scale = torch.tensor([width, height, width, height])
    box = cells[:, 2:] * scale
    ratio = box[None, :, 2:] / anchors[:, None]
    anchor, cell = (torch.max(ratio, 1 / ratio).amax(2) < 4).nonzero(as_tuple=True)
    box = box[cell]
    centre, mirrored = box[:, :2], scale[:2] - box[:, :2]
    near, far = ((c % 1 < 0.5) & (c > 1) for c in (centre, mirrored))
    shifts = [(torch.ones(len(box), dtype=torch.bool), (0, 0))]
    shifts += [(near[:, 0], (0.5, 0)), (near[:, 1], (0, 0.5))]
    shifts += [(far[:, 0], (-0.5, 0)), (far[:, 1], (0, -0.5))]
    row = torch.cat([chosen.nonzero()[:, 0] for chosen, _ in shifts])
    shift = torch.cat([torch.tensor([s]).expand(int(c.sum()), 2) for c, s in shifts])
    place = (centre[row] - shift).long()
    place = torch.stack([place[:, 0].clamp(0, width - 1), place[:, 1].clamp(0, height - 1)], 1)
    who = cells[cell[row]]
    truth = torch.cat([centre[row] - place, box[row, 2:]], 1)
    return who[:, 0].long(), who[:, 1].long(), anchor[row], place[:, 0], place[:, 1], truth


def ciou(centre, size, truth):
    """Complete IoU of boxes given by centre and size."""
    other, sides = truth[:, :2], truth[:, 2:]
    low, high = centre - size / 2, centre + size / 2
    other_low, other_high = other - sides / 2, other + sides / 2
    shared = (torch.min(high, other_high) - torch.max(low, other_low)).clamp(0).prod(1)
    iou = shared / (size.prod(1) + sides.prod(1) - shared + 1e-7)
    hull = (torch.max(high, other_high) - torch.min(low, other_low)).square().sum(1) + 1e-7
    angle = torch.atan(sides[:, 0] / (sides[:, 1] + 1e-7)) - torch.atan(size[:, 0] / (size[:, 1] + 1e-7))
    shape = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        alpha = shape / (shape - iou + 1 + 1e-7)
    return iou - (centre - other).square().sum(1) / hull - alpha * shape


def loss_of(heads, cells, anchors, side):
    """What is differentiated; `anchors` in units of the strides."""
    bce = functional.binary_cross_entropy_with_logits
    bbox = objectness = classes = 0
    for raw, priors, balance in zip(heads, anchors, [4.0, 1.0, 0.4]):
        batch, _, height, width = raw.shape
        rows = raw.view(batch, 3, 5 + N_CLASSES, height, width).permute(0, 1, 3, 4, 2)
        truth = torch.zeros(rows.shape[:4])
        image, kind, anchor, x, y, box = matched(cells, priors, width, height)
        if len(image):
            row = rows[image, anchor, y, x]
            centre = row[:, :2].sigmoid() * 2 - 0.5
            size = (row[:, 2:4].sigmoid() * 2) ** 2 * priors[anchor]
            overlap = ciou(centre, size, box)
            bbox = bbox + (1 - overlap).mean()
            truth[image, anchor, y, x] = overlap.detach().clamp(0)
            classes = classes + bce(row[:, 5:], functional.one_hot(kind, N_CLASSES).float())
        objectness = objectness + bce(rows[..., 4], truth) * balance
    gains = [0.05, (side / 640) ** 2, 0.5 * N_CLASSES / 80]
    return (bbox * gains[0] + objectness * gains[1] + classes * gains[2]) * len(heads[0])


# The work.


def formula_canvases(batch, side):
    c, y, x = torch.arange(3), torch.arange(side), torch.arange(side)
    b = torch.arange(batch)[:, None, None, None]
    values = c[:, None, None] * 7919 + y[:, None] * 104729 + x * 1299709 + b * 15485863
    return (values // 97 % 256).to(torch.uint8)


def formula_cells(batch):
    """Rows of image, class, centre and size."""
    pair = [
        [[0, 0.5, 0.5, 0.2, 0.3], [17, 0.25, 0.3, 0.05, 0.06], [5, 0.9, 0.1, 0.15, 0.15]],
        [[2, 0.4, 0.6, 0.6, 0.5], [79, 0.05, 0.95, 0.08, 0.09], [2, 0.41, 0.61, 0.55, 0.52]],
    ]
    return torch.tensor([[image, *cell] for image in range(batch) for cell in pair[image % 2]])


def read_safetensors(path):
    """Tensors by name: eight bytes of length, a JSON table, the values."""
    file = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", file[:8])
    tensors = {}
    for name, entry in json.loads(file[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", entry
        begin, end = (8 + length + at for at in entry["data_offsets"])
        values = torch.frombuffer(bytearray(file[begin:end]), dtype=torch.float32)
        tensors[name] = values.view(entry["shape"])
    return tensors


class Trainer:
    """The same steps in Python."""

    def __init__(self, weights, args, channels_last):
        self.network = Network()
        missing, unexpected = self.network.load_state_dict(weights, strict=False)
        assert not unexpected, unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing), missing
        self.network.train()
        self.channels_last = channels_last
        self.side = args.imgsz
        self.anchors = [torch.tensor(a) / stride for stride, a in ANCHORS.items()]
        self.canvases = formula_canvases(args.batch_size, args.imgsz)
        self.cells = formula_cells(args.batch_size)
        parameters = self.network.parameters()
        groups = {True: [], False: []}
        for parameter in parameters:
            groups[parameter.dim() > 1].append(parameter)
        # Batches of B, round(64 / B) to a nominal one: the decay that training has at this batch size.
        nominal = args.batch_size * max(math.floor(64 / args.batch_size + 0.5), 1) / 64
        self.sgd = torch.optim.SGD(groups[False], lr=0.01, momentum=0.937, nesterov=True)
        self.sgd.add_param_group({"params": groups[True], "weight_decay": 0.0005 * nominal})
        self.shadow = {n: v.detach().clone() for n, v in self.network.state_dict().items()}
        self.updates = 0

    def step(self):
        """The loss before the step, and the times of its parts in ms."""
        at = [time.perf_counter()]
        mark = lambda: at.append(time.perf_counter())
        canvases = self.canvases.float() * (1 / 255)
        if self.channels_last:
            canvases = canvases.contiguous(memory_format=torch.channels_last)
        mark()
        heads = self.network(canvases)
        mark()
        loss = loss_of(heads, self.cells, self.anchors, self.side)
        mark()
        loss.backward()
        mark()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.sgd.step()
        self.sgd.zero_grad()
        self.move_shadow()
        mark()
        times = [(end - start) * 1e3 for start, end in zip(at, at[1:])]
        return loss.item(), dict(zip(PARTS, [*times, sum(times)]))

    @torch.no_grad()
    def move_shadow(self):
        self.updates += 1
        decay = 0.9999 * (1 - math.exp(-self.updates / 2000))
        for name, value in self.network.state_dict().items():
            if value.dtype.is_floating_point:
                self.shadow[name] *= decay
                self.shadow[name] += (1 - decay) * value.detach()


# The comparison.


def run_host(args, *more):
    command = [args.host, "bench", "--model", "n", "--device", "cpu", "--json"]
    command += ["--imgsz", args.imgsz, "--batch-size", args.batch_size, *more]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"step-time: {args.host} bench ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run_python(trainer, n_steps):
    """Two steps that are not timed, as in the other program, then `n_steps`."""
    steps = [trainer.step()[1] for _ in range(n_steps + 2)][2:]
    return {part: {"median": statistics.median(step[part] for step in steps)} for part in PARTS}


def same_work(args):
    """Compares the losses of two steps from the same weights; gives Python's trainers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        ours = run_host(args, "--steps", 1, "--save-weights", path)["losses"]
        plain, innermost = (Trainer(read_safetensors(path), args, last) for last in (False, True))
    for step, a in enumerate(ours[:2], 1):
        b = innermost.step()[0]
        relative = abs(a / b - 1)
        print(f"loss of step {step}: here {a:.6f}, Python {b:.6f}, {relative:.1e} apart", file=sys.stderr)
        if not relative < 1e-4:
            sys.exit("step-time: the losses differ by more than 1e-4: not the same work")
    return plain, innermost


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    target = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).parent.parent / "target"))
    parser.add_argument("--host", type=Path, default=target / "release/leuko-host")
    for name, default in [("imgsz", 320), ("batch-size", 8), ("steps", 4), ("rounds", 6), ("threads", 1)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if min(args.imgsz, args.batch_size, args.steps, args.rounds, args.threads) < 1:
        parser.error("numbers must be at least 1")
    if not args.host.is_file():
        parser.error(f"{args.host} is not there: cargo build --release -p host")
    return args


def main():
    args = arguments()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    torch.set_num_threads(args.threads)
    programs = [lambda: run_host(args, "--steps", args.steps)["train_ms"]]
    programs += [partial(run_python, trainer, args.steps) for trainer in same_work(args)]
    medians = [{part: [] for part in PARTS} for _ in programs]
    for done in range(args.rounds):
        print(f"round {done + 1} of {args.rounds}", file=sys.stderr)
        for program, times in zip(programs, medians):
            for part, spread in program().items():
                times[part].append(spread["median"])
    table = {}
    print("part\there ms\tPython ms\tratio\tchannels_last ms\tratio")
    for part in PARTS:
        a, b, c = (statistics.median(times[part]) for times in medians)
        table[part] = {"here_ms": a, "python_ms": b, "python_channels_last_ms": c}
        print(f"{part}\t{a:.2f}\t{b:.2f}\t{b / a:.3f}\t{c:.2f}\t{c / a:.3f}")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
