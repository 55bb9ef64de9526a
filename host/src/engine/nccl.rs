//! Sums between cards by NCCL.
//!
//! The types are cudarc's; the functions are looked up here, because cudarc 0.19.10 opens only
//! `libnccl.so` and `.so.1`, `.so.9` to `.so.13`, never `libnccl.so.2`, which is what libtorch's
//! package and NVIDIA's own install. The library is the one that libtorch_cuda has loaded.
//!
//! Everything is queued on the card's default stream, the one libtorch computes on: a sum starts when
//! the gradients are there and libtorch goes on when it is done, without a wait on this side.
//!
//! Without a card only opening, the version and the unique id can be tried (see the tests); sums
//! between cards have not been run. A process that dies while a sum is queued leaves the others
//! waiting on their cards: `torchrun` and `srun --kill-on-bad-exit` end them.

use std::ffi::{CStr, c_char, c_int, c_void};

use cudarc::nccl::sys::{
    cudaStream_t, ncclComm_t, ncclDataType_t as DataType, ncclRedOp_t as Operation, ncclUniqueId,
};
use libloading::os::unix::Library;
use tch::{Kind, Tensor};

use super::EngineError;

/// `ncclSuccess`. Results are read as numbers: a newer library may know more of them than an enum.
const SUCCESS: c_int = 0;

type AllReduce = unsafe extern "C" fn(
    *const c_void,
    *mut c_void,
    usize,
    DataType,
    Operation,
    ncclComm_t,
    cudaStream_t,
) -> c_int;
type Broadcast = unsafe extern "C" fn(
    *const c_void,
    *mut c_void,
    usize,
    DataType,
    c_int,
    ncclComm_t,
    cudaStream_t,
) -> c_int;

/// The functions used of the library.
struct Api {
    version: unsafe extern "C" fn(*mut c_int) -> c_int,
    unique_id: unsafe extern "C" fn(*mut ncclUniqueId) -> c_int,
    init_rank: unsafe extern "C" fn(*mut ncclComm_t, c_int, ncclUniqueId, c_int) -> c_int,
    all_reduce: AllReduce,
    broadcast: Broadcast,
    destroy: unsafe extern "C" fn(ncclComm_t) -> c_int,
    error_text: unsafe extern "C" fn(c_int) -> *const c_char,
    /// Keeps the functions valid.
    _library: Library,
}

impl Api {
    fn open() -> Result<Self, EngineError> {
        let missing = |e: libloading::Error| {
            // What the loader says is one link further down.
            let reason = std::error::Error::source(&e).map_or(e.to_string(), ToString::to_string);
            EngineError::Missing(format!(
                "no NCCL, which several cards need: {reason}; install libtorch with CUDA (host/libtorch on a machine with an NVIDIA driver)"
            ))
        };
        // SAFETY: NCCL's initialisers only read its configuration; the signatures are those of nccl.h.
        unsafe {
            let library = Library::new("libnccl.so.2").map_err(missing)?;
            Ok(Self {
                version: *library.get(b"ncclGetVersion").map_err(missing)?,
                unique_id: *library.get(b"ncclGetUniqueId").map_err(missing)?,
                init_rank: *library.get(b"ncclCommInitRank").map_err(missing)?,
                all_reduce: *library.get(b"ncclAllReduce").map_err(missing)?,
                broadcast: *library.get(b"ncclBroadcast").map_err(missing)?,
                destroy: *library.get(b"ncclCommDestroy").map_err(missing)?,
                error_text: *library.get(b"ncclGetErrorString").map_err(missing)?,
                _library: library,
            })
        }
    }

    fn check(&self, doing: &str, result: c_int) -> Result<(), String> {
        if result == SUCCESS {
            return Ok(());
        }
        // SAFETY: NCCL gives a constant text for every number.
        let text = unsafe { CStr::from_ptr((self.error_text)(result)) };
        Err(format!("NCCL, {doing}: {}", text.to_string_lossy()))
    }
}

/// Version of NCCL, major, minor and patch, where it can be opened.
///
/// # Errors
/// What is missing and how to mend it.
pub fn found() -> Result<(u32, u32, u32), EngineError> {
    let api = Api::open()?;
    let mut code = 0;
    // SAFETY: `code` is written.
    let asked = unsafe { (api.version)(&raw mut code) };
    api.check("version", asked).map_err(EngineError::Missing)?;
    let code = code.unsigned_abs();
    Ok((code / 10000, code / 100 % 100, code % 100))
}

