"""The model files that edge/benches/versus times: our own at other canvases, and what other engines make
of the float one."""

import json
import struct
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

CONTRACT_KEY = "leukoscope.contract"


class Unsuitable(Exception):
    """A model that a step cannot take; says which and why."""


def canvas_side(path):
    """Side of the model's canvas, pixels."""
    _, planes, height, width = onnx_shape(onnx.load(path).graph.input[0])
    if planes != 3 or height != width:
        raise Unsuitable(f"{path}: canvas of {width}x{height}, {planes} planes, expected a square of 3")
    return height


def onnx_shape(value):
    """Dimensions of a graph's input or output, which are numbers in our files."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def at_side(path, side, out):
    """Writes the model for a square canvas of another side: convolutions do not care.

    The golden fields of the contract go: they are of the old canvas."""
    model = onnx.load(path)
    graph = model.graph
    old = onnx_shape(graph.input[0])[2]
    for value in [*graph.input, *graph.output]:
        for dim in value.type.tensor_type.shape.dim[2:]:
            if dim.dim_value * side % old:
                raise Unsuitable(f"{path}: {value.name} has {dim.dim_value} cells at {old} px: not for {side}")
            dim.dim_value = dim.dim_value * side // old
    del graph.value_info[:]
    for entry in model.metadata_props:
        if entry.key == CONTRACT_KEY:
            contract = json.loads(entry.value)
            contract["canvas"] = {"width": side, "height": side}
            contract["golden"] = []
            entry.value = json.dumps(contract)
        elif entry.key == "imgsz":
            entry.value = str([side, side])
    onnx.save(model, out)


# -- ONNX Runtime's own quantizer ----------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """Settings of ONNX Runtime's quantizer."""

    name: str
    per_channel: bool
    reduce_range: bool
    operators: tuple | None  # None: all that it knows


RECIPES = (
    Recipe("per-channel reduced, all operators", True, True, None),
    Recipe("per-tensor reduced, all operators", False, True, None),
    Recipe("per-channel reduced, convolutions only", True, True, ("Conv",)),
    Recipe("per-channel full range, all operators", True, False, None),
)


def quantized_by_onnxruntime(path, canvases, recipe, out):
    """Static quantization in QDQ form, u8 activations and s8 weights, min-max over `canvases`
    ([1, 3, side, side] u8 each)."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    model = onnx.load(path)
    name = model.graph.input[0].name
    canvas = model.graph.node[0]
    if canvas.op_type != "DequantizeLinear" or canvas.input[0] != name:
        raise Unsuitable(f"{path}: begins with {canvas.op_type}, expected DequantizeLinear of the canvas")

    class Reader(CalibrationDataReader):
        """Hands out the canvases once."""

        def __init__(self):
            self.left = iter(canvases)

        def get_next(self):
            """One feed, None at the end."""
            pixels = next(self.left, None)
            return None if pixels is None else {name: pixels}

    # The canvas is in 8 bits already; with these parameters its second quantization changes nothing.
    unit = {"scale": np.array(1 / 255, "f4"), "zero_point": np.array(0, "u1")}
    quantize_static(
        path,
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=None if recipe.operators is None else list(recipe.operators),
        per_channel=recipe.per_channel,
        reduce_range=recipe.reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"TensorQuantOverrides": {canvas.output[0]: [unit]}},
    )
    onnx.save(without_requantized_canvas(onnx.load(out), canvas.output[0]), out)


def without_requantized_canvas(model, canvas):
    """Takes the quantizer's second QuantizeLinear and DequantizeLinear off the canvas."""
    nodes = model.graph.node
    down = [node for node in nodes if node.op_type == "QuantizeLinear" and node.input[0] == canvas]
    if len(down) != 1:
        return model
    up = [node for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] == down[0].output[0]]
    stale = {node.output[0] for node in up}
    for node in nodes:
        for index, source in enumerate(node.input):
            if source in stale:
                node.input[index] = canvas
    for node in down + up:
        nodes.remove(node)
    return model


# -- ncnn ------------------------------------------------------------------------

INT8_TAG = 0x000D4B38  # Before weights in 8 bits, in ncnn's .bin


