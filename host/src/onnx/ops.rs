//! The operations of a [`Graph`]. Each checks its inputs and computes the shape of its output; each
//! node is called like its output.

use super::OnnxError;
use super::graph::{ElementType, Graph, Value, Window, mismatch};
use super::wire;

impl Graph {
    /// Bytes to numbers: `(x - zero_point) * scale`.
    ///
    /// # Shapes
    /// input `u8 [..]`, scale `f32 []`, zero point `u8 []` → `f32 [..]`
    ///
    /// # Errors
    /// When a type or shape differs.
    pub fn dequantize_linear(
        &mut self,
        name: &str,
        input: &Value,
        scale: &Value,
        zero_point: &Value,
    ) -> Result<Value, OnnxError> {
        let shape = self.read_as(name, input, ElementType::U8)?;
        let scale_shape = self.read_as(name, scale, ElementType::F32)?;
        let zero_shape = self.read_as(name, zero_point, ElementType::U8)?;
        if !scale_shape.is_empty() || !zero_shape.is_empty() {
            let found = format!("{scale_shape:?} and {zero_shape:?}");
            return Err(mismatch(name, "scalar scale and zero point".into(), found));
        }
        let inputs = [input.name(), scale.name(), zero_point.name()];
        self.append("DequantizeLinear", name, &inputs, &shape, vec![])
    }

    /// Cross-correlation with one group.
    ///
    /// # Shapes
    /// input `[batch, in, h, w]`, weight `[out, in, kh, kw]`, bias `[out]`
    /// → `[batch, out, (h + 2 padding - kh) / stride + 1, likewise w]`
    ///
    /// # Errors
    /// When shapes do not go together, or weight or bias is no constant.
    pub fn conv(
        &mut self,
        name: &str,
        input: &Value,
        weight: &Value,
        bias: &Value,
        window: Window,
    ) -> Result<Value, OnnxError> {
        let [batch, channels, height, width] = self.read_map(name, input)?;
        let [out, weight_channels, kernel_h, kernel_w] = self.read_map(name, weight)?;
        let bias_shape = self.read_as(name, bias, ElementType::F32)?;
        if weight_channels != channels || bias_shape != [out] {
            let found = format!(
                "weight [{out}, {weight_channels}, {kernel_h}, {kernel_w}] and bias {bias_shape:?}"
            );
            let expected = format!("weight [n, {channels}, h, w] and bias [n]");
            return Err(mismatch(name, expected, found));
        }
        // Runtimes compile constant weights ahead; anything else would be a mistake here.
        if !self.is_constant(weight) || !self.is_constant(bias) {
            let found = "a computed value".to_owned();
            return Err(mismatch(name, "constant weight and bias".into(), found));
        }
        let shape = [
            batch,
            out,
            places(name, height, kernel_h, window)?,
            places(name, width, kernel_w, window)?,
        ];
        let mut attributes = window_attributes([kernel_h, kernel_w], window);
        attributes.push(ints("dilations", &[1, 1]));
        attributes.push(int("group", 1));
        let inputs = [input.name(), weight.name(), bias.name()];
        self.append("Conv", name, &inputs, &shape, attributes)
    }

    /// The largest of a square window.
    ///
    /// # Shapes
    /// `[batch, channels, h, w]` → `[batch, channels, (h + 2 padding - side) / stride + 1, likewise w]`
    ///
    /// # Errors
    /// When the window does not fit, or its padding is not less than its side.
    pub fn max_pool(
        &mut self,
        name: &str,
        input: &Value,
        side: usize,
        window: Window,
    ) -> Result<Value, OnnxError> {
        let [batch, channels, height, width] = self.read_map(name, input)?;
        if window.padding >= side {
            let found = format!("padding {}", window.padding);
            return Err(mismatch(name, format!("padding below {side}"), found));
        }
        let shape = [
            batch,
            channels,
            places(name, height, side, window)?,
            places(name, width, side, window)?,
        ];
        let attributes = window_attributes([side, side], window);
        self.append("MaxPool", name, &[input.name()], &shape, attributes)
    }

