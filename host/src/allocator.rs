//! How the process gets memory from the system.

/// From now on freed memory stays with the process.
///
/// A training step needs what the last one gave back; taken from the system anew it costs a page
/// fault for every 4 KiB, a tenth of the step on a CPU. Must run before the second thread starts.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed() {
    /// Never trim the top of the heap.
    const NEVER: i32 = -1;
    // SAFETY: mallopt sets numbers of the allocator; nothing else runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, NEVER);
    }
}

/// Other allocators are left as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed() {}
