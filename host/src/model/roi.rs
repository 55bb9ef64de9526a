//! The AttriDet reference's attribute head: the features of each cell, pooled to one size from the
//! backbone's maps at strides 4 and 8, through a small network of their own (attridet.md, 1.2, 1.3).

use shared::attribute::{AttributeFindings, findings};
use shared::head::HeadError;
use shared::roi::{COLUMNS, ROWS, Region, STRIDES, axis_weights};
use tch::nn::{self, Module, Path};
use tch::{Device, Kind, Tensor};

use super::Architecture;
use super::block::weight_init;
use crate::augment::Rng;

/// Channels behind the three convolutions, and the places that three halvings of 24 x 30 leave.
pub(super) const CHANNELS: [i64; 3] = [128, 64, 64];
pub(super) const PLACES: i64 = 3 * 3;

/// Outputs of the first two full layers.
pub(super) const HIDDEN: [i64; 2] = [1024, 256];

/// Share of the numbers before each full layer that training leaves out.
const DROPOUT: f32 = 0.5;

/// Regions of one picture that are pooled at once; more take further rounds, so that one crowded
/// picture does not make room for as many regions on all others.
const ROUND: usize = 8;

/// Regions that go through the head at once where nothing is learned.
const CHUNK: usize = 64;

/// A region of one picture of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlacedRegion {
    /// Position of the picture in the batch.
    pub image: usize,
    /// Where, in canvas pixels.
    pub region: Region,
}

/// The head; its variables lie under `attributes.` in the store it was built in.
#[derive(Debug)]
pub struct RegionHead {
    convolutions: [nn::Conv2D; 3],
    full: [nn::Linear; 3],
    value_counts: Vec<u8>,
}

impl RegionHead {
    /// Builds the layers in `root`; `value_counts` are the values of each attribute.
    pub fn new(root: &Path, architecture: &Architecture, value_counts: &[u8]) -> Self {
        let path = root / "attributes";
        let n_values: i64 = value_counts.iter().map(|&n| i64::from(n)).sum();
        let [c1, c2, c3] = CHANNELS;
        let [h1, h2] = HIDDEN;
        let c_in: i64 = region_channels(architecture).iter().sum();
        let conv = |name: &str, c_in: i64, c_out| {
            let config = nn::ConvConfig {
                padding: 1,
                ws_init: weight_init(9 * c_in),
                bs_init: weight_init(9 * c_in),
                ..Default::default()
            };
            nn::conv2d(&path / name, c_in, c_out, 3, config)
        };
        let full = |name: &str, n_in: i64, n_out| {
            let config = nn::LinearConfig {
                ws_init: weight_init(n_in),
                bs_init: Some(weight_init(n_in)),
                bias: true,
            };
            nn::linear(&path / name, n_in, n_out, config)
        };
        Self {
            convolutions: [
                conv("conv1", c_in, c1),
                conv("conv2", c1, c2),
                conv("conv3", c2, c3),
            ],
            full: [
                full("fc1", c3 * PLACES, h1),
                full("fc2", h1, h2),
                full("fc3", h2, n_values),
            ],
            value_counts: value_counts.to_vec(),
        }
    }

    /// Values of each attribute.
    pub fn value_counts(&self) -> &[u8] {
        &self.value_counts
    }

    /// Logits of every value of every region; `dropout` draws what training leaves out, `None` leaves
    /// out nothing.
    ///
    /// # Shapes
    /// `fine` as [`Outputs::fine`](super::Outputs::fine) → `[regions, values]`; at least one region.
    pub fn values(
        &self,
        fine: &[Tensor; 2],
        regions: &[PlacedRegion],
        dropout: Option<&mut Rng>,
    ) -> Tensor {
        if regions.is_empty() {
            let n_values: usize = self.value_counts.iter().map(|&n| usize::from(n)).sum();
            return Tensor::zeros([0, n_values as i64], (Kind::Float, fine[0].device()));
        }
        let maps = fine.iter().zip(STRIDES);
        let pooled: Vec<Tensor> = maps
            .map(|(map, stride)| roi_align(map, stride, regions))
            .collect();
        self.forward(&Tensor::cat(&pooled, 1), dropout)
    }

