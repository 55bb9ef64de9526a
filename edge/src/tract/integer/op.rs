//! tract's view of a step on 8-bit maps: one operator whose work the `int8` crate does.

use std::sync::Arc;

use int8::{Add, Conv, OutMap, Shape, Table};
use rayon::ThreadPool;
use tract_onnx::tract_hir::internal::*;

/// One step. Maps are `u8 [1, height, width, channels]` unless said otherwise.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) work: Arc<Work>,
    pub(super) pool: Option<Arc<ThreadPool>>,
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Work {
    /// To bytes, or to `f32 [1, channels, height, width]`.
    Conv {
        conv: Conv,
        /// Reads `u8 [1, channels, height, width]`.
        planar: bool,
    },
    MaxPool {
        /// Sides, steps and padding (top, left, bottom, right).
        side: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
        table: Option<Table>,
    },
    Upsample {
        times: [usize; 2],
        table: Option<Table>,
    },
    /// With a table for each input on another scale.
    Concat(Vec<Option<Table>>),
    Add(Add),
    Table(Table),
    /// `[1, channels, height, width]` of bytes to channels innermost; signed ones move up by 128.
    ChannelsLast {
        signed: bool,
    },
    /// Bytes to `f32 [1, channels, height, width]`.
    Floats {
        scale: f32,
        zero_point: u8,
    },
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.work, &other.work)
    }
}

impl Eq for Step {}

impl Work {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "Int8Conv",
            Self::MaxPool { .. } => "Int8MaxPool",
            Self::Upsample { .. } => "Int8Upsample",
            Self::Concat(_) => "Int8Concat",
            Self::Add(_) => "Int8Add",
            Self::Table(_) => "Int8Table",
            Self::ChannelsLast { .. } => "Int8ChannelsLast",
            Self::Floats { .. } => "Int8Floats",
        }
    }

    fn reads_planes(&self) -> bool {
        matches!(
            self,
            Self::Conv { planar: true, .. } | Self::ChannelsLast { .. }
        )
    }

    fn gives_floats(&self) -> bool {
        match self {
            Self::Conv { conv, .. } => conv.gives_floats(),
            Self::Floats { .. } => true,
            _ => false,
        }
    }

    fn input_shape(&self, shape: &[usize]) -> TractResult<Shape> {
        let &[1, a, b, c] = shape else {
            bail!("{}: input {shape:?}, expected [1, a, b, c]", self.name());
        };
        let shape = match self.reads_planes() {
            true => [b, c, a],
            false => [a, b, c],
        };
        ensure!(!shape.contains(&0), "{}: an empty input", self.name());
        let [height, width, channels] = shape;
        Ok(Shape {
            height,
            width,
            channels,
        })
    }

    /// The output's map for the inputs'; what reaches here of a file is checked here.
    fn output_shape(&self, inputs: &[Shape]) -> TractResult<Shape> {
        let name = self.name();
        let &[first, ref others @ ..] = inputs else {
            bail!("{name}: no input");
        };
        let expected = match self {
            Self::Add(_) => 2,
            Self::Concat(tables) => tables.len(),
            _ => 1,
        };
        ensure!(
            inputs.len() == expected,
            "{name}: {} inputs, expected {expected}",
            inputs.len()
        );
        Ok(match self {
            Self::Conv { conv, .. } => conv
                .output_shape(first)
                .with_context(|| format!("{name}: the window does not fit {first:?}"))?,
            Self::MaxPool {
                side,
                stride,
                padding: [top, left, bottom, right],
                ..
            } => {
                let places = |size: usize, pads: usize, axis: usize| {
                    let slack = (size + pads).checked_sub(side[axis]);
                    let slack = slack.with_context(|| format!("{name}: does not fit {first:?}"))?;
                    TractResult::Ok(slack / stride[axis] + 1)
                };
                Shape {
                    height: places(first.height, top + bottom, 0)?,
                    width: places(first.width, left + right, 1)?,
                    ..first
                }
            }
            Self::Upsample { times, .. } => Shape {
                height: first.height * times[0],
                width: first.width * times[1],
                ..first
            },
            Self::Concat(_) => {
                let same =
                    |other: &Shape| [other.height, other.width] == [first.height, first.width];
                ensure!(
                    others.iter().all(same),
                    "{name}: sizes differ in {inputs:?}"
                );
                Shape {
                    channels: inputs.iter().map(|shape| shape.channels).sum(),
                    ..first
                }
            }
            Self::Add(_) => {
                ensure!(others[0] == first, "{name}: sizes differ in {inputs:?}");
                first
            }
            Self::Table(_) | Self::ChannelsLast { .. } | Self::Floats { .. } => first,
        })
    }

    fn fact(&self, inputs: &[&[usize]]) -> TractResult<(DatumType, [usize; 4], Vec<Shape>)> {
        let shapes = inputs.iter().map(|shape| self.input_shape(shape));
        let shapes = shapes.collect::<TractResult<Vec<Shape>>>()?;
        let Shape {
            height,
            width,
            channels,
        } = self.output_shape(&shapes)?;
        Ok(match self.gives_floats() {
            true => (f32::datum_type(), [1, channels, height, width], shapes),
            false => (u8::datum_type(), [1, height, width, channels], shapes),
        })
    }
}

