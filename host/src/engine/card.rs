//! CUDA cards as the driver names them, asked without libtorch: so that `doctor` can tell a machine
//! without a card from one whose libtorch has no CUDA.
//!
//! Cards are counted as libtorch counts them: both obey `CUDA_VISIBLE_DEVICES`.

use std::fmt;

use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{result, sys};
use serde::Serialize;

use super::EngineError;

/// A CUDA card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Card {
    /// Its number, from 0.
    pub index: usize,
    /// As the driver calls it.
    pub name: String,
    /// Memory in all, bytes.
    pub memory_bytes: u64,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
}

impl Card {
    /// Computes in bf16 at full speed.
    pub fn has_bf16(&self) -> bool {
        self.capability >= (8, 0)
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        let (major, minor) = self.capability;
        let Self { index, name, .. } = self;
        write!(
            f,
            "card {index} ({name}, {gib:.1} GiB, compute capability {major}.{minor})"
        )
    }
}

/// The newest CUDA that the driver serves, major and minor.
///
/// # Errors
/// When there is no driver.
pub fn driver_cuda() -> Result<(u32, u32), EngineError> {
    open()?;
    let mut version = 0;
    // SAFETY: the library is there, `version` is written.
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) }.result();
    asked.map_err(|e| missing("its version cannot be read", &e))?;
    let version = version.unsigned_abs();
    Ok((version / 1000, version % 1000 / 10))
}

/// All cards that this process may use.
///
/// # Errors
/// When there is no driver, or it fails.
pub fn cards() -> Result<Vec<Card>, EngineError> {
    open()?;
    match result::init() {
        Ok(()) => {}
        Err(e) if e.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => return Ok(Vec::new()),
        Err(e) => return Err(missing("it does not start", &e)),
    }
    let count = result::device::get_count().map_err(|e| missing("it counts no cards", &e))?;
    (0..count).map(read).collect()
}

/// One card.
///
/// # Errors
/// When it is not there.
pub fn card(index: usize) -> Result<Card, EngineError> {
    let cards = cards()?;
    let count = cards.len();
    let found = cards.into_iter().nth(index);
    found.ok_or_else(|| EngineError::Missing(format!("card {index}: there are {count} cards")))
}

/// cudarc panics where the library is missing; it must be looked for first.
fn open() -> Result<(), EngineError> {
    // SAFETY: opening libcuda runs only its initialisers.
    if unsafe { sys::is_culib_present() } {
        Ok(())
    } else {
        Err(EngineError::Missing(
            "no NVIDIA driver: libcuda.so.1 cannot be opened".to_owned(),
        ))
    }
}

fn read(index: i32) -> Result<Card, EngineError> {
    let of = |e: result::DriverError| missing(&format!("card {index} gives no answer"), &e);
    let device = result::device::get(index).map_err(of)?;
    // SAFETY: `device` was just given by the driver.
    let attribute = |what| unsafe { result::device::get_attribute(device, what) }.map_err(of);
    // SAFETY: as above.
    let memory_bytes = unsafe { result::device::total_mem(device) }.map_err(of)? as u64;
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(Card {
        index: index.unsigned_abs() as usize,
        name: result::device::get_name(device).map_err(of)?,
        memory_bytes,
        capability: (major.unsigned_abs(), minor.unsigned_abs()),
    })
}

fn missing(what: &str, error: &result::DriverError) -> EngineError {
    EngineError::Missing(format!("the NVIDIA driver is there, but {what}: {error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_driver_the_answer_names_what_is_missing() {
        // SAFETY: opening libcuda runs only its initialisers.
        if unsafe { sys::is_culib_present() } {
            assert!(driver_cuda().expect("a driver has a version") >= (11, 0));
            return;
        }
        let text = "no NVIDIA driver: libcuda.so.1 cannot be opened";
        assert_eq!(driver_cuda().expect_err("none").to_string(), text);
        assert_eq!(cards().expect_err("none").to_string(), text);
        assert_eq!(card(0).expect_err("none").to_string(), text);
    }
}
