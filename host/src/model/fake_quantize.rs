//! Fake quantization: a training computes with the numbers that its quantized network will have.
//!
//! Values are rounded to the 256 steps of their range, weights to the steps of their output channel,
//! both in floating point; gradients pass as if nothing were rounded, and stop where a value was cut
//! (Jacob et al., CVPR 2018). Batch norms are folded into the convolutions with the statistics that
//! they have, as in the exported graph: quantization-aware training does not move them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Arguments;

use tch::nn::Path;
use tch::{Kind, Tensor};

use crate::checkpoint::floats;
use crate::quantize::observe::Histogram;
use crate::quantize::places::{Activation, Place};
use crate::quantize::{Observer, Params, WeightBits};

/// How far a range moves towards that of each batch while it follows.
const FOLLOWED: f64 = 0.05;

/// Least step of weights, as in the quantizer.
const SCALE_MIN: f64 = 1e-12;

/// What becomes of the ranges while the network runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RangePhase {
    /// Nothing is rounded; the ranges widen to hold every value.
    Measured,
    /// In training they move slowly towards those of each batch.
    Followed,
    /// They stay.
    #[default]
    Frozen,
}

/// The ranges of a network's values, variables `quant.range.<value>` of the store it was built in.
#[derive(Debug)]
pub struct FakeQuantizer {
    /// Number of the place of each value, by its name in the exported graph.
    of_value: BTreeMap<String, usize>,
    /// Of each place the least and the largest value, `[2]`.
    ranges: Vec<Tensor>,
    /// What its readers make of it.
    activations: Vec<Activation>,
    phase: RangePhase,
}

impl FakeQuantizer {
    /// Empty ranges of `places` in `root`.
    pub fn new(root: &Path, places: &[Place]) -> Self {
        let mut of_value = BTreeMap::new();
        let mut ranges = Vec::with_capacity(places.len());
        for (number, place) in places.iter().enumerate() {
            let mut path = root / "quant" / "range";
            // A dot separates the parts of a variable's name.
            let mut parts: Vec<&str> = place.measured.split('.').collect();
            let last = parts.pop().unwrap_or_default();
            for part in parts {
                path = path / part;
            }
            ranges.push(path.zeros_no_train(last, &[2]));
            of_value.extend(place.members.iter().map(|name| (name.clone(), number)));
        }
        Self {
            of_value,
            ranges,
            activations: places.iter().map(|place| place.activation).collect(),
            phase: RangePhase::Frozen,
        }
    }

    /// From now on. When the ranges have been measured, what an activation flattens is cut off below,
    /// as the quantizer does; that end then stays.
    pub fn set_phase(&mut self, phase: RangePhase) {
        if self.phase == RangePhase::Measured && phase != RangePhase::Measured {
            self.cut_flat_ends();
        }
        self.phase = phase;
    }

    fn cut_flat_ends(&mut self) {
        for (range, activation) in self.ranges.iter_mut().zip(&self.activations) {
            if let [lo, hi] = floats(range)[..] {
                let whole = Histogram::even([f64::from(lo), f64::from(hi)]);
                let cut = whole.range(Observer::MinMax, *activation);
                tch::no_grad(|| range.copy_(&Tensor::from_slice(&cut)));
            }
        }
    }

    /// Moves the ranges towards the least and largest value of each place in a batch.
    fn take(&self, seen: Vec<Option<Tensor>>) {
        for (place, seen) in seen.into_iter().enumerate() {
            let (Some(seen), mut range) = (seen, self.ranges[place].shallow_clone()) else {
                continue;
            };
            // A batch that went wrong teaches nothing.
            let seen = seen.where_self(&seen.isfinite(), &range);
            match self.phase {
                RangePhase::Measured => range.copy_(&hull(&range, &seen)),
                RangePhase::Followed if self.activations[place] == Activation::Straight => {
                    let _ = range.lerp_(&seen, FOLLOWED);
                }
                RangePhase::Followed => {
                    let _ = range.narrow(0, 1, 1).lerp_(&seen.narrow(0, 1, 1), FOLLOWED);
                }
                RangePhase::Frozen => (),
            }
        }
    }

    /// The parameters of every place; one transfer from a card.
    fn params(&self) -> Vec<Params> {
        let floats = floats(&Tensor::stack(&self.ranges, 0));
        let (pairs, _) = floats.as_chunks::<2>();
        pairs.iter().map(|range| Params::of(*range)).collect()
    }
}

