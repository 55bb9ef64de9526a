//! CPU or a CUDA card; one binary serves both.

use tch::{Cuda, Device};

/// The device that was asked for is not there.
#[derive(Debug, thiserror::Error)]
#[error("device {wanted:?}: {reason}")]
pub struct DeviceError {
    wanted: String,
    reason: String,
}

/// Registers the CUDA kernels where libtorch_cuda is installed; must run before the first tensor.
///
/// The linker drops libtorch_cuda because nothing names a symbol of it, so it is opened by hand.
///
/// # Errors
/// Why it cannot be opened: then only the CPU is there.
pub fn load_cuda() -> Result<libloading::os::unix::Library, String> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: libtorch_cuda's initialisers only register kernels; nothing runs concurrently yet.
    let opened = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
    // What the loader says is one link further down.
    opened.map_err(|e| std::error::Error::source(&e).map_or(e.to_string(), ToString::to_string))
}

/// `auto` (a card if there is one), `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// When another word is given or the card is not there: it never falls back silently.
pub fn parse(text: &str) -> Result<Device, DeviceError> {
    let error = |reason: String| DeviceError {
        wanted: text.to_owned(),
        reason,
    };
    let card = |index: usize| {
        let count = Cuda::device_count();
        if !Cuda::is_available() {
            Err(error(
                "libtorch finds no CUDA card or was installed without CUDA; leuko-host doctor --device cuda says what is missing".to_owned(),
            ))
        } else if index as i64 >= count {
            Err(error(format!("there are {count} cards, counted from 0")))
        } else {
            Ok(Device::Cuda(index))
        }
    };
    match text {
        "auto" => Ok(Device::cuda_if_available()),
        "cpu" => Ok(Device::Cpu),
        "cuda" => card(0),
        _ => match text
            .strip_prefix("cuda:")
            .and_then(|index| index.parse().ok())
        {
            Some(index) => card(index),
            None => Err(error("expected auto, cpu, cuda or cuda:N".to_owned())),
        },
    }
}
