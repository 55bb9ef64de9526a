//! SGD with Nesterov momentum in three groups, and its schedule (attridet.md, 8.5).
//!
//! Written on tensors, because a checkpoint must hold the momentum and `tch` does not hand it out.

use std::collections::BTreeMap;

use tch::{Tensor, nn};

use crate::engine::{EngineError, lists};

/// How fast and how long.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// First learning rate.
    pub lr0: f64,
    /// Last learning rate, as a share of the first.
    pub lrf: f64,
    /// Momentum after warm-up.
    pub momentum: f64,
    /// Weight decay for a nominal batch.
    pub weight_decay: f64,
    /// Warm-up, in epochs; at least 100 batches unless 0.
    pub warmup_epochs: f64,
    /// Momentum at the first batch.
    pub warmup_momentum: f64,
    /// Learning rate of the biases at the first batch.
    pub warmup_bias_lr: f64,
    /// Cells of gradient are gathered until this many pictures were seen.
    pub nominal_batch: usize,
    /// Half a cosine instead of a line.
    pub cosine: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            lr0: 0.01,
            lrf: 0.01,
            momentum: 0.937,
            weight_decay: 0.0005,
            warmup_epochs: 3.0,
            warmup_momentum: 0.8,
            warmup_bias_lr: 0.1,
            nominal_batch: 64,
            cosine: false,
        }
    }
}

/// What holds during one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Learning rate of weights.
    pub lr: f64,
    /// Learning rate of biases.
    pub bias_lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Batches to a step.
    pub accumulate: usize,
}

impl Schedule {
    /// The pace at batch `at` (counted from the start of training) of `per_epoch` batches an epoch.
    pub fn pace(&self, at: usize, per_epoch: usize, epochs: usize, batch: usize) -> Pace {
        let epoch = (at / per_epoch) as f64;
        let done = epoch / epochs as f64;
        let falling = if self.cosine {
            (1.0 + (std::f64::consts::PI * done).cos()) / 2.0
        } else {
            1.0 - done
        };
        let lr = self.lr0 * (falling * (1.0 - self.lrf) + self.lrf);
        let accumulate = (self.nominal_batch as f64 / batch as f64).round().max(1.0);
        let warmup = (self.warmup_epochs * per_epoch as f64).round();
        let warmup = if self.warmup_epochs > 0.0 {
            warmup.max(100.0)
        } else {
            0.0
        };
        let at = at as f64;
        if at >= warmup {
            return Pace {
                lr,
                bias_lr: lr,
                momentum: self.momentum,
                accumulate: accumulate as usize,
            };
        }
        let between = |from: f64, to: f64| from + (to - from) * at / warmup;
        Pace {
            lr: between(0.0, lr),
            bias_lr: between(self.warmup_bias_lr, lr),
            momentum: between(self.warmup_momentum, self.momentum),
            accumulate: between(1.0, accumulate).round().max(1.0) as usize,
        }
    }

    /// Weight decay for the batches that make a step.
    fn decay(&self, batch: usize) -> f64 {
        let accumulate = (self.nominal_batch as f64 / batch as f64).round().max(1.0);
        self.weight_decay * (batch as f64 * accumulate) / self.nominal_batch as f64
    }
}

struct Variable {
    parameter: Tensor,
    is_bias: bool,
    /// Convolution weights do.
    decays: bool,
    momentum: Option<Tensor>,
}

/// The optimizer: convolution weights decay, batch norm and biases do not.
pub struct Sgd {
    decay: f64,
    variables: BTreeMap<String, Variable>,
}

impl Sgd {
    /// Takes every trainable variable of `store`.
    pub fn new(store: &nn::VarStore, schedule: &Schedule, batch: usize) -> Self {
        let trainable = store.variables().into_iter();
        let trainable = trainable.filter(|(_, variable)| variable.requires_grad());
        let variable = |(name, parameter): (String, Tensor)| {
            let variable = Variable {
                is_bias: name.ends_with(".bias"),
                decays: parameter.dim() > 1,
                parameter,
                momentum: None,
            };
            (name, variable)
        };
        Self {
            decay: schedule.decay(batch),
            variables: trainable.map(variable).collect(),
        }
    }

    /// Clips the gradients to a common norm of at most `norm_max`, steps and clears them.
    ///
    /// Returns the norm before clipping; when it is not finite nothing is stepped, only cleared.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn step(&mut self, pace: &Pace, norm_max: f64) -> Result<f64, EngineError> {
        tch::no_grad(|| {
            // A head that no batch has needed yet has no gradient.
            let defined = |v: &&mut Variable| v.parameter.grad().defined();
            let mut variables: Vec<_> = self.variables.values_mut().filter(defined).collect();
            let mut gradients: Vec<Tensor> = variables.iter().map(|v| v.parameter.grad()).collect();
            let norm = lists::norm(&gradients)?;
            if norm.is_finite() {
                let shrink = (norm_max / (norm + 1e-6)).min(1.0);
                if shrink < 1.0 {
                    lists::scale(&mut gradients, shrink)?;
                }
                apply(&mut variables, &mut gradients, pace, self.decay)?;
            }
            lists::clear(&mut gradients)?;
            Ok(norm)
        })
    }

    /// The momentum of every variable that has one, for a checkpoint.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let momentum = |(name, variable): (&String, &Variable)| {
            Some((name.clone(), variable.momentum.as_ref()?.shallow_clone()))
        };
        self.variables.iter().filter_map(momentum).collect()
    }

    /// Puts back what [`Sgd::state`] gave; names that are not variables are ignored.
    pub fn restore(&mut self, state: BTreeMap<String, Tensor>) {
        for (name, momentum) in state {
            if let Some(variable) = self.variables.get_mut(&name) {
                variable.momentum = Some(momentum.to_device(variable.parameter.device()));
            }
        }
    }
}