    /// The likeliest value of each attribute of every region.
    ///
    /// # Errors
    /// When a logit is NaN or infinite.
    pub fn findings(
        &self,
        fine: &[Tensor; 2],
        regions: &[PlacedRegion],
    ) -> Result<Vec<AttributeFindings>, HeadError> {
        let mut found = Vec::with_capacity(regions.len());
        let n_values: usize = self.value_counts.iter().map(|&n| usize::from(n)).sum();
        for chunk in regions.chunks(CHUNK) {
            let values = tch::no_grad(|| self.values(fine, chunk, None));
            let logits = crate::checkpoint::floats(&values);
            if !logits.iter().all(|logit| logit.is_finite()) {
                return Err(HeadError::AttributesNotFinite);
            }
            let rows = logits.chunks_exact(n_values.max(1));
            found.extend(rows.map(|row| findings(&self.value_counts, |at| row[at])));
        }
        Ok(found)
    }

    /// # Shapes
    /// `[regions, channels, ROWS, COLUMNS]` → `[regions, values]`
    fn forward(&self, pooled: &Tensor, mut dropout: Option<&mut Rng>) -> Tensor {
        let mut x = pooled.shallow_clone();
        for convolution in &self.convolutions {
            x = convolution.forward(&x).leaky_relu().max_pool2d(
                [2, 2],
                [2, 2],
                [0, 0],
                [1, 1],
                false,
            );
        }
        let [fc1, fc2, fc3] = &self.full;
        let mut drop = |x: Tensor| match &mut dropout {
            Some(rng) => dropped(&x, rng),
            None => x,
        };
        let x = drop(x.flatten(1, -1));
        let x = drop(fc1.forward(&x).leaky_relu());
        let x = drop(fc2.forward(&x).leaky_relu());
        fc3.forward(&x)
    }
}

/// Drawn here and not by torch, whose generator belongs to the whole process: a resumed run could not
/// go on with its numbers.
fn dropped(x: &Tensor, rng: &mut Rng) -> Tensor {
    let kept = 1.0 / (1.0 - DROPOUT);
    let mut draw = || if rng.chance(DROPOUT) { 0.0 } else { kept };
    let mask: Vec<f32> = (0..x.numel()).map(|_| draw()).collect();
    x * on(&mask, x.device()).view_as(x)
}

/// Channels of the maps that regions are read from, at strides 4 and 8.
pub fn region_channels(architecture: &Architecture) -> [i64; 2] {
    let [_, c128, c256, ..] = architecture.widths();
    [c128, c256]
}

/// All regions of a batch, pooled by two matrix products a round; the map itself is never copied
/// for a region.
///
/// # Shapes
/// `map` `[batch, channels, height, width]` → `[regions, channels, ROWS, COLUMNS]`, in the order of
/// `regions`.
pub fn roi_align(map: &Tensor, stride: u16, regions: &[PlacedRegion]) -> Tensor {
    let (batch, channels, height, width) = map.size4().expect("a map has four dimensions");
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    let mut seen = vec![0; batch as usize];
    let mut slots = vec![0; regions.len()];
    for (index, placed) in regions.iter().enumerate() {
        let nth = seen[placed.image];
        seen[placed.image] += 1;
        slots[index] = nth % ROUND;
        if rounds.len() <= nth / ROUND {
            rounds.push(Vec::new());
        }
        rounds[nth / ROUND].push(index);
    }
    // [batch, height, channels * width], once for all rounds.
    let lines = map.permute([0, 2, 1, 3]).reshape([batch, height, -1]);
    let pooled: Vec<Tensor> = rounds
        .iter()
        .map(|round| {
            let room = 1 + round.iter().map(|&index| slots[index]).max().unwrap_or(0);
            let weights = Weights::of(round, regions, &slots, room, stride, map);
            let rows = weights
                .rows
                .bmm(&lines)
                .view([-1, ROWS as i64 * channels, width])
                .index_select(0, &weights.places);
            rows.bmm(&weights.columns)
                .view([-1, ROWS as i64, channels, COLUMNS as i64])
                .permute([0, 2, 1, 3])
        })
        .collect();
    let order: Vec<i64> = rounds.iter().flatten().map(|&at| at as i64).collect();
    let pooled = Tensor::cat(&pooled, 0);
    if order.is_sorted() {
        return pooled;
    }
    let mut place_of = vec![0_i64; order.len()];
    for (place, &index) in order.iter().enumerate() {
        place_of[index as usize] = place as i64;
    }
    pooled.index_select(0, &on(&place_of, map.device()))
}