    /// Each pixel four times.
    ///
    /// # Shapes
    /// `[batch, channels, h, w]` → `[batch, channels, 2 h, 2 w]`
    ///
    /// # Errors
    /// When the input is no map.
    pub fn upsample_x2(&mut self, name: &str, input: &Value) -> Result<Value, OnnxError> {
        let [batch, channels, height, width] = self.read_map(name, input)?;
        let scales = self.constant(&format!("{name}.scales"), &[4], &[1.0_f32, 1.0, 2.0, 2.0])?;
        self.read_as(name, &scales, ElementType::F32)?;
        let attributes = vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ];
        // The second input is a region of interest, which this mode has none of.
        let inputs = [input.name(), "", scales.name()];
        let shape = [batch, channels, 2 * height, 2 * width];
        self.append("Resize", name, &inputs, &shape, attributes)
    }

    /// Channels of all inputs, one after the other.
    ///
    /// # Shapes
    /// `[batch, c_i, h, w]` each → `[batch, sum of c_i, h, w]`
    ///
    /// # Errors
    /// Without inputs, or when batch, height or width differ.
    pub fn concat(&mut self, name: &str, inputs: &[&Value]) -> Result<Value, OnnxError> {
        let Some((first, rest)) = inputs.split_first() else {
            return Err(mismatch(name, "inputs".into(), "none".into()));
        };
        let mut shape = self.read_map(name, first)?;
        for input in rest {
            let other = self.read_map(name, input)?;
            if [other[0], other[2], other[3]] != [shape[0], shape[2], shape[3]] {
                let expected = format!("[{}, any, {}, {}]", shape[0], shape[2], shape[3]);
                return Err(mismatch(name, expected, format!("{other:?}")));
            }
            shape[1] += other[1];
        }
        let names: Vec<&str> = inputs.iter().map(|input| input.name()).collect();
        self.append("Concat", name, &names, &shape, vec![int("axis", 1)])
    }

    /// Sum of two values of one shape.
    ///
    /// # Errors
    /// When shapes or types differ.
    pub fn add(&mut self, name: &str, a: &Value, b: &Value) -> Result<Value, OnnxError> {
        self.pairwise("Add", name, a, b)
    }

    /// Product of two values of one shape.
    ///
    /// # Errors
    /// When shapes or types differ.
    pub fn mul(&mut self, name: &str, a: &Value, b: &Value) -> Result<Value, OnnxError> {
        self.pairwise("Mul", name, a, b)
    }

    /// `1 / (1 + exp(-x))`.
    ///
    /// # Errors
    /// When the input is not `f32`.
    pub fn sigmoid(&mut self, name: &str, input: &Value) -> Result<Value, OnnxError> {
        let shape = self.read_as(name, input, ElementType::F32)?;
        self.append("Sigmoid", name, &[input.name()], &shape, vec![])
    }

    /// `x * sigmoid(x)`: two nodes, the first called `name.sigmoid`.
    ///
    /// # Errors
    /// When the input is not `f32`.
    pub fn silu(&mut self, name: &str, input: &Value) -> Result<Value, OnnxError> {
        let gate = self.sigmoid(&format!("{name}.sigmoid"), input)?;
        self.mul(name, input, &gate)
    }

    /// `max(x, 0)`.
    ///
    /// # Errors
    /// When the input is not `f32`.
    pub fn relu(&mut self, name: &str, input: &Value) -> Result<Value, OnnxError> {
        let shape = self.read_as(name, input, ElementType::F32)?;
        self.append("Relu", name, &[input.name()], &shape, vec![])
    }

    /// `x` where positive, else `slope * x`.
    ///
    /// # Errors
    /// When the input is not `f32` or the slope not finite.
    pub fn leaky_relu(
        &mut self,
        name: &str,
        input: &Value,
        slope: f32,
    ) -> Result<Value, OnnxError> {
        let shape = self.read_as(name, input, ElementType::F32)?;
        if !slope.is_finite() {
            return Err(mismatch(name, "a finite slope".into(), slope.to_string()));
        }
        let alpha = wire::Attribute {
            name: "alpha".to_owned(),
            f: slope,
            kind: wire::ATTRIBUTE_FLOAT,
            ..Default::default()
        };
        self.append("LeakyRelu", name, &[input.name()], &shape, vec![alpha])
    }

    /// The same values under another name.
    ///
    /// # Errors
    /// When the input is not `f32`.
    pub fn identity(&mut self, name: &str, input: &Value) -> Result<Value, OnnxError> {
        let shape = self.read_as(name, input, ElementType::F32)?;
        self.append("Identity", name, &[input.name()], &shape, vec![])
    }

    /// Each picture's numbers in a row.
    ///
    /// # Shapes
    /// `[batch, channels, h, w]` → `[batch, channels * h * w]`
    ///
    /// # Errors
    /// When the input is no map.
    pub fn flatten(&mut self, name: &str, input: &Value) -> Result<Value, OnnxError> {
        let [batch, channels, height, width] = self.read_map(name, input)?;
        let shape = [batch, channels * height * width];
        self.append(
            "Flatten",
            name,
            &[input.name()],
            &shape,
            vec![int("axis", 1)],
        )
    }

    /// Every output from every input: `x weight^T + bias`.
    ///
    /// # Shapes
    /// input `[batch, in]`, weight `[out, in]`, bias `[out]` → `[batch, out]`
    ///
    /// # Errors
    /// When shapes do not go together, or weight or bias is no constant.
    pub fn full(
        &mut self,
        name: &str,
        input: &Value,
        weight: &Value,
        bias: &Value,
    ) -> Result<Value, OnnxError> {
        let x = self.read_as(name, input, ElementType::F32)?;
        let w = self.read_as(name, weight, ElementType::F32)?;
        let b = self.read_as(name, bias, ElementType::F32)?;
        let (&[batch, n_in], &[n_out, w_in]) = (&x[..], &w[..]) else {
            let expected = "[batch, in] and weight [out, in]".to_owned();
            return Err(mismatch(name, expected, format!("{x:?} and {w:?}")));
        };
        if w_in != n_in || b != [n_out] {
            let expected = format!("weight [n, {n_in}] and bias [n]");
            return Err(mismatch(name, expected, format!("{w:?} and {b:?}")));
        }
        if !self.is_constant(weight) || !self.is_constant(bias) {
            let found = "a computed value".to_owned();
            return Err(mismatch(name, "constant weight and bias".into(), found));
        }
        let inputs = [input.name(), weight.name(), bias.name()];
        self.append(
            "Gemm",
            name,
            &inputs,
            &[batch, n_out],
            vec![int("transB", 1)],
        )
    }

    fn pairwise(
        &mut self,
        op_type: &str,
        name: &str,
        a: &Value,
        b: &Value,
    ) -> Result<Value, OnnxError> {
        let shape = self.read_as(name, a, ElementType::F32)?;
        let other = self.read_as(name, b, ElementType::F32)?;
        if other != shape {
            return Err(mismatch(name, format!("{shape:?}"), format!("{other:?}")));
        }
        self.append(op_type, name, &[a.name(), b.name()], &shape, vec![])
    }
}