impl Op for Step {
    fn name(&self) -> StaticName {
        self.work.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Step {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let sides: TVec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
        let (datum_type, sides, shapes) = self.work.fact(&sides)?;
        let views = inputs.iter().map(|input| input.try_as_plain_ram());
        let views = views.collect::<TractResult<TVec<_>>>()?;
        // SAFETY: every step writes its whole output.
        let mut output = unsafe { Tensor::uninitialized_dt(datum_type, &sides)? };
        {
            let mut out = output.try_as_plain_ram_mut()?;
            if let Work::ChannelsLast { signed: true } = &*self.work {
                let x: Vec<u8> = views[0]
                    .as_slice::<i8>()?
                    .iter()
                    .map(|&x| x as u8 ^ 128)
                    .collect();
                channels_last(&x, shapes[0], out.as_slice_mut::<u8>()?);
            } else {
                let maps = views.iter().map(|view| view.as_slice::<u8>());
                let maps = maps.collect::<TractResult<TVec<&[u8]>>>()?;
                match datum_type {
                    DatumType::F32 => self.floats(maps[0], shapes[0], out.as_slice_mut::<f32>()?),
                    _ => self.bytes(&maps, &shapes, out.as_slice_mut::<u8>()?),
                }
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl Step {
    fn floats(&self, x: &[u8], shape: Shape, out: &mut [f32]) {
        match &*self.work {
            Work::Conv { conv, .. } => {
                conv.run(x, shape, OutMap::Floats(out), self.pool.as_deref());
            }
            Work::Floats { scale, zero_point } => {
                int8::dequantize_planes(x, shape, *scale, *zero_point, out);
            }
            _ => unreachable!("only these give floats"),
        }
    }

    fn bytes(&self, maps: &[&[u8]], shapes: &[Shape], out: &mut [u8]) {
        let (x, shape) = (maps[0], shapes[0]);
        let mut after = None;
        match &*self.work {
            Work::Conv { conv, .. } => conv.run(x, shape, OutMap::Bytes(out), self.pool.as_deref()),
            Work::MaxPool {
                side,
                stride,
                padding,
                table,
            } => {
                let output = self
                    .work
                    .output_shape(shapes)
                    .expect("checked with the fact");
                let padding = [padding[0], padding[1]];
                int8::max_pool(x, shape, [*side, *stride, padding], out, output);
                after = table.as_ref();
            }
            Work::Upsample { times, table } => {
                int8::upsample(x, shape, *times, out);
                after = table.as_ref();
            }
            Work::Concat(tables) => {
                let inputs = maps.iter().zip(shapes).zip(tables);
                let inputs: TVec<_> = inputs
                    .map(|((&map, shape), table)| (map, shape.channels, table.as_ref()))
                    .collect();
                int8::concat(&inputs, out);
            }
            Work::Add(add) => add.run(x, maps[1], out),
            Work::Table(table) => {
                out.copy_from_slice(x);
                after = Some(table);
            }
            Work::ChannelsLast { .. } => channels_last(x, shape, out),
            Work::Floats { .. } => unreachable!("gives floats"),
        }
        if let Some(table) = after {
            table.apply(out);
        }
    }
}

fn channels_last(x: &[u8], shape: Shape, out: &mut [u8]) {
    for (channel, plane) in x.chunks_exact(shape.pixels()).enumerate() {
        let places = out.iter_mut().skip(channel).step_by(shape.channels);
        places.zip(plane).for_each(|(out, &x)| *out = x);
    }
}

impl TypedOp for Step {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let sides = inputs.iter().map(|fact| {
            let sides = fact.shape.as_concrete();
            sides.context("a size that is not known beforehand")
        });
        let sides = sides.collect::<TractResult<TVec<&[usize]>>>()?;
        let (datum_type, sides, _) = self.work.fact(&sides)?;
        Ok(tvec!(datum_type.fact(sides)))
    }

    as_op!();
}

impl Expansion for Step {
    fn name(&self) -> StaticName {
        self.work.name().into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        let datum_type = match self.work.gives_floats() {
            true => f32::datum_type(),
            false => u8::datum_type(),
        };
        s.equals(&outputs[0].datum_type, datum_type)?;
        s.given_all(inputs.iter().map(|input| &input.shape), move |s, shapes| {
            let sides = shapes.iter().map(|shape| {
                let sides = shape.iter().map(|side| Ok(side.to_usize()?));
                sides.collect::<TractResult<TVec<usize>>>()
            });
            let sides = sides.collect::<TractResult<Vec<TVec<usize>>>>()?;
            let sides: TVec<&[usize]> = sides.iter().map(|sides| &**sides).collect();
            let (_, sides, _) = self.work.fact(&sides)?;
            s.equals(&outputs[0].shape, ShapeFactoid::from(sides.map(TDim::from)))
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}
