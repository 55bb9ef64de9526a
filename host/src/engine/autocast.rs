//! Half precision where it is safe: convolutions compute in half, losses and sums stay in 32 bits.

use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::Device;

use super::EngineError;
use super::card::{Card, card};
use super::shim;

/// A 16-bit number format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The range of 32 bits with 8 bits of mantissa: needs no scaling of the loss.
    Bf16,
    /// 11 bits of mantissa, 6e-8 to 65504: gradients vanish unless the loss is scaled.
    Fp16,
}

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AmpChoice {
    /// On a card bf16 where it has it, else fp16; 32 bits on the CPU.
    #[default]
    Auto,
    /// 32 bits.
    Off,
    /// bf16, also on the CPU.
    Bf16,
    /// fp16, also on the CPU.
    Fp16,
}

impl FromStr for AmpChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "bf16" => Ok(Self::Bf16),
            "fp16" => Ok(Self::Fp16),
            _ => Err(format!("{text:?}, expected auto, off, bf16 or fp16")),
        }
    }
}

/// What a network computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    Float32,
    /// Convolutions in half.
    Mixed(Half),
}

impl Precision {
    /// What `choice` means on `device`.
    ///
    /// # Errors
    /// When the card cannot be asked, or bf16 is asked of a card without it.
    pub fn resolve(choice: AmpChoice, device: Device) -> Result<Self, EngineError> {
        match (choice, device) {
            (AmpChoice::Off, _) => Ok(Self::Float32),
            (_, Device::Cuda(index)) => Self::on_card(choice, &card(index)?),
            (AmpChoice::Bf16, _) => Ok(Self::Mixed(Half::Bf16)),
            (AmpChoice::Fp16, _) => Ok(Self::Mixed(Half::Fp16)),
            (AmpChoice::Auto, _) => Ok(Self::Float32),
        }
    }

    fn on_card(choice: AmpChoice, card: &Card) -> Result<Self, EngineError> {
        match choice {
            AmpChoice::Off => Ok(Self::Float32),
            AmpChoice::Fp16 => Ok(Self::Mixed(Half::Fp16)),
            AmpChoice::Auto if !card.has_bf16() => Ok(Self::Mixed(Half::Fp16)),
            AmpChoice::Bf16 if !card.has_bf16() => Err(EngineError::Missing(format!(
                "--amp bf16: {card} has no bf16, which needs compute capability 8.0; expected auto, fp16 or off"
            ))),
            AmpChoice::Auto | AmpChoice::Bf16 => Ok(Self::Mixed(Half::Bf16)),
        }
    }

    /// Gradients in this precision vanish unless the loss is scaled up.
    pub fn needs_scaling(self) -> bool {
        self == Self::Mixed(Half::Fp16)
    }

    /// Runs `forward` in this precision; nested calls and panics leave what was before.
    ///
    /// # Errors
    /// When libtorch knows no autocast for the device.
    pub fn run<T>(self, device: Device, forward: impl FnOnce() -> T) -> Result<T, EngineError> {
        let _region = match self {
            Self::Float32 => None,
            Self::Mixed(half) => Some(Region::enter(device, half)?),
        };
        Ok(forward())
    }
}

/// Autocast is a state of the thread: this puts back what was before, whatever happens in between.
struct Region {
    cuda: i32,
    before: i32,
    not_send: PhantomData<*const ()>,
}

