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