/// One way of a batch through the network.
pub(super) struct Pass<'a> {
    /// Batch norms use the batch's own statistics, unless the network is fake-quantized.
    pub(super) train: bool,
    /// Batch norms take over the batch's statistics and stay the same function.
    pub(super) settle: bool,
    fake: Option<FakePass<'a>>,
}

struct FakePass<'a> {
    quantizer: &'a FakeQuantizer,
    params: Vec<Params>,
    /// Least and largest value of each place in this batch, `[2]`.
    seen: RefCell<Vec<Option<Tensor>>>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(train: bool, quantizer: Option<&'a FakeQuantizer>) -> Self {
        let fake = quantizer.map(|quantizer| FakePass {
            quantizer,
            params: quantizer.params(),
            seen: RefCell::new(quantizer.ranges.iter().map(|_| None).collect()),
        });
        Self {
            train,
            settle: false,
            fake,
        }
    }

    /// One that settles the batch norms.
    pub(super) fn settling() -> Self {
        Self {
            settle: true,
            ..Self::new(false, None)
        }
    }

    pub(super) fn is_fake(&self) -> bool {
        self.fake.is_some()
    }

    /// The value of that name in the exported graph, as its bytes will say it.
    pub(super) fn value(&self, name: Arguments<'_>, x: Tensor) -> Tensor {
        match &self.fake {
            None => x,
            Some(fake) => fake.value(&name.to_string(), x, self.train),
        }
    }

    /// The weights of a convolution, `[out, in, height, width]`, as their bytes will say them.
    pub(super) fn weight(&self, weight: Tensor) -> Tensor {
        match &self.fake {
            Some(fake) if fake.quantizer.phase != RangePhase::Measured => rounded(&weight),
            _ => weight,
        }
    }

    /// Lets the ranges see the batch.
    pub(super) fn end(self) {
        let Some(fake) = self.fake else { return };
        tch::no_grad(|| fake.quantizer.take(fake.seen.into_inner()));
    }
}

impl FakePass<'_> {
    fn value(&self, name: &str, x: Tensor, train: bool) -> Tensor {
        let Some(&place) = self.quantizer.of_value.get(name) else {
            return x;
        };
        let looks = match self.quantizer.phase {
            RangePhase::Measured => true,
            RangePhase::Followed => train,
            RangePhase::Frozen => false,
        };
        if looks {
            self.see(place, &x);
        }
        if self.quantizer.phase == RangePhase::Measured {
            return x;
        }
        let Params { scale, zero } = self.params[place];
        x.fake_quantize_per_tensor_affine(f64::from(scale), i64::from(zero), 0, 255)
    }

    fn see(&self, place: usize, x: &Tensor) {
        tch::no_grad(|| {
            let (least, largest) = x.detach().aminmax(None, false);
            let here = Tensor::stack(&[least, largest], 0).to_kind(Kind::Float);
            let seen = &mut self.seen.borrow_mut()[place];
            *seen = Some(match seen.take() {
                None => here,
                Some(before) => hull(&before, &here),
            });
        });
    }
}

/// What holds two ranges, each `[2]`.
fn hull(a: &Tensor, b: &Tensor) -> Tensor {
    let least = a.minimum(b).narrow(0, 0, 1);
    let largest = a.maximum(b).narrow(0, 1, 1);
    Tensor::cat(&[least, largest], 0)
}

/// Rounded to the steps of each output channel, the largest weight being the largest step; the
/// gradient is that of `weight`.
fn rounded(weight: &Tensor) -> Tensor {
    let steps = f64::from(WeightBits::Seven.steps());
    let rounded = tch::no_grad(|| {
        let largest = weight.abs().amax([1, 2, 3], true);
        let scale = (largest / steps).clamp_min(SCALE_MIN);
        (weight / &scale).round().clamp(-steps, steps) * scale
    });
    weight + (rounded - weight).detach()
}

#[cfg(test)]
mod tests {
    use tch::{Device, nn};

    use super::*;

    fn place(measured: &str, members: &[&str], activation: Activation) -> Place {
        Place {
            measured: measured.to_owned(),
            members: members.iter().map(|&name| name.to_owned()).collect(),
            activation,
        }
    }

    fn range(store: &nn::VarStore, name: &str) -> Vec<f32> {
        floats(&store.variables()[name])
    }

