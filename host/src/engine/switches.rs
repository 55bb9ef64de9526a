//! Numeric switches of libtorch: they hold for the whole process.

use super::EngineError;
use super::shim;

/// How libtorch may compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Matrix products and convolutions of 32 bits on a card with 10 bits of mantissa: several times
    /// faster, no difference on the CPU.
    pub tf32: bool,
    /// Try cuDNN's algorithms on every new shape and keep the fastest; another one may be chosen in
    /// the next run, so that bits differ. Off while `deterministic`.
    pub benchmark: bool,
    /// Only kernels that give the same bits every time; where there is none, libtorch warns.
    pub deterministic: bool,
}

impl Switches {
    /// Sets all three.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn set(self) -> Result<(), EngineError> {
        let [tf32, benchmark, deterministic] =
            [self.tf32, self.benchmark, self.deterministic].map(i32::from);
        // SAFETY: only numbers cross.
        unsafe { shim::libtorch(shim::leuko_switches(tf32, benchmark, deterministic)) }
    }

    /// What they are now.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn now() -> Result<Self, EngineError> {
        let mut bits = 0;
        // SAFETY: only a number crosses; it is written.
        unsafe { shim::libtorch(shim::leuko_switches_now(&raw mut bits))? };
        Ok(Self {
            tf32: bits & 1 != 0,
            benchmark: bits & 2 != 0,
            deterministic: bits & 4 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_what_they_were_set_to_and_determinism_turns_trials_off() {
        let before = Switches::now().expect("libtorch");
        let all = Switches {
            tf32: true,
            benchmark: true,
            deterministic: true,
        };
        all.set().expect("libtorch");
        let found = Switches::now().expect("libtorch");
        let quiet = Switches {
            benchmark: false,
            ..all
        };
        assert_eq!(found, quiet);
        let fast = Switches {
            deterministic: false,
            ..all
        };
        fast.set().expect("libtorch");
        assert_eq!(Switches::now().expect("libtorch"), fast);
        before.set().expect("libtorch");
    }
}
