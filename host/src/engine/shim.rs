//! The border to `shim.cpp` and `gloo.cpp`; the only place that declares their functions.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use torch_sys::C_tensor;

use super::EngineError;

/// A group of processes, owned by C++.
#[repr(C)]
pub(super) struct RawGroup {
    _opaque: [u8; 0],
}

/// Sums a tensor in place over all processes; null or the text of an error.
pub(super) type Sum = unsafe extern "C" fn(*const c_void, *mut C_tensor) -> *mut c_char;
/// Gives back what a graph held.
pub(super) type Release = unsafe extern "C" fn(*const c_void);

unsafe extern "C" {
    fn leuko_text_new(text: *const c_char) -> *mut c_char;
    fn leuko_text_free(text: *mut c_char);
    fn leuko_build(out: *mut *mut c_char) -> *mut c_char;
    pub(super) fn leuko_autocast_enter(cuda: c_int, half: c_int, before: *mut c_int)
    -> *mut c_char;
    pub(super) fn leuko_autocast_leave(cuda: c_int, before: c_int) -> *mut c_char;
    pub(super) fn leuko_switches(
        tf32: c_int,
        benchmark: c_int,
        deterministic: c_int,
    ) -> *mut c_char;
    pub(super) fn leuko_switches_now(bits: *mut c_int) -> *mut c_char;
    pub(super) fn leuko_use_card(card: c_int) -> *mut c_char;
    pub(super) fn leuko_scale(
        values: *const *mut C_tensor,
        count: usize,
        factor: f64,
    ) -> *mut c_char;
    pub(super) fn leuko_clear(values: *const *mut C_tensor, count: usize) -> *mut c_char;
    pub(super) fn leuko_add(
        values: *const *mut C_tensor,
        others: *const *const C_tensor,
        count: usize,
        factor: f64,
    ) -> *mut c_char;
    pub(super) fn leuko_approach(
        values: *const *mut C_tensor,
        others: *const *const C_tensor,
        count: usize,
        share: f64,
    ) -> *mut c_char;
    pub(super) fn leuko_norm(
        values: *const *const C_tensor,
        count: usize,
        norm: *mut f64,
    ) -> *mut c_char;
    pub(super) fn leuko_joined_sum(
        values: *const C_tensor,
        group: *const c_void,
        sum: Sum,
        release: Release,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn leuko_group_join(
        host: *const c_char,
        port: c_int,
        server: c_int,
        prefix: *const c_char,
        rank: c_int,
        world: c_int,
        timeout_ms: i64,
        out: *mut *mut RawGroup,
    ) -> *mut c_char;
    pub(super) fn leuko_group_leave(group: *mut RawGroup);
    pub(super) fn leuko_group_sum(group: *mut RawGroup, values: *mut C_tensor) -> *mut c_char;
    pub(super) fn leuko_group_broadcast(
        group: *mut RawGroup,
        values: *mut C_tensor,
        root: c_int,
    ) -> *mut c_char;
    pub(super) fn leuko_group_barrier(group: *mut RawGroup, timeout_ms: i64) -> *mut c_char;
    pub(super) fn leuko_group_tell(
        group: *mut RawGroup,
        key: *const c_char,
        bytes: *const u8,
        size: usize,
    ) -> *mut c_char;
    pub(super) fn leuko_group_hear(
        group: *mut RawGroup,
        key: *const c_char,
        bytes: *mut u8,
        size: usize,
    ) -> *mut c_char;
}

/// Takes over a text that C++ made.
///
/// # Safety
/// `text` must be null or come from the shim, and not be used again.
unsafe fn take(text: *mut c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the shim hands out zero-ended texts that live until they are freed.
    let owned = unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: it came from the shim and nobody else holds it.
    unsafe { leuko_text_free(text) };
    Some(owned)
}

/// What a function of the shim returned: nothing, or why it failed (the first line: the rest is where
/// in C++).
///
/// # Safety
/// As for [`take`].
pub(super) unsafe fn check(text: *mut c_char) -> Result<(), String> {
    // SAFETY: passed on.
    match unsafe { take(text) } {
        None => Ok(()),
        Some(text) => Err(text.lines().next().unwrap_or_default().to_owned()),
    }
}

/// As [`check`], for calls that only libtorch itself can refuse.
///
/// # Safety
/// As for [`take`].
pub(super) unsafe fn libtorch(text: *mut c_char) -> Result<(), EngineError> {
    // SAFETY: passed on.
    unsafe { check(text) }.map_err(EngineError::Libtorch)
}

/// A text that C++ may take over.
pub(super) fn text_for_cpp(text: &str) -> *mut c_char {
    let text = CString::new(text.replace('\0', " ")).expect("no zero is left in it");
    // SAFETY: zero-ended; it is copied.
    unsafe { leuko_text_new(text.as_ptr()) }
}

/// What libtorch says of its version, build and processor, several lines.
///
/// # Errors
/// When libtorch cannot say it.
pub fn build_of_libtorch() -> Result<String, EngineError> {
    let mut out = std::ptr::null_mut();
    // SAFETY: `out` is written before it is read, by the call that succeeded.
    unsafe {
        libtorch(leuko_build(&raw mut out))?;
        Ok(take(out).unwrap_or_default())
    }
}
