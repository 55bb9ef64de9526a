//! Out of memory, said so that one knows what to lower.

use std::any::Any;
use std::panic::{self, UnwindSafe};
use std::sync::Mutex;

/// The device or the machine has no memory left.
#[derive(Debug, thiserror::Error)]
#[error(
    "out of memory on the {place}{}; lower --batch-size, then --imgsz, or take a smaller model{}",
    .asked.as_ref().map_or(String::new(), |asked| format!(" ({asked} more were asked for)")),
    if *.place == "CPU" { ", or less --cache" } else { "" }
)]
pub struct OutOfMemory {
    /// CPU or card.
    place: &'static str,
    /// How much did not fit, as libtorch says it.
    asked: Option<String>,
}

/// Recognises libtorch's words for a device or machine without memory.
pub fn out_of_memory(text: &str) -> Option<OutOfMemory> {
    const CARD: [&str; 4] = [
        "CUDA out of memory",
        "CUDA error: out of memory",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUBLAS_STATUS_ALLOC_FAILED",
    ];
    const CPU: [&str; 3] = [
        "can't allocate memory",
        "not enough memory",
        "std::bad_alloc",
    ];
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let place = match (any(&CARD), any(&CPU)) {
        (true, _) => "card",
        (_, true) => "CPU",
        _ => return None,
    };
    Some(OutOfMemory {
        place,
        asked: asked(text),
    })
}

/// "Tried to allocate 2.00 GiB." or "you tried to allocate 4096 bytes."
fn asked(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("ried to allocate ")?;
    let mut words = rest.split_whitespace();
    let number = words.next()?;
    let unit = words.next()?.trim_end_matches(['.', ',']);
    Some(format!("{number} {unit}"))
}

/// Runs `work`; a panic of libtorch without memory becomes an error, told once. Other panics go on.
///
/// # Errors
/// Those of `work`, or [`OutOfMemory`].
pub fn told<T>(work: impl FnOnce() -> anyhow::Result<T> + UnwindSafe) -> anyhow::Result<T> {
    // A panic in a thread of a scope arrives here without its text; the hook sees it in every thread.
    static SEEN: Mutex<Option<OutOfMemory>> = Mutex::new(None);
    let seen = || {
        SEEN.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| match of_panic(info.payload()) {
        Some(found) => *seen() = Some(found),
        None => usual(info),
    }));
    let outcome = panic::catch_unwind(work);
    let error = match outcome {
        Ok(Err(error)) => out_of_memory(&format!("{error:#}")).map_or(error, Into::into),
        Ok(done) => return done,
        Err(payload) => match seen().take() {
            Some(found) => found.into(),
            None => panic::resume_unwind(payload),
        },
    };
    Err(error)
}

fn of_panic(payload: &(dyn Any + Send)) -> Option<OutOfMemory> {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())?;
    out_of_memory(text)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn libtorch_without_memory_is_recognised_and_the_mend_is_named() {
        let cases = [
            (
                "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 7.79 GiB",
                "out of memory on the card (2.50 GiB more were asked for); lower --batch-size, then --imgsz, or take a smaller model",
            ),
            (
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
                "out of memory on the card; lower --batch-size, then --imgsz, or take a smaller model",
            ),
        ];
        for (text, expected) in cases {
            let found = out_of_memory(text).expect(text);
            assert_eq!(found.to_string(), expected);
        }
        assert!(out_of_memory("expected scalar type Float but found Half").is_none());
    }

    #[test]
    fn an_impossible_tensor_on_the_cpu_is_told_as_such() {
        // 2^60 bytes: more than any machine maps.
        let impossible = || {
            let _ = Tensor::zeros([1 << 58], (Kind::Float, Device::Cpu));
            Ok(())
        };
        let error = told(impossible).expect_err("no machine has it");
        assert!(error.is::<OutOfMemory>(), "{error:#}");
        assert_eq!(
            error.to_string(),
            "out of memory on the CPU (1152921504606846976 bytes more were asked for); lower \
             --batch-size, then --imgsz, or take a smaller model, or less --cache"
        );
    }
}
