//! CPU or a CUDA card; one binary serves both.

use tch::{Cuda, Device};

use crate::engine::launch::Launch;

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

/// What [`parse`] gives, for one of several processes: `auto` and `cuda` mean the card of its number on
/// its machine.
///
/// # Errors
/// As for [`parse`]; also when one card is named for all processes.
pub fn of_process(text: &str, launch: Option<&Launch>) -> Result<Device, DeviceError> {
    let Some(launch) = launch else {
        return parse(text);
    };
    match text {
        "auto" if !Cuda::is_available() => Ok(Device::Cpu),
        "auto" | "cuda" => parse(&format!("cuda:{}", launch.local_rank)),
        _ if text.starts_with("cuda:") => Err(DeviceError {
            wanted: text.to_owned(),
            reason: format!(
                "names one card, but there are {} processes; expected auto, cuda or cpu",
                launch.world
            ),
        }),
        _ => parse(text),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn second_of_two() -> Launch {
        Launch {
            rank: 1,
            local_rank: 1,
            world: 2,
            host: "localhost".to_owned(),
            port: 29500,
            hosted: false,
            attempt: 0,
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_refused_and_doctor_is_named() {
        assert_eq!(parse("cpu").expect("always there"), Device::Cpu);
        let unknown = parse("tpu").expect_err("no such device").to_string();
        assert_eq!(
            unknown,
            "device \"tpu\": expected auto, cpu, cuda or cuda:N"
        );
        if !Cuda::is_available() {
            let text = parse("cuda").expect_err("no card").to_string();
            assert!(text.contains("leuko-host doctor --device cuda"), "{text}");
        }
    }

    #[test]
    fn every_process_takes_its_own_card_and_none_takes_a_named_one() {
        let launch = second_of_two();
        let error = of_process("cuda:0", Some(&launch)).expect_err("one card for two");
        assert_eq!(
            error.to_string(),
            "device \"cuda:0\": names one card, but there are 2 processes; expected auto, cuda or cpu"
        );
        let cpu = of_process("cpu", Some(&launch));
        assert_eq!(cpu.expect("always there"), Device::Cpu);
        if !Cuda::is_available() {
            let auto = of_process("auto", Some(&launch));
            assert_eq!(auto.expect("the CPU"), Device::Cpu);
            let error = of_process("cuda", Some(&launch)).expect_err("no card");
            assert!(
                error.to_string().starts_with("device \"cuda:1\": "),
                "{error}"
            );
        }
    }
}