/// The weights of a round.
struct Weights {
    /// `[batch, room * ROWS, height]`; zero where a picture has fewer regions.
    rows: Tensor,
    /// `[regions of the round, width, COLUMNS]`.
    columns: Tensor,
    /// Places of the round's regions among `batch * room`.
    places: Tensor,
}

impl Weights {
    fn of(
        round: &[usize],
        regions: &[PlacedRegion],
        slots: &[usize],
        room: usize,
        stride: u16,
        map: &Tensor,
    ) -> Self {
        let (batch, _, height, width) = map.size4().expect("a map has four dimensions");
        let (h, w) = (height as usize, width as usize);
        let mut rows = vec![0.0; batch as usize * room * ROWS * h];
        let mut columns = vec![0.0; round.len() * COLUMNS * w];
        let mut places = Vec::with_capacity(round.len());
        for (&index, columns) in round.iter().zip(columns.chunks_exact_mut(COLUMNS * w)) {
            let PlacedRegion { image, region } = regions[index];
            let [x0, y0, x1, y1] = region.map(|edge| edge / f32::from(stride));
            let place = image * room + slots[index];
            let rows = &mut rows[place * ROWS * h..(place + 1) * ROWS * h];
            axis_weights(y0, y1, ROWS, h, rows);
            axis_weights(x0, x1, COLUMNS, w, columns);
            places.push(place as i64);
        }
        let device = map.device();
        Self {
            rows: on(&rows, device).view([batch, -1, height]),
            columns: on(&columns, device)
                .view([-1, COLUMNS as i64, width])
                .transpose(1, 2),
            places: on(&places, device),
        }
    }
}

fn on<T: tch::kind::Element>(values: &[T], device: Device) -> Tensor {
    Tensor::from_slice(values).to_device_(device, T::KIND, true, false)
}

#[cfg(test)]
mod tests {
    use shared::geometry::Size;
    use tch::Kind;

    use super::*;
    use crate::checkpoint::floats;

    /// attridet.md, 1.3: counted in the reference's head with its six attributes of two values.
    #[test]
    fn parameter_counts_are_the_reference_s() {
        for (size, expected) in [
            ("n", 1_077_772),
            ("s", 1_188_364),
            ("m", 1_298_956),
            ("l", 1_409_548),
            ("x", 1_520_140),
        ] {
            let store = nn::VarStore::new(Device::Cpu);
            let architecture = Architecture::yolov5(size).unwrap();
            RegionHead::new(&store.root(), &architecture, &[2; 6]);
            let variables = store.trainable_variables();
            let n: usize = variables.iter().map(Tensor::numel).sum();
            assert_eq!(n, expected, "{size}");
        }
    }

    fn map(batch: i64, channels: i64, side: i64) -> Tensor {
        let values = Tensor::arange(batch * channels * side * side, (Kind::Float, Device::Cpu));
        (values * 0.37).sin().view([batch, channels, side, side])
    }

    /// Regions of three pictures in no order; the second has more than fit into a round.
    fn regions() -> Vec<PlacedRegion> {
        let place = |at: usize| PlacedRegion {
            image: [1, 2, 1, 1][at % 4],
            region: [
                3.3 * at as f32,
                40.0 - at as f32,
                3.3 * at as f32 + 30.5,
                70.25 + at as f32,
            ],
        };
        (0..14).map(place).collect()
    }

