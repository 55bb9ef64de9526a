//! A plug-in of QEMU that counts the instructions which its guest executes and says the sum on
//! standard error at the end; `edge/benches/aarch64/instructions` builds and loads it.
//!
//! Written against version 1 of QEMU's plug-in interface (QEMU 6.0 to 8.1); a later QEMU refuses to
//! load it and says so.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

static EXECUTED: AtomicU64 = AtomicU64::new(0);

/// The guest's registers are left alone.
const NO_REGISTERS: c_uint = 0;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: extern "C" fn(u64, *mut c_void));
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut c_void,
        callback: extern "C" fn(c_uint, *mut c_void),
        registers: c_uint,
        data: *mut c_void,
    );
    fn qemu_plugin_register_atexit_cb(
        id: u64,
        callback: extern "C" fn(u64, *mut c_void),
        data: *mut c_void,
    );
}

extern "C" fn executed(_processor: c_uint, instructions: *mut c_void) {
    EXECUTED.fetch_add(instructions as u64, Ordering::Relaxed);
}

extern "C" fn translated(_id: u64, block: *mut c_void) {
    // SAFETY: QEMU hands on a block that lives during this call; the data is a number, no address.
    unsafe {
        let instructions = qemu_plugin_tb_n_insns(block) as *mut c_void;
        qemu_plugin_register_vcpu_tb_exec_cb(block, executed, NO_REGISTERS, instructions);
    }
}

extern "C" fn ended(_id: u64, _data: *mut c_void) {
    eprintln!("instructions {}", EXECUTED.load(Ordering::Relaxed));
}

#[unsafe(no_mangle)]
pub extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    _argc: c_int,
    _argv: *const *const c_char,
) -> c_int {
    // SAFETY: both callbacks have the signatures of the interface and live as long as the program.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        qemu_plugin_register_atexit_cb(id, ended, std::ptr::null_mut());
    }
    0
}
