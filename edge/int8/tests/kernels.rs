//! Every kernel of this processor gives the integers of the formula, over random shapes.

use int8::{Bytes, Conv, ConvError, ConvSpec, Kernel, OutMap, Output, Shape, Table, available};
use proptest::prelude::*;

/// A convolution with its input.
#[derive(Clone, Debug)]
struct Case {
    spec: ConvSpec,
    input: Shape,
    x: Vec<u8>,
    threads: usize,
}

impl Case {
    /// The sum of one output, straight from the formula, bias included.
    fn sum(&self, out: usize, [row, column]: [usize; 2]) -> i32 {
        let spec = &self.spec;
        let [_, channels, rows, columns] = spec.shape;
        let [top, left, ..] = spec.padding;
        let mut sum = spec.bias[out];
        for channel in 0..channels {
            for ky in 0..rows {
                for kx in 0..columns {
                    let y = (row * spec.stride[0] + ky).wrapping_sub(top);
                    let x = (column * spec.stride[1] + kx).wrapping_sub(left);
                    let weight =
                        spec.weights[((out * channels + channel) * rows + ky) * columns + kx];
                    sum +=
                        (self.byte(channel, y, x) - i32::from(spec.zero_point)) * i32::from(weight);
                }
            }
        }
        sum
    }

    fn byte(&self, channel: usize, y: usize, x: usize) -> i32 {
        let Shape {
            height,
            width,
            channels,
        } = self.input;
        if y >= height || x >= width {
            return self.spec.zero_point.into();
        }
        self.x[match self.spec.planar {
            true => (channel * height + y) * width + x,
            false => (y * width + x) * channels + channel,
        }]
        .into()
    }

    fn expected_bytes(&self, output: Shape) -> Vec<u8> {
        let Output::Bytes(rule) = &self.spec.output else {
            panic!("floats");
        };
        let byte = |out: usize, place| {
            let scaled = self.sum(out, place) as f32 * rule.multiplier[out];
            let steps = f64::from(scaled).round_ties_even() + f64::from(rule.zero_point);
            let byte = steps.clamp(rule.range[0].into(), rule.range[1].into()) as u8;
            rule.table.as_ref().map_or(byte, |table| table.get(byte))
        };
        places(output)
            .flat_map(|place| (0..output.channels).map(move |out| byte(out, place)))
            .collect()
    }

    fn expected_floats(&self, output: Shape, scale: &[f32]) -> Vec<f32> {
        let plane =
            |out: usize| places(output).map(move |place| self.sum(out, place) as f32 * scale[out]);
        (0..output.channels).flat_map(plane).collect()
    }

    /// Whether the kernel took it; if so it must be right.
    fn check(&self, kernel: Kernel) -> Result<bool, TestCaseError> {
        let conv = match Conv::new(&self.spec, &[kernel]) {
            Err(ConvError::NoKernel) => return Ok(false),
            conv => conv.expect("a legal convolution"),
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .build()
            .unwrap();
        let pool = (self.threads > 1).then_some(&pool);
        let output = conv.output_shape(self.input).expect("the window fits");
        match &self.spec.output {
            Output::Bytes(_) => {
                let mut out = vec![0xaa; output.len()];
                conv.run(&self.x, self.input, OutMap::Bytes(&mut out), pool);
                prop_assert_eq!(out, self.expected_bytes(output), "{}", kernel.name());
            }
            Output::Floats { scale } => {
                let mut out = vec![f32::NAN; output.len()];
                conv.run(&self.x, self.input, OutMap::Floats(&mut out), pool);
                prop_assert_eq!(
                    out,
                    self.expected_floats(output, scale),
                    "{}",
                    kernel.name()
                );
            }
        }
        Ok(true)
    }
}

fn places(map: Shape) -> impl Iterator<Item = [usize; 2]> {
    (0..map.height).flat_map(move |row| (0..map.width).map(move |column| [row, column]))
}

/// Numbers that look random and need no shrinking.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

prop_compose! {
    fn shapes()(
        out in 1..70usize,
        channels in prop_oneof![1..9usize, Just(16), Just(12), Just(20)],
        side in [1..5usize, 1..5usize],
        stride in [1..4usize, 1..4usize],
        padding in [0..3usize, 0..3usize, 0..3usize, 0..3usize],
        extra in [0..12usize, 0..40usize],
    ) -> (usize, usize, [usize; 2], [usize; 2], [usize; 4], [usize; 2]) {
        (out, channels, side, stride, padding, [side[0] + extra[0], side[1] + extra[1]])
    }
}

prop_compose! {
    fn cases()(
        (out, channels, side, stride, padding, size) in shapes(),
        seed in any::<u64>(),
        zero_points in [any::<u8>(), any::<u8>()],
        // -128 too, 8 bits without it, 7 bits.
        weight_min in prop_oneof![Just(-128i64), Just(-127), Just(-64)],
        planar in any::<bool>(),
        // Clamped, with a table, floats.
        finish in 0..3u8,
        extreme in any::<bool>(),
        threads in 1..3usize,
    ) -> Case {
        let mut random = noise(seed);
        let span = weight_min.unsigned_abs() * 2;
        let mut weight = || match extreme {
            true => if random().is_multiple_of(2) { weight_min } else { -weight_min - 1 },
            false => (weight_min + (random() % span) as i64).max(weight_min),
        } as i8;
        let volume = out * channels * side[0] * side[1];
        let weights: Vec<i8> = (0..volume).map(|_| weight()).collect();
        let mut random = noise(seed ^ 0x5eed);
        let input = Shape { height: size[0], width: size[1], channels };
        let x = (0..input.len())
            .map(|_| match extreme { true => if random().is_multiple_of(2) { 0 } else { 255 }, false => random() as u8 })
            .collect();
        let multiplier: Vec<f32> = (0..out).map(|_| (random() % 1000) as f32 * 1e-6).collect();
        let bytes = |range, table| Output::Bytes(Bytes {
            multiplier: multiplier.clone(), zero_point: zero_points[1], range, table,
        });
        let output = match finish {
            0 => bytes([zero_points[1], 255], None),
            1 => bytes([0, 255], Some(Table::new(|byte| byte.wrapping_mul(7) ^ 0x3c))),
            _ => Output::Floats { scale: multiplier.clone() },
        };
        Case {
            spec: ConvSpec {
                shape: [out, channels, side[0], side[1]],
                weights,
                bias: (0..out).map(|_| (random() % 20_000) as i32 - 10_000).collect(),
                stride,
                padding,
                zero_point: zero_points[0],
                planar,
                output,
            },
            input,
            x,
            threads,
        }
    }
}

/// Fewer under emulation.
fn case_count() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.map_or(400, |asked| asked.parse().expect("a number of cases"))
}

