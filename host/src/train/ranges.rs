//! The ranges of a quantization-aware training: measured first, then followed, frozen in the end.

use tch::Device;

use super::shown::shown;
use super::{TrainError, TrainPlan};
use crate::dataset::Dataset;
use crate::model::{Detector, RangePhase};

/// Pictures that the ranges are measured on before the first step.
const MEASURED: usize = 64;
/// Of them at once.
const BATCH: usize = 8;

/// What the ranges do in an epoch: weights need some time with ranges that do not move any more, as
/// those of the file will not.
pub(super) fn phase_of(epoch: usize, epochs: usize) -> RangePhase {
    match epoch < epochs - epochs.div_ceil(3) {
        true => RangePhase::Followed,
        false => RangePhase::Frozen,
    }
}

/// Widens the ranges to what the network in floating point has on training pictures as they are.
pub(super) fn measure(
    network: &mut Detector,
    data: &Dataset,
    plan: &TrainPlan,
    device: Device,
) -> Result<(), TrainError> {
    network.set_range_phase(RangePhase::Measured);
    for canvases in shown(data, plan, device, MEASURED, BATCH) {
        let canvases = canvases?;
        tch::no_grad(|| network.forward(&canvases, false));
    }
    network.set_range_phase(RangePhase::Frozen);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_for_the_last_third() {
        let followed =
            |epochs| (0..epochs).filter(move |&e| phase_of(e, epochs) == RangePhase::Followed);
        assert_eq!(
            [1, 2, 3, 6, 10].map(|n| followed(n).count()),
            [0, 1, 2, 4, 6]
        );
        assert_eq!(followed(6).next_back(), Some(3));
    }
}
