//! What values a network has on calibration canvases.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use shared::geometry::Size;
use tch::{Kind, Tensor};

use super::QuantizeError;
use super::network::foreign;
use super::observe::{BINS, Histogram, Observer};
use super::places::Place;
use super::rewrite::Params;
use super::run::Runner;
use crate::checkpoint::{Checkpoint, floats};

/// Canvases that go through the network at once.
const BATCH: i64 = 8;

/// Canvases, planar, in a constant order.
#[derive(Debug)]
pub struct Canvases {
    /// `u8 [n, 3, height, width]`, n at least 1.
    tensor: Tensor,
    /// SHA-256 of the bytes in their order, hexadecimal.
    pub sha256: String,
}

impl Canvases {
    /// Takes the bytes of canvases of one size; `place` is where their pictures come from.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(bytes: &[u8], size: Size, place: &str) -> Result<Self, QuantizeError> {
        if bytes.is_empty() {
            let place = place.to_owned();
            return Err(QuantizeError::NoPictures { place });
        }
        let (height, width) = (i64::from(size.height), i64::from(size.width));
        let digest = Sha256::digest(bytes);
        Ok(Self {
            tensor: Tensor::from_slice(bytes).view([-1, 3, height, width]),
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// How many.
    pub fn n(&self) -> usize {
        self.tensor.size()[0] as usize
    }

    /// At most `n` of them, evenly spaced.
    ///
    /// # Shapes
    /// `u8 [n, 3, height, width]`
    pub fn spaced(&self, n: usize) -> Tensor {
        let places: Vec<i64> = spaced(self.n(), n).map(|place| place as i64).collect();
        self.tensor.index_select(0, &Tensor::from_slice(&places))
    }

    /// All of them in batches.
    ///
    /// # Shapes
    /// each `u8 [batch, 3, height, width]`
    pub fn batches(&self) -> Vec<Tensor> {
        self.tensor.split(BATCH, 0)
    }
}

/// At most `n` of the numbers below `of`, evenly spaced.
pub fn spaced(of: usize, n: usize) -> impl Iterator<Item = usize> {
    let n = n.min(of);
    (0..n).map(move |place| place * of / n)
}

/// Ranges by the name of the value they were measured on.
pub type Ranges = BTreeMap<String, [f32; 2]>;

/// Beginning of the name under which a checkpoint keeps a range that it was trained with.
pub const TRAINED_RANGES: &str = "quant.range.";

/// Ranges that a checkpoint was trained with; none unless it was trained for 8 bits.
///
/// # Errors
/// A range that is not two finite numbers in ascending order.
pub fn trained_ranges(checkpoint: &Checkpoint) -> Result<Ranges, QuantizeError> {
    let of = |(name, tensor): (&String, &Tensor)| {
        let value = name.strip_prefix(TRAINED_RANGES)?.to_owned();
        let range = match floats(tensor)[..] {
            [lo, hi] if lo.is_finite() && hi.is_finite() && lo <= hi => Ok((value, [lo, hi])),
            ref other => Err(foreign(name, "two ascending numbers", format!("{other:?}"))),
        };
        Some(range)
    };
    checkpoint.ema.iter().filter_map(of).collect()
}

/// The range of every place: the given one, else what `observer` chooses from the values on the
/// canvases.
///
/// # Errors
/// A value that is not finite.
pub fn ranges(
    runner: &Runner<'_>,
    places: &[Place],
    canvases: &Canvases,
    observer: Observer,
    given: &Ranges,
) -> Result<Ranges, QuantizeError> {
    let mut ranges: Ranges = given_ranges(places, given);
    let open: Vec<&Place> = places
        .iter()
        .filter(|place| !ranges.contains_key(&place.measured))
        .collect();
    if open.is_empty() {
        return Ok(ranges);
    }
    let mut seen: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    let none = [f64::INFINITY, f64::NEG_INFINITY];
    seen.extend(open.iter().map(|place| (place.measured.as_str(), none)));
    extremes(runner, canvases, &mut seen)?;
    if observer == Observer::MinMax {
        ranges.extend(open.iter().map(|place| {
            let even = Histogram::even(seen[place.measured.as_str()]);
            (
                place.measured.clone(),
                even.range(observer, place.activation),
            )
        }));
        return Ok(ranges);
    }
    let histograms = histograms(runner, canvases, &seen)?;
    ranges.extend(open.iter().map(|place| {
        let histogram = &histograms[place.measured.as_str()];
        (
            place.measured.clone(),
            histogram.range(observer, place.activation),
        )
    }));
    Ok(ranges)
}

/// The given range of each place that has one: of the measured value, else what holds those of all
/// members.
fn given_ranges(places: &[Place], given: &Ranges) -> Ranges {
    let of_place = |place: &Place| {
        let members = || place.members.iter().filter_map(|name| given.get(name));
        let widest = members()
            .copied()
            .reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]);
        let range = given.get(&place.measured).copied().or(widest)?;
        Some((place.measured.clone(), range))
    };
    places.iter().filter_map(of_place).collect()
}