impl Region {
    fn enter(device: Device, half: Half) -> Result<Self, EngineError> {
        let cuda = i32::from(device.is_cuda());
        let half = match half {
            Half::Bf16 => 1,
            Half::Fp16 => 2,
        };
        let mut before = 0;
        // SAFETY: only numbers cross; `before` is written.
        unsafe { shim::libtorch(shim::leuko_autocast_enter(cuda, half, &raw mut before))? };
        Ok(Self {
            cuda,
            before,
            not_send: PhantomData,
        })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: only numbers cross; `before` is what the same thread's enter gave.
        let left = unsafe { shim::check(shim::leuko_autocast_leave(self.cuda, self.before)) };
        debug_assert_eq!(left, Ok(()), "what could be entered can be left");
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    fn product() -> Tensor {
        let ones = Tensor::ones([8, 8], (Kind::Float, Device::Cpu)) / 3.0;
        ones.matmul(&ones)
    }

    #[test]
    fn a_region_computes_in_half_and_leaves_what_was_before() {
        let run = |precision: Precision| precision.run(Device::Cpu, product).expect("CPU");
        assert_eq!(run(Precision::Float32).kind(), Kind::Float);
        assert_eq!(run(Precision::Mixed(Half::Bf16)).kind(), Kind::BFloat16);
        assert_eq!(run(Precision::Mixed(Half::Fp16)).kind(), Kind::Half);
        assert_eq!(product().kind(), Kind::Float);
        // 8/9 is 0.8889; bf16 has steps of 1/256 there.
        let value = run(Precision::Mixed(Half::Bf16)).double_value(&[0, 0]);
        assert!((value - 8.0 / 9.0).abs() < 1.0 / 128.0, "{value}");
    }

    #[test]
    fn an_inner_region_gives_back_the_outer_one() {
        let kinds = Precision::Mixed(Half::Bf16).run(Device::Cpu, || {
            let inner = Precision::Mixed(Half::Fp16).run(Device::Cpu, product);
            (inner.expect("CPU").kind(), product().kind())
        });
        assert_eq!(kinds.expect("CPU"), (Kind::Half, Kind::BFloat16));
    }

    #[test]
    fn a_panic_inside_leaves_the_thread_in_32_bits() {
        let caught = std::panic::catch_unwind(|| {
            Precision::Mixed(Half::Bf16).run(Device::Cpu, || panic!("inside"))
        });
        assert!(caught.is_err());
        assert_eq!(product().kind(), Kind::Float);
    }

    #[test]
    fn gradients_reach_32_bit_weights_through_a_half_region() {
        let weight = Tensor::ones([8, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let y = Precision::Mixed(Half::Bf16)
            .run(Device::Cpu, || weight.matmul(&weight))
            .expect("CPU");
        y.to_kind(Kind::Float).sum(Kind::Float).backward();
        assert_eq!(weight.grad().kind(), Kind::Float);
        assert_eq!(weight.grad().double_value(&[3, 5]), 16.0);
    }

    #[test]
    fn auto_follows_the_card_and_is_off_on_the_cpu() {
        let card = |capability| Card {
            index: 0,
            name: "Test".to_owned(),
            memory_bytes: 16 << 30,
            capability,
        };
        let cases = [
            (AmpChoice::Auto, (9, 0), Precision::Mixed(Half::Bf16)),
            (AmpChoice::Auto, (7, 5), Precision::Mixed(Half::Fp16)),
            (AmpChoice::Fp16, (9, 0), Precision::Mixed(Half::Fp16)),
            (AmpChoice::Off, (9, 0), Precision::Float32),
        ];
        for (choice, capability, expected) in cases {
            let found = Precision::on_card(choice, &card(capability)).expect("the card has it");
            assert_eq!(found, expected, "{choice:?} on {capability:?}");
        }
        let refused = Precision::on_card(AmpChoice::Bf16, &card((7, 5)));
        assert_eq!(
            refused.expect_err("no bf16").to_string(),
            "--amp bf16: card 0 (Test, 16.0 GiB, compute capability 7.5) has no bf16, which needs \
             compute capability 8.0; expected auto, fp16 or off"
        );
        let cpu = |choice| Precision::resolve(choice, Device::Cpu).expect("CPU");
        assert_eq!(cpu(AmpChoice::Auto), Precision::Float32);
        assert_eq!(cpu(AmpChoice::Bf16), Precision::Mixed(Half::Bf16));
        assert_eq!(
            "fp8".parse::<AmpChoice>(),
            Err("\"fp8\", expected auto, off, bf16 or fp16".to_owned())
        );
    }
}