/// The bytes by which the processes of one group find each other.
pub(super) const ID_BYTES: usize = size_of::<ncclUniqueId>();

/// This process's card in a group of cards.
pub(super) struct Nccl {
    api: Api,
    comm: ncclComm_t,
}

// SAFETY: a communicator may be used from any thread, one at a time; the group holds it in a mutex.
unsafe impl Send for Nccl {}

impl Nccl {
    /// What rank 0 makes and tells the others.
    pub(super) fn new_id() -> Result<[u8; ID_BYTES], EngineError> {
        let api = Api::open()?;
        let mut id = ncclUniqueId {
            internal: [0; ID_BYTES],
        };
        // SAFETY: `id` is written.
        let made = unsafe { (api.unique_id)(&raw mut id) };
        api.check("unique id", made).map_err(EngineError::Missing)?;
        Ok(id.internal.map(|byte| byte.to_ne_bytes()[0]))
    }

    /// Joins with the thread's current card; waits until all `world` processes have.
    pub(super) fn join(id: [u8; ID_BYTES], rank: usize, world: usize) -> Result<Self, EngineError> {
        let api = Api::open()?;
        let id = ncclUniqueId {
            internal: id.map(|byte| c_char::from_ne_bytes([byte])),
        };
        let mut comm = std::ptr::null_mut();
        // SAFETY: `comm` is written; the current card was set by the caller.
        let joined = unsafe { (api.init_rank)(&raw mut comm, world as c_int, id, rank as c_int) };
        api.check("joining the cards", joined)
            .map_err(EngineError::Missing)?;
        Ok(Self { api, comm })
    }

    /// Sums in place; `values` must be contiguous and on the card that joined.
    pub(super) fn sum(&self, values: &mut Tensor) -> Result<(), String> {
        let (at, kind) = (values.data_ptr(), data_type(values.kind())?);
        // SAFETY: the memory is the tensor's, on this card; the null stream is libtorch's default one.
        let summed = unsafe {
            (self.api.all_reduce)(
                at,
                at,
                values.numel(),
                kind,
                Operation::ncclSum,
                self.comm,
                std::ptr::null_mut(),
            )
        };
        self.api.check("sum", summed)
    }

    /// Overwrites with rank 0's values; as for [`Nccl::sum`].
    pub(super) fn broadcast(&self, values: &mut Tensor) -> Result<(), String> {
        let (at, kind) = (values.data_ptr(), data_type(values.kind())?);
        // SAFETY: as in `sum`.
        let sent = unsafe {
            (self.api.broadcast)(
                at,
                at,
                values.numel(),
                kind,
                0,
                self.comm,
                std::ptr::null_mut(),
            )
        };
        self.api.check("broadcast", sent)
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        // SAFETY: joined once, destroyed once. What it returns helps nobody any more.
        unsafe { (self.api.destroy)(self.comm) };
    }
}

fn data_type(kind: Kind) -> Result<DataType, String> {
    match kind {
        Kind::Float => Ok(DataType::ncclFloat32),
        Kind::Double => Ok(DataType::ncclFloat64),
        Kind::Half => Ok(DataType::ncclFloat16),
        Kind::BFloat16 => Ok(DataType::ncclBfloat16),
        Kind::Int64 => Ok(DataType::ncclInt64),
        Kind::Int => Ok(DataType::ncclInt32),
        Kind::Uint8 => Ok(DataType::ncclUint8),
        other => Err(format!("NCCL sums no {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nccl_is_found_or_the_message_says_what_is_missing() {
        match found() {
            Ok(version) => assert!(version >= (2, 20, 0), "{version:?}"),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    text.starts_with("no NCCL, which several cards need: libnccl.so.2"),
                    "{text}"
                );
                assert!(
                    text.ends_with("host/libtorch on a machine with an NVIDIA driver)"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn cards_cannot_join_where_there_is_none() {
        let Ok(id) = Nccl::new_id() else { return };
        if super::super::card::cards().is_ok_and(|cards| !cards.is_empty()) {
            return;
        }
        let error = Nccl::join(id, 0, 1).err().expect("there is no card");
        let text = error.to_string();
        assert!(text.starts_with("NCCL, joining the cards: "), "{text}");
    }

    #[test]
    fn an_id_has_128_bytes_as_every_version_of_nccl_makes_it() {
        assert_eq!(ID_BYTES, 128);
    }
}