/// Where the processor is known (`edge/int8/aarch64`), it is said which kernels must be tested.
#[test]
fn the_kernels_of_the_processor_are_there_and_the_scalar_one_always() {
    let names: Vec<&str> = available().iter().map(Kernel::name).collect();
    println!("kernels: {}", names.join(", "));
    assert_eq!(names.last(), Some(&"scalar"));
    if let Ok(expected) = std::env::var("INT8_EXPECT_KERNELS") {
        assert_eq!(names.join(","), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(case_count()))]

    #[test]
    fn every_kernel_gives_the_integers_of_the_formula(case in cases()) {
        let mut taken = 0;
        for kernel in available() {
            taken += usize::from(case.check(kernel)?);
        }
        prop_assert!(taken > 0, "the scalar kernel takes everything");
    }

    #[test]
    fn tables_map_bytes_of_any_number(len in 0..300usize, seed in any::<u64>()) {
        let mut random = noise(seed);
        let mut bytes: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        let table = Table::new(|byte| byte.wrapping_mul(31).wrapping_add(seed as u8));
        let expected: Vec<u8> = bytes.iter().map(|&byte| table.get(byte)).collect();
        table.apply(&mut bytes);
        prop_assert_eq!(bytes, expected);
    }
}

/// The worst that bytes can do: 255 against the largest weights of each sign, pair by pair.
#[test]
fn no_kernel_saturates() {
    for kernel in available() {
        let mut taken = Vec::new();
        for weight in [-128, -127, -65, -64, 63, 64, 65, 127i8] {
            let case = Case {
                spec: ConvSpec {
                    shape: [20, 8, 1, 1],
                    weights: vec![weight; 160],
                    bias: vec![0; 20],
                    stride: [1, 1],
                    padding: [0; 4],
                    zero_point: 0,
                    planar: false,
                    output: Output::Floats {
                        scale: vec![1.0; 20],
                    },
                },
                input: Shape {
                    height: 3,
                    width: 5,
                    channels: 8,
                },
                x: vec![255; 120],
                threads: 1,
            };
            if case.check(kernel).unwrap() {
                taken.push(weight);
            }
        }
        assert!(
            taken.contains(&-64) && taken.contains(&64),
            "{}: {taken:?}",
            kernel.name()
        );
    }
}

#[test]
fn what_could_overflow_or_is_not_well_formed_is_refused() {
    let good = ConvSpec {
        shape: [1, 4, 1, 1],
        weights: vec![1; 4],
        bias: vec![0],
        stride: [1, 1],
        padding: [0; 4],
        zero_point: 0,
        planar: false,
        output: Output::Floats { scale: vec![1.0] },
    };
    assert!(Conv::new(&good, &available()).is_ok());
    type Change = fn(&mut ConvSpec);
    let cases: [(Change, ConvError); 7] = [
        (|spec| spec.bias = vec![i32::MAX], ConvError::Overflow),
        (|spec| spec.bias = vec![i32::MIN], ConvError::Overflow),
        (|spec| spec.weights = vec![1; 3], ConvError::Shape),
        (|spec| spec.stride = [0, 1], ConvError::Shape),
        (|spec| spec.shape = [usize::MAX, 4, 2, 1], ConvError::Shape),
        (
            |spec| {
                spec.output = Output::Floats {
                    scale: vec![f32::NAN],
                }
            },
            ConvError::Multiplier,
        ),
        (
            |spec| spec.output = Output::Floats { scale: vec![-1.0] },
            ConvError::Multiplier,
        ),
    ];
    for (at, (change, expected)) in cases.into_iter().enumerate() {
        let mut spec = good.clone();
        change(&mut spec);
        assert_eq!(
            Conv::new(&spec, &available()).err(),
            Some(expected),
            "case {at}"
        );
    }
}