/// Steps `variables` along their `gradients`, which are used up.
fn apply(
    variables: &mut [&mut Variable],
    gradients: &mut [Tensor],
    pace: &Pace,
    decay: f64,
) -> Result<(), EngineError> {
    let those = |wanted: fn(&Variable) -> bool, tensors: &[Tensor], variables: &[&mut Variable]| {
        let chosen = variables.iter().zip(tensors).filter(|(v, _)| wanted(v));
        let pair =
            |(v, t): (&&mut Variable, &Tensor)| (v.parameter.shallow_clone(), t.shallow_clone());
        chosen.map(pair).unzip::<_, _, Vec<Tensor>, Vec<Tensor>>()
    };
    if decay > 0.0 {
        let (parameters, mut decaying) = those(|v| v.decays, gradients, variables);
        lists::add(&mut decaying, &parameters, decay)?;
    }
    let (mut moving, mut pushes) = (Vec::new(), Vec::new());
    let mut momenta = Vec::with_capacity(variables.len());
    for (variable, gradient) in variables.iter_mut().zip(&*gradients) {
        match &variable.momentum {
            Some(momentum) => {
                moving.push(momentum.shallow_clone());
                pushes.push(gradient.shallow_clone());
            }
            None => variable.momentum = Some(gradient.copy()),
        }
        momenta.extend(variable.momentum.as_ref().map(Tensor::shallow_clone));
    }
    lists::scale(&mut moving, pace.momentum)?;
    lists::add(&mut moving, &pushes, 1.0)?;
    lists::add(gradients, &momenta, pace.momentum)?;
    let (mut weights, steps) = those(|v| !v.is_bias, gradients, variables);
    lists::add(&mut weights, &steps, -pace.lr)?;
    let (mut biases, steps) = those(|v| v.is_bias, gradients, variables);
    lists::add(&mut biases, &steps, -pace.bias_lr)
}

/// A running mean of weights and buffers; what is validated and shipped (attridet.md, 8.5).
pub struct Ema {
    shadow: BTreeMap<String, Tensor>,
    updates: u64,
}

impl Ema {
    /// Starts as a copy of `store`.
    pub fn new(store: &nn::VarStore) -> Self {
        let shadow = store
            .variables()
            .into_iter()
            .map(|(name, v)| (name, v.detach().copy()))
            .collect();
        Self { shadow, updates: 0 }
    }

    /// Continues from a checkpoint.
    pub fn restored(shadow: BTreeMap<String, Tensor>, updates: u64) -> Self {
        Self { shadow, updates }
    }

    /// Moves towards `store`, the faster the younger.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn update(&mut self, store: &nn::VarStore) -> Result<(), EngineError> {
        self.updates += 1;
        let decay = 0.9999 * (1.0 - (-(self.updates as f64) / 2000.0).exp());
        let known = |(name, variable)| Some((self.shadow.get(&name)?.shallow_clone(), variable));
        let (mut shadow, variables): (Vec<Tensor>, Vec<Tensor>) =
            store.variables().into_iter().filter_map(known).unzip();
        tch::no_grad(|| lists::approach(&mut shadow, &variables, 1.0 - decay))
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The mean, by variable.
    pub fn shadow(&self) -> &BTreeMap<String, Tensor> {
        &self.shadow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_warms_up_and_falls() {
        let schedule = Schedule::default();
        let first = schedule.pace(0, 50, 100, 8);
        assert_eq!(
            (first.lr, first.bias_lr, first.momentum, first.accumulate),
            (0.0, 0.1, 0.8, 1)
        );
        let warm = schedule.pace(150, 50, 100, 8);
        assert_eq!(warm.accumulate, 8);
        assert!((warm.lr - 0.01 * (0.97 * 0.99 + 0.01)).abs() < 1e-12);
        assert_eq!(warm.lr, warm.bias_lr);
        assert!(schedule.pace(4999, 50, 100, 8).lr < 0.0003);
    }

    /// Two steps of torch.optim.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01) on
    /// x = 1, loss = x^2: hand calculation, g = 2 x + 0.01 x; v = g, then 0.9 v + g; x -= 0.1 (g + 0.9 v).
    #[test]
    fn a_step_is_nesterov_s() {
        let store = nn::VarStore::new(tch::Device::Cpu);
        let x = store.root().var("x", &[1, 1], nn::Init::Const(1.0));
        let schedule = Schedule {
            weight_decay: 0.01,
            nominal_batch: 1,
            ..Schedule::default()
        };
        let mut sgd = Sgd::new(&store, &schedule, 1);
        let pace = Pace {
            lr: 0.1,
            bias_lr: 0.1,
            momentum: 0.9,
            accumulate: 1,
        };
        let (mut expected, mut velocity) = (1.0_f64, 0.0_f64);
        for _ in 0..2 {
            x.square().sum(tch::Kind::Float).backward();
            sgd.step(&pace, 1e9).expect("one variable");
            let g = 2.01 * expected;
            velocity = 0.9 * velocity + g;
            expected -= 0.1 * (g + 0.9 * velocity);
        }
        assert!((x.double_value(&[0, 0]) - expected).abs() < 1e-6);
    }
}