/// Places of a window along one axis.
fn places(node: &str, side: usize, kernel: usize, window: Window) -> Result<usize, OnnxError> {
    let slack = (side + 2 * window.padding).checked_sub(kernel);
    match slack.zip(std::num::NonZeroUsize::new(window.stride)) {
        Some((slack, stride)) if kernel > 0 => Ok(slack / stride + 1),
        _ => Err(mismatch(
            node,
            format!("a window that moves and fits into {side} pixels"),
            format!("side {kernel}, {window:?}"),
        )),
    }
}

fn window_attributes(kernel: [usize; 2], window: Window) -> Vec<wire::Attribute> {
    let (stride, padding) = (window.stride as i64, window.padding as i64);
    vec![
        ints("kernel_shape", &kernel.map(|side| side as i64)),
        ints("strides", &[stride; 2]),
        ints("pads", &[padding; 4]),
    ]
}

fn ints(name: &str, values: &[i64]) -> wire::Attribute {
    wire::Attribute {
        name: name.to_owned(),
        ints: values.to_vec(),
        kind: wire::ATTRIBUTE_INTS,
        ..Default::default()
    }
}

fn int(name: &str, value: i64) -> wire::Attribute {
    wire::Attribute {
        name: name.to_owned(),
        i: value,
        kind: wire::ATTRIBUTE_INT,
        ..Default::default()
    }
}