    #[test]
    fn values_are_rounded_to_the_steps_of_their_range_and_cut_ones_teach_nothing() {
        let store = nn::VarStore::new(Device::Cpu);
        let mut fake = FakeQuantizer::new(
            &store.root(),
            &[place("a.b", &["a.b"], Activation::Straight)],
        );
        let mut bounds = store.variables()["quant.range.a.b"].shallow_clone();
        // Steps of 1/64, byte 128 is zero.
        bounds.copy_(&Tensor::from_slice(&[-2.0_f32, 127.0 / 64.0]));
        fake.set_phase(RangePhase::Followed);
        let x = Tensor::from_slice(&[0.01_f32, -0.3, 5.0, -2.0]).set_requires_grad(true);
        let pass = Pass::new(false, Some(&fake));
        let y = pass.value(format_args!("a.{}", "b"), x.shallow_clone());
        assert_eq!(floats(&y), [1.0 / 64.0, -19.0 / 64.0, 127.0 / 64.0, -2.0]);
        y.sum(Kind::Float).backward();
        assert_eq!(floats(&x.grad()), [1.0, 1.0, 0.0, 1.0]);
        let unknown = pass.value(format_args!("a"), x.shallow_clone());
        assert_eq!(floats(&unknown), floats(&x));
        pass.end();
        assert_eq!(range(&store, "quant.range.a.b"), [-2.0, 127.0 / 64.0]);
    }

    /// 7 bits: the largest weight of a channel is 63 steps.
    #[test]
    fn weights_are_rounded_to_the_steps_of_their_channel_and_learn_as_if_they_were_not() {
        let weight = Tensor::from_slice(&[63.0_f32, -31.4, 0.4, 0.63, 0.0, -0.0249])
            .view([2, 3, 1, 1])
            .set_requires_grad(true);
        let rounded = rounded(&weight);
        let expected = [63.0_f32, -31.0, 0.0, 0.63, 0.0, -0.02];
        for (found, expected) in floats(&rounded).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        (&rounded * &weight.detach()).sum(Kind::Float).backward();
        assert_eq!(floats(&weight.grad()), floats(&weight));
    }

    #[test]
    fn ranges_hold_all_members_while_measured_follow_slowly_and_then_stay() {
        let store = nn::VarStore::new(Device::Cpu);
        let places = [place("cat", &["a", "cat"], Activation::Straight)];
        let mut fake = FakeQuantizer::new(&store.root(), &places);
        let through = |fake: &FakeQuantizer, train: bool, a: f32, cat: f32| {
            let pass = Pass::new(train, Some(fake));
            for (name, value) in [("a", a), ("cat", cat)] {
                let _ = pass.value(format_args!("{name}"), Tensor::from_slice(&[value]));
            }
            pass.end();
            range(&store, "quant.range.cat")
        };
        fake.set_phase(RangePhase::Measured);
        assert_eq!(through(&fake, false, -1.0, 0.5), [-1.0, 0.5]);
        assert_eq!(through(&fake, false, 2.0, 0.25), [-1.0, 2.0]);
        assert_eq!(through(&fake, false, f32::NAN, 0.0), [-1.0, 2.0]);
        fake.set_phase(RangePhase::Followed);
        assert_eq!(through(&fake, false, 9.0, 9.0), [-1.0, 2.0]);
        let moved = through(&fake, true, 4.0, -1.0);
        assert!((moved[0] + 1.0).abs() < 1e-6 && (moved[1] - 2.1).abs() < 1e-6);
        fake.set_phase(RangePhase::Frozen);
        assert_eq!(through(&fake, true, 9.0, 9.0), moved);
    }

    #[test]
    fn what_an_activation_flattens_is_cut_once_and_only_the_upper_end_follows() {
        let store = nn::VarStore::new(Device::Cpu);
        let places = [place("x", &["x"], Activation::Silu)];
        let mut fake = FakeQuantizer::new(&store.root(), &places);
        let through = |fake: &FakeQuantizer, values: [f32; 2]| {
            let pass = Pass::new(true, Some(fake));
            let _ = pass.value(format_args!("x"), Tensor::from_slice(&values));
            pass.end();
            range(&store, "quant.range.x")
        };
        fake.set_phase(RangePhase::Measured);
        through(&fake, [-80.0, 4.0]);
        fake.set_phase(RangePhase::Followed);
        let cut = range(&store, "quant.range.x");
        assert!((-10.0..-3.0).contains(&cut[0]) && cut[1] == 4.0, "{cut:?}");
        let moved = through(&fake, [-80.0, 8.0]);
        assert_eq!(moved[0], cut[0]);
        assert!((moved[1] - 4.2).abs() < 1e-6, "{moved:?}");
    }
}