    #[test]
    fn the_batched_pooling_is_that_of_the_station() {
        let features = map(3, 5, 20);
        let regions = regions();
        let pooled = roi_align(&features, 4, &regions);
        assert_eq!(pooled.size(), [14, 5, 24, 30]);
        let size = Size::new(20, 20);
        let mut scratch = vec![0.0; shared::roi::scratch_len(size)];
        for (index, PlacedRegion { image, region }) in regions.into_iter().enumerate() {
            let feature = floats(&features.get(image as i64));
            let mut one = vec![0.0; 5 * ROWS * COLUMNS];
            shared::roi::roi_align(&feature, size, 4, region, &mut scratch, &mut one);
            let batched = floats(&pooled.get(index as i64));
            for (a, b) in batched.iter().zip(&one) {
                assert!((a - b).abs() < 1e-5, "region {index}: {a} {b}");
            }
        }
    }

    /// The gradient of a sum over all pooled values is, per pixel, the product of the axes' summed
    /// weights; a picture without regions has none.
    #[test]
    fn the_gradient_reaches_the_pixels_that_were_pooled() {
        let features = map(3, 2, 20).set_requires_grad(true);
        let region = [10.0, 20.0, 42.0, 60.0];
        let one = [PlacedRegion { image: 1, region }];
        roi_align(&features, 4, &one).sum(Kind::Float).backward();
        let gradient = features.grad();
        assert_eq!(
            gradient.get(0).abs().sum(Kind::Float).double_value(&[]),
            0.0
        );
        let (mut rows, mut columns) = ([0.0; 24 * 20], [0.0; 30 * 20]);
        axis_weights(5.0, 15.0, 24, 20, &mut rows);
        axis_weights(2.5, 10.5, 30, 20, &mut columns);
        let sum = |weights: &[f32], at: usize| weights.iter().skip(at).step_by(20).sum::<f32>();
        for (y, x) in [(5, 3), (10, 7), (14, 10), (0, 0), (19, 19)] {
            let expected = sum(&rows, y) * sum(&columns, x);
            let got = gradient.double_value(&[1, 1, y as i64, x as i64]) as f32;
            assert!((got - expected).abs() < 1e-4, "{y} {x}: {got} {expected}");
        }
    }

    #[test]
    fn every_region_gets_the_values_it_would_get_alone() {
        tch::manual_seed(3);
        let store = nn::VarStore::new(Device::Cpu);
        let architecture = Architecture::yolov5("n").unwrap();
        let head = RegionHead::new(&store.root(), &architecture, &[2, 3]);
        let fine = [map(3, 32, 20), map(3, 64, 10)];
        let regions = regions();
        let all = head.values(&fine, &regions, None);
        assert_eq!(all.size(), [14, 5]);
        for (index, &region) in regions.iter().enumerate() {
            let alone = head.values(&fine, &[region], None);
            let off = (alone.get(0) - all.get(index as i64)).abs().max();
            assert!(off.double_value(&[]) < 1e-5, "region {index}: {off:?}");
        }
        let found = head.findings(&fine, &regions).unwrap();
        assert_eq!(found.len(), 14);
        let named = |row: &AttributeFindings| row.iter().flatten().count();
        assert!(found.iter().all(|row| named(row) == 2));
    }

    #[test]
    fn half_is_left_out_the_rest_is_doubled_and_a_seed_says_what() {
        let x = Tensor::ones([200, 100], (Kind::Float, Device::Cpu));
        let drawn = |seed| floats(&dropped(&x, &mut Rng::new(seed, 0, 0)));
        let kept = drawn(1).iter().filter(|&&v| v == 2.0).count();
        assert!((9_700..10_300).contains(&kept), "{kept} of 20000");
        assert!(drawn(1).iter().all(|&v| v == 0.0 || v == 2.0));
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn values_that_are_no_numbers_are_refused() {
        let store = nn::VarStore::new(Device::Cpu);
        let architecture = Architecture::yolov5("n").unwrap();
        let head = RegionHead::new(&store.root(), &architecture, &[2]);
        let fine = [map(3, 32, 20) * f64::NAN, map(3, 64, 10)];
        let refused = head.findings(&fine, &regions()).unwrap_err();
        assert_eq!(refused, HeadError::AttributesNotFinite);
    }
}