fn text(name: &str, value: &str) -> wire::Attribute {
    wire::Attribute {
        name: name.to_owned(),
        s: value.as_bytes().to_vec(),
        kind: wire::ATTRIBUTE_STRING,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> (Graph, Value) {
        let mut graph = Graph::new("g");
        let x = graph.input("x", ElementType::F32, &[1, 2, 5, 8]).unwrap();
        (graph, x)
    }

    fn weights(graph: &mut Graph, shape: [usize; 4]) -> (Value, Value) {
        let numbers = vec![0.5_f32; shape.iter().product()];
        let weight = graph.constant("w", &shape, &numbers).unwrap();
        let bias = graph.constant("b", &shape[..1], &numbers[..shape[0]]);
        (weight, bias.unwrap())
    }

    // torch.nn.Conv2d(2, 3, 3, stride=2, padding=1)(torch.zeros(1, 2, 5, 8)).shape == (1, 3, 3, 4):
    // floor((5 + 2 - 3) / 2) + 1 = 3, floor((8 + 2 - 3) / 2) + 1 = 4
    #[test]
    fn shapes_follow_the_operations() {
        let (mut graph, x) = maps();
        let (w, b) = weights(&mut graph, [3, 2, 3, 3]);
        let halve = Window {
            stride: 2,
            padding: 1,
        };
        let y = graph.conv("y", &x, &w, &b, halve).unwrap();
        assert_eq!(graph.shape(&y), Some(&[1, 3, 3, 4][..]));
        let same = Window {
            stride: 1,
            padding: 2,
        };
        let pooled = graph.max_pool("pooled", &y, 5, same).unwrap();
        assert_eq!(graph.shape(&pooled), graph.shape(&y));
        let big = graph.upsample_x2("big", &y).unwrap();
        assert_eq!(graph.shape(&big), Some(&[1, 3, 6, 8][..]));
        let cat = graph.concat("cat", &[&y, &pooled, &y]).unwrap();
        assert_eq!(graph.shape(&cat), Some(&[1, 9, 3, 4][..]));
        let act = graph.silu("act", &cat).unwrap();
        assert_eq!(graph.shape(&act), graph.shape(&cat));
    }

    #[test]
    fn what_does_not_go_together_is_refused_at_its_node() {
        let (mut graph, x) = maps();
        let (w, b) = weights(&mut graph, [3, 4, 3, 3]);
        let window = Window {
            stride: 1,
            padding: 1,
        };
        let refused = graph.conv("y", &x, &w, &b, window).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "in node \"y\": expected weight [n, 2, h, w] and bias [n], \
             found weight [3, 4, 3, 3] and bias [3]"
        );
        let refused = graph.max_pool("y", &x, 9, window).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "in node \"y\": expected a window that moves and fits into 5 pixels, \
             found side 9, Window { stride: 1, padding: 1 }"
        );
        assert!(graph.max_pool("y", &x, 1, window).is_err(), "padding of 1");
        let still = Window {
            stride: 0,
            padding: 0,
        };
        assert!(graph.max_pool("y", &x, 2, still).is_err());
        let big = graph.upsample_x2("big", &x).unwrap();
        let refused = graph.concat("y", &[&x, &big]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "in node \"y\": expected [1, any, 5, 8], found [1, 2, 10, 16]"
        );
        assert!(graph.concat("y", &[]).is_err());
        assert!(graph.add("y", &x, &big).is_err());
        assert!(graph.relu("y", &b).is_ok(), "the name was never taken");
    }

    #[test]
    fn a_full_layer_reads_rows() {
        let (mut graph, x) = maps();
        let row = graph.flatten("row", &x).unwrap();
        assert_eq!(graph.shape(&row), Some(&[1, 80][..]));
        let weight = graph.constant("w", &[3, 80], &[0.5_f32; 240]).unwrap();
        let bias = graph.constant("b", &[3], &[0.5_f32; 3]).unwrap();
        let refused = graph.full("y", &x, &weight, &bias).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "in node \"y\": expected [batch, in] and weight [out, in], \
             found [1, 2, 5, 8] and [3, 80]"
        );
        let narrow = graph.constant("n", &[3, 79], &[0.5_f32; 237]).unwrap();
        let refused = graph.full("y", &row, &narrow, &bias).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "in node \"y\": expected weight [n, 80] and bias [n], found [3, 79] and [3]"
        );
        let computed = graph.relu("r", &bias).unwrap();
        assert!(graph.full("y", &row, &weight, &computed).is_err());
        let y = graph.full("y", &row, &weight, &bias).unwrap();
        let same = graph.identity("same", &y).unwrap();
        assert_eq!(graph.shape(&same), Some(&[1, 3][..]));
    }

    #[test]
    fn types_are_checked_where_they_change() {
        let mut graph = Graph::new("g");
        let bytes = graph
            .input("bytes", ElementType::U8, &[1, 3, 2, 2])
            .unwrap();
        let refused = graph.relu("y", &bytes).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "in node \"y\": expected F32, found U8 in \"bytes\""
        );
        let scale = graph.constant("scale", &[], &[0.5_f32]).unwrap();
        let zero = graph.constant("zero", &[], &[0_u8]).unwrap();
        assert!(graph.dequantize_linear("y", &bytes, &zero, &scale).is_err());
        let y = graph.dequantize_linear("y", &bytes, &scale, &zero).unwrap();
        assert_eq!(graph.element(&y), Some(ElementType::F32));
    }
}