class NcnnWriter:
    """Collects the layers of a .param and the weights of a .bin; a blob has one reader in ncnn, so one
    that several read is split first."""

    def __init__(self, graph, input_peaks):
        self.weights = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self.input_peaks = input_peaks
        self.layers, self.blobs, self.bin = [], 0, bytearray()
        self.readers, self.taken = {}, {}

    def layer(self, kind, name, sources, outputs, parameters=""):
        """One line of the .param."""
        sources = [self.reader(source) for source in sources]
        self.blobs += len(outputs)
        ends = " ".join(sources + outputs)
        self.layers.append(f"{kind} {name} {len(sources)} {len(outputs)} {ends} {parameters}".rstrip())

    def made(self, blob):
        """Splits a blob that several layers read."""
        count = self.readers.get(blob, 0)
        if count > 1:
            self.layer("Split", f"split_{blob}", [blob], [f"{blob}_{index}" for index in range(count)])
            self.taken[blob] = 0

    def reader(self, blob):
        """The name under which the next reader takes a blob."""
        if blob not in self.taken:
            return blob
        self.taken[blob] += 1
        return f"{blob}_{self.taken[blob] - 1}"

    def convolution(self, node, output, activation):
        """A Conv with its weights; in 8 bits where the peak of its input is known."""
        attributes = attributes_of(node)
        if attributes.get("group", 1) != 1 or set(attributes.get("dilations", [1])) != {1}:
            raise Unsuitable(f"{node.name}: grouped or dilated convolution")
        weight, bias = self.weights[node.input[1]], self.weights[node.input[2]]
        outputs, _, height, width = weight.shape
        top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
        down, across = attributes.get("strides", [1, 1])
        peak = self.input_peaks.get(node.input[0]) if self.input_peaks else None
        parameters = (
            f"0={outputs} 1={width} 11={height} 3={across} 13={down} 4={left} 14={top} 15={right} 16={bottom}"
            f" 5=1 6={weight.size}{activation}"
        )
        if peak is None:
            self.bin += struct.pack("<I", 0) + weight.astype("<f4").tobytes() + bias.astype("<f4").tobytes()
        else:
            parameters += " 8=2"
            scale = 127 / np.maximum(np.abs(weight).reshape(outputs, -1).max(1), 1e-12)
            integers = np.rint(weight * scale[:, None, None, None]).clip(-127, 127).astype("i1").tobytes()
            self.bin += struct.pack("<I", INT8_TAG) + integers + bytes(-len(integers) % 4)
            self.bin += bias.astype("<f4").tobytes() + scale.astype("<f4").tobytes()
            self.bin += struct.pack("<f", 127 / max(peak, 1e-12))
        self.layer("Convolution", node.name, [node.input[0]], [output], parameters)

    def text(self):
        """The .param."""
        return "\n".join(["7767517", f"{len(self.layers)} {self.blobs}", *self.layers]) + "\n"


def attributes_of(node):
    """A node's attributes by name."""
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def write_ncnn(path, stem, input_peaks=None):
    """Writes STEM.param and STEM.bin for the float model; with `input_peaks` (largest magnitude by
    tensor) the convolutions that read one of those tensors are in 8 bits, as ncnn2int8 makes them."""
    graph = onnx.load(path).graph
    plan = NcnnPlan(graph)
    writer = NcnnWriter(graph, input_peaks)
    for node in plan.nodes:
        for source in plan.sources(node):
            writer.readers[source] = writer.readers.get(source, 0) + 1
    for node in plan.nodes:
        write_ncnn_layer(writer, plan, node)
    stem.with_suffix(".param").write_text(writer.text())
    stem.with_suffix(".bin").write_bytes(bytes(writer.bin))


class NcnnPlan:
    """Which nodes become a layer: the sigmoid of a SiLU and an activation that a convolution does along
    the way do not."""

    def __init__(self, graph):
        makers = {node.output[0]: node for node in graph.node}
        read = {}
        for node in graph.node:
            for source in node.input:
                read.setdefault(source, []).append(node)
        self.swish, self.fused, gone = set(), {}, set()
        for node in graph.node:
            first = makers.get(node.input[0])
            gate = makers.get(node.input[1]) if node.op_type == "Mul" else None
            if gate is not None and gate.op_type == "Sigmoid" and gate.input[0] == node.input[0]:
                self.swish.add(node.name)
                gone.add(gate.name)
            alone = len(read[node.input[0]]) == 1
            if node.op_type in ("Relu", "LeakyRelu") and alone and first.op_type == "Conv":
                self.fused[first.name] = node
                gone.add(node.name)
        self.nodes = [node for node in graph.node if node.name not in gone]

    def sources(self, node):
        """The blobs that a layer reads."""
        if node.op_type in ("Add", "Concat"):
            return list(node.input)
        return [] if node.op_type == "DequantizeLinear" else [node.input[0]]


def write_ncnn_layer(writer, plan, node):
    """One node and, when several read what it makes, the split behind it."""
    output, attributes = node.output[0], attributes_of(node)
    parameters = None
    match node.op_type:
        case "DequantizeLinear":
            kind, parameters = "Input", ""
        case "Conv":
            after = plan.fused.get(node.name)
            activation = ""
            if after is not None:
                output = after.output[0]
                leak = attributes_of(after).get("alpha", 0.01)
                activation = " 9=1" if after.op_type == "Relu" else f" 9=2 -23310=1,{leak:e}"
            writer.convolution(node, output, activation)
        case "Mul" if node.name in plan.swish:
            kind, parameters = "Swish", ""
        case "Add":
            kind, parameters = "BinaryOp", "0=0"
        case "Concat" if attributes["axis"] == 1:
            kind, parameters = "Concat", "0=0"
        case "MaxPool":
            size, pad = attributes["kernel_shape"][0], attributes["pads"][0]
            kind, parameters = "Pooling", f"0=0 1={size} 2={attributes['strides'][0]} 3={pad} 5=1"
        case "Resize" if attributes["mode"] == b"nearest":
            kind, parameters = "Interp", "0=1 1=2.0 2=2.0"
        case other:
            raise Unsuitable(f"{node.name}: {other} has no layer here")
    if parameters is not None:
        writer.layer(kind, node.name, plan.sources(node), [output], parameters)
    writer.made(output)


def convolution_input_peaks(path, canvases):
    """Largest magnitude of what each convolution reads, over `canvases`."""
    import onnxruntime

    model = onnx.load(path)
    name = model.graph.input[0].name
    tensors = sorted({node.input[0] for node in model.graph.node if node.op_type == "Conv"})
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(one, onnx.TensorProto.FLOAT, None) for one in tensors)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    peaks = np.zeros(len(tensors))
    for pixels in canvases:
        peaks = np.maximum(peaks, [np.abs(values).max() for values in session.run(None, {name: pixels})])
    return dict(zip(tensors, peaks.tolist()))