fn extremes(
    runner: &Runner<'_>,
    canvases: &Canvases,
    seen: &mut BTreeMap<&str, [f64; 2]>,
) -> Result<(), QuantizeError> {
    for (batch, tensor) in canvases.batches().iter().enumerate() {
        let mut bad = None;
        runner.run(tensor, &mut |node, value| {
            if let Some([lo, hi]) = seen.get_mut(node.output()) {
                let (least, largest) =
                    (value.min().double_value(&[]), value.max().double_value(&[]));
                if !(least.is_finite() && largest.is_finite()) && bad.is_none() {
                    bad = Some((node.output().to_owned(), first_bad(&value)));
                }
                (*lo, *hi) = (lo.min(least), hi.max(largest));
            }
            value
        })?;
        if let Some((name, place)) = bad {
            let canvas = batch * BATCH as usize + place;
            return Err(QuantizeError::NotFinite { name, canvas });
        }
    }
    Ok(())
}

/// Place in the batch of the first canvas with a value that is not finite.
fn first_bad(value: &Tensor) -> usize {
    let rows = value
        .isfinite()
        .logical_not()
        .flatten(1, -1)
        .any_dim(1, false);
    let rows = floats(&rows);
    rows.iter().position(|bad| *bad > 0.0).unwrap_or(0)
}

fn histograms<'a>(
    runner: &Runner<'_>,
    canvases: &Canvases,
    seen: &BTreeMap<&'a str, [f64; 2]>,
) -> Result<BTreeMap<&'a str, Histogram>, QuantizeError> {
    let empty = |&[lo, hi]: &[f64; 2]| Histogram {
        lo,
        hi,
        counts: vec![0.0; BINS],
    };
    let mut histograms: BTreeMap<&str, Histogram> = seen
        .iter()
        .map(|(&name, range)| (name, empty(range)))
        .collect();
    for tensor in &canvases.batches() {
        runner.run(tensor, &mut |node, value| {
            if let Some(histogram) = histograms.get_mut(node.output()) {
                count(histogram, &value);
            }
            value
        })?;
    }
    Ok(histograms)
}

fn count(histogram: &mut Histogram, value: &Tensor) {
    if histogram.hi <= histogram.lo {
        return;
    }
    // Integers of the bins: what torch's histogram counts in f32 stops at 2^24.
    let per_value = BINS as f64 / (histogram.hi - histogram.lo);
    let bins = ((value - histogram.lo) * per_value)
        .floor()
        .clamp(0.0, BINS as f64 - 1.0);
    let counts = bins
        .to_kind(Kind::Int64)
        .view(-1)
        .bincount::<Tensor>(None, BINS as i64);
    for (total, count) in histogram.counts.iter_mut().zip(floats(&counts)) {
        *total += f64::from(count);
    }
}

/// The parameters of every member of every place.
pub fn params(places: &[Place], ranges: &Ranges) -> BTreeMap<String, Params> {
    let of_place = |place: &Place| {
        let params = ranges.get(&place.measured).map(|range| Params::of(*range));
        let members = place.members.clone().into_iter();
        params
            .into_iter()
            .flat_map(move |p| members.clone().map(move |name| (name, p)))
    };
    places.iter().flat_map(of_place).collect()
}
