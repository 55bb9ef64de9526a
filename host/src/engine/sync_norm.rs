//! Batch norm whose mean and variance are those of the batches of all processes.
//!
//! Like autocast it is a state of the thread while the network runs forward, so that the network is
//! written once: [`joined`] names the group, [`batch_norm`] uses it.

use std::cell::RefCell;
use std::sync::Arc;

use tch::{Kind, Tensor, nn};

use super::EngineError;
use super::group::{ProcessGroup, joined_sum};

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State { group: None, failed: None }) };
}

struct State {
    group: Option<Arc<ProcessGroup>>,
    /// Why the group could not be asked: reported when the network is through.
    failed: Option<EngineError>,
}

/// Puts back what was before, whatever happens in between.
struct Region(Option<State>);

impl Drop for Region {
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            STATE.set(before);
        }
    }
}

/// Runs `forward` with batch norms over all of `group`; without a group just runs it.
///
/// # Errors
/// When a peer is gone: what `forward` returned is then of no use.
pub fn joined<T>(
    group: Option<&Arc<ProcessGroup>>,
    forward: impl FnOnce() -> T,
) -> Result<T, EngineError> {
    let inside = State {
        group: group.map(Arc::clone),
        failed: None,
    };
    let _region = Region(Some(STATE.replace(inside)));
    let out = forward();
    match STATE.with_borrow_mut(|state| state.failed.take()) {
        None => Ok(out),
        Some(error) => Err(error),
    }
}

/// `norm` on `x`; in training and inside [`joined`], over the batches of all processes.
///
/// `eps` and `momentum` must be those that `norm` was made with: it does not tell them. The running
/// variance is the unbiased one, as everywhere.
///
/// # Shapes
/// `[batch, channels, height, width]` in and out, in the number format of `x`; the batch may differ
/// between the processes.
pub fn batch_norm(
    x: &Tensor,
    norm: &nn::BatchNorm,
    eps: f64,
    momentum: f64,
    train: bool,
) -> Tensor {
    let group = STATE.with_borrow(|state| match state.failed {
        // One lost peer is enough to wait for.
        Some(_) => None,
        None => state.group.clone(),
    });
    if let Some(group) = group.filter(|_| train) {
        match of_group(x, norm, eps, momentum, &group) {
            Ok(y) => return y,
            Err(error) => STATE.with_borrow_mut(|state| state.failed = Some(error)),
        }
    }
    x.apply_t(norm, train)
}

fn of_group(
    x: &Tensor,
    norm: &nn::BatchNorm,
    eps: f64,
    momentum: f64,
    group: &Arc<ProcessGroup>,
) -> Result<Tensor, EngineError> {
    let (kind, channels) = (x.kind(), x.size()[1]);
    let x = match kind {
        Kind::Double => x.shallow_clone(),
        _ => x.to_kind(Kind::Float),
    };
    let Statistics {
        count,
        mean,
        variance,
    } = Statistics::of_all(&x, channels, group)?;
    tch::no_grad(|| {
        let unbiased = &variance * (count / (count - 1.0).max(1.0));
        let _ = norm.running_mean.shallow_clone().lerp_(&mean, momentum);
        let _ = norm.running_var.shallow_clone().lerp_(&unbiased, momentum);
    });
    let steepness = (variance + eps).rsqrt();
    let scale = match &norm.ws {
        Some(weight) => steepness * weight,
        None => steepness,
    };
    let shift = match &norm.bs {
        Some(bias) => bias - mean * &scale,
        None => mean * &scale * -1.0,
    };
    let wide = |t: Tensor| t.view([1, channels, 1, 1]);
    Ok(wide(shift).addcmul(&x, &wide(scale)).to_kind(kind))
}

/// Over batch, height and width of every channel.
struct Statistics {
    /// Values in each channel.
    count: f64,
    mean: Tensor,
    /// Biased.
    variance: Tensor,
}

impl Statistics {
    /// Every process's own mean and variance travel, not sums of squares: those would cancel.
    fn of_all(x: &Tensor, channels: i64, group: &Arc<ProcessGroup>) -> Result<Self, EngineError> {
        let (rank, world) = (group.rank() as i64, group.world() as i64);
        let options = (x.kind(), x.device());
        let count = x.numel() as i64 / channels;
        let own = if count == 0 {
            // A process without pictures in the last batch of an epoch. The gradient's way stays open,
            // because the way back must meet the others in the same sums.
            Tensor::zeros([2 * channels], options) + x.sum(x.kind())
        } else {
            let (variance, mean) = x.var_mean_dim([0_i64, 2, 3].as_slice(), false, false);
            Tensor::cat(&[mean, variance], 0)
        };
        let row = Tensor::cat(&[own, Tensor::full([1], count, options)], 0).unsqueeze(0);
        let before = Tensor::zeros([rank, 2 * channels + 1], options);
        let after = Tensor::zeros([world - rank - 1, 2 * channels + 1], options);
        let table = joined_sum(group, &Tensor::cat(&[before, row, after], 0))?;
        let counts = table.narrow(1, 2 * channels, 1).detach();
        let total = counts.sum(x.kind());
        let share = &counts / &total;
        let means = table.narrow(1, 0, channels);
        let variances = table.narrow(1, channels, channels);
        let over_processes = |t: Tensor| (t * &share).sum_dim_intlist(0_i64, false, x.kind());
        let mean = over_processes(means.shallow_clone());
        let variance = over_processes(variances + (means - &mean).square());
        Ok(Self {
            count: total.double_value(&[]),
            mean,
            variance,
        })
    }
}
