//! A wider network that begins as the same function as a narrow one (Net2Net, Chen et al. 2016).
//!
//! Every channel is repeated; what reads a channel divides its weight between the copies, unevenly, so
//! that the copies get gradients of their own and part.

use std::collections::BTreeMap;

use tch::{Kind, Tensor, nn};

use crate::augment::Rng;

/// How far a copy's share of a weight is from an even one, at most, as a part of that.
const UNEVEN: f32 = 0.5;
/// Stream of the shares; the loader, dropout and pictures have others.
const SHARES_STREAM: u64 = u64::MAX - 2;

/// Those of `values` that `store` has a variable for, in that variable's shape where it is a multiple
/// of theirs in channels; what cannot be widened comes back as it is.
pub(super) fn widened(
    store: &nn::VarStore,
    values: &BTreeMap<String, Tensor>,
    seed: u64,
) -> BTreeMap<String, Tensor> {
    let mut rng = Rng::new(seed, 0, SHARES_STREAM);
    // By name, as the shares are drawn one after another.
    let variables: BTreeMap<String, Tensor> = store.variables().into_iter().collect();
    let wide = variables.into_iter().filter_map(|(name, variable)| {
        let value = values.get(&name)?;
        let wide = wide(value, &variable.size(), &mut rng);
        Some((name, wide.unwrap_or_else(|| value.shallow_clone())))
    });
    wide.collect()
}

/// `None` when `size` is no multiple of the value's in the channels, or other beside them.
fn wide(value: &Tensor, size: &[i64], rng: &mut Rng) -> Option<Tensor> {
    let narrow = value.size();
    let channels = narrow.len().min(2);
    let of = |at: usize| (size[at] % narrow[at] == 0).then_some(size[at] / narrow[at]);
    if narrow.len() != size.len() || narrow[channels..] != size[channels..] {
        return None;
    }
    let times: Option<Vec<i64>> = (0..channels).map(of).collect();
    let mut value = value.shallow_clone();
    for (at, &times) in times?.iter().enumerate().filter(|(_, times)| **times > 1) {
        value = value.repeat_interleave_self_int(times, at as i64, None);
        if at == 1 {
            let shares = shares([size[0], narrow[1], times], size.len(), rng);
            value = &value * shares.to_device(value.device());
        }
    }
    Some(value)
}

/// What each copy of a channel has of a weight: `[out, in * times, 1, ...]`; those of a channel add up to 1.
fn shares([out, narrow, times]: [i64; 3], dimensions: usize, rng: &mut Rng) -> Tensor {
    let drawn: Vec<f32> = (0..out * narrow * times)
        .map(|_| rng.uniform(-UNEVEN, UNEVEN))
        .collect();
    let uneven = Tensor::from_slice(&drawn).view([out, narrow, times]);
    let mean = uneven.mean_dim([2_i64].as_slice(), true, Kind::Float);
    let shares = (uneven - mean + 1.0) / times as f64;
    let mut shape = vec![1; dimensions];
    shape[..2].copy_from_slice(&[out, narrow * times]);
    shares.view(shape.as_slice())
}

#[cfg(test)]
mod tests {
    use shared::head::HeadSpec;
    use tch::Device;

    use super::*;
    use crate::checkpoint::{fill_where_fitting, seeded};
    use crate::model::{Architecture, Detector};

    fn network(size: &str, seed: i64) -> (nn::VarStore, Detector) {
        let architecture = Architecture::yolov5(size).unwrap();
        let head = HeadSpec {
            levels: architecture.levels(),
            n_classes: 3,
            value_counts: [2, 3].into_iter().collect(),
        };
        let store = nn::VarStore::new(Device::Cpu);
        let network = seeded(seed, || Detector::new(&store.root(), &architecture, &head));
        (store, network)
    }

    #[test]
    fn the_wider_network_is_the_same_function_and_its_copies_part() {
        let (narrow_store, narrow) = network("n", 1);
        let (wide_store, wide) = network("s", 2);
        let values = narrow_store.variables().into_iter().collect();
        let left = fill_where_fitting(&wide_store, &widened(&wide_store, &values, 7));
        assert!(left.is_empty(), "{left:?}");
        let canvases = seeded(3, || {
            Tensor::rand([2, 3, 64, 64], (Kind::Float, Device::Cpu))
        });
        let expected = narrow.forward(&canvases, false).heads;
        let found = wide.forward(&canvases, false).heads;
        for (found, expected) in found.iter().zip(&expected) {
            let off = f64::try_from((found - expected).abs().max()).unwrap();
            assert!(
                off < 1e-4 * f64::try_from(expected.abs().max()).unwrap(),
                "{off}"
            );
        }
        wide.forward(&canvases, true).heads[0]
            .square()
            .sum(Kind::Float)
            .backward();
        let gradient = wide_store.variables()["model.0.conv.weight"].grad();
        let (first, copy) = (gradient.select(0, 0), gradient.select(0, 1));
        assert!(
            f64::try_from((&first - copy).norm()).unwrap()
                > 0.01 * f64::try_from(first.norm()).unwrap()
        );
    }

    #[test]
    fn what_is_no_multiple_stays_as_it_is() {
        let store = nn::VarStore::new(Device::Cpu);
        let _ = store.root().zeros("weight", &[5, 4]);
        let values = BTreeMap::from([(
            "weight".to_owned(),
            Tensor::ones([2, 2], (Kind::Float, Device::Cpu)),
        )]);
        assert_eq!(widened(&store, &values, 1)["weight"].size(), [2, 2]);
    }
}
