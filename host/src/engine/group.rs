//! Processes that train together: sums over all of them, in main memory by Gloo, on cards by NCCL.
//!
//! Both transports are libtorch's companions: Gloo and the TCP store are inside libtorch_cpu, NCCL
//! beside libtorch_cuda. Gloo runs in every group, also of cards: numbers of the host and waiting go
//! through it, so that a lost peer is noticed between the steps.
//!
//! All processes must make the same calls in the same order.

use std::ffi::{CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::launch::Launch;
use super::nccl::{ID_BYTES, Nccl};
use super::{EngineError, PEER_LOST, shim};

/// How long a process waits for another one before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// How long the others wait while rank 0 validates and writes: a lost connection ends it at once.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// Gradients travel in pieces of this size: large enough for full speed, small against the memory.
const BUCKET_BYTES: usize = 25 << 20;

/// This process among those that train together.
pub struct ProcessGroup {
    launch: Launch,
    patience: Duration,
    gloo: Mutex<Gloo>,
    cards: Option<Mutex<Nccl>>,
}

/// C++'s half of the group.
struct Gloo(*mut shim::RawGroup);

// SAFETY: the C++ objects have no tie to a thread; the mutex lets in one at a time.
unsafe impl Send for Gloo {}

impl Drop for Gloo {
    fn drop(&mut self) {
        // SAFETY: joined once, left once.
        unsafe { shim::leuko_group_leave(self.0) };
    }
}

impl std::fmt::Debug for ProcessGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { launch, cards, .. } = self;
        write!(f, "ProcessGroup({launch:?}, cards: {})", cards.is_some())
    }
}

impl ProcessGroup {
    /// Waits until all processes of `launch` are there, at most `patience`; with a card as `device`
    /// it is made the current one and joined with the others' cards.
    ///
    /// # Errors
    /// When somebody does not come, or NCCL is missing or refuses.
    pub fn join(launch: Launch, device: Device, patience: Duration) -> Result<Self, EngineError> {
        let gloo = Gloo::join(&launch, patience)?;
        let mut group = Self {
            launch,
            patience,
            gloo: Mutex::new(gloo),
            cards: None,
        };
        let mut with_card = [f64::from(u8::from(device.is_cuda()))];
        group.sum_numbers(&mut with_card)?;
        // Cards that wait for a process on the CPU would wait for ever.
        if with_card != [0.0] && with_card != [group.world() as f64] {
            let ([n], world) = (with_card, group.world());
            return Err(EngineError::Missing(format!(
                "{n} of {world} processes have a card, expected all or none; see --device"
            )));
        }
        if let Device::Cuda(card) = device {
            let gloo = group.gloo.get_mut().unwrap_or_else(PoisonError::into_inner);
            group.cards = Some(Mutex::new(gloo.join_cards(&group.launch, card)?));
        }
        Ok(group)
    }

    /// This process's number, from 0.
    pub fn rank(&self) -> usize {
        self.launch.rank
    }

    /// How many processes there are.
    pub fn world(&self) -> usize {
        self.launch.world
    }

    /// The one that writes and validates.
    pub fn is_first(&self) -> bool {
        self.launch.rank == 0
    }

    /// Replaces `values` by their sum over all processes.
    ///
    /// # Errors
    /// When a peer is gone or late, or the shapes differ.
    pub fn sum(&self, values: &mut Tensor) -> Result<(), EngineError> {
        self.in_place("sum", values, |cards, gloo, values| match cards {
            Some(cards) => cards.sum(values),
            None => gloo.sum(values),
        })
    }

    /// Replaces `values` by rank 0's.
    ///
    /// # Errors
    /// As for [`ProcessGroup::sum`].
    pub fn broadcast(&self, values: &mut Tensor) -> Result<(), EngineError> {
        self.in_place("broadcast", values, |cards, gloo, values| match cards {
            Some(cards) => cards.broadcast(values),
            None => gloo.broadcast(values),
        })
    }

    /// As [`ProcessGroup::sum`] for many tensors of one kind on one device, packed into buckets.
    ///
    /// # Errors
    /// As for [`ProcessGroup::sum`].
    pub fn sum_all(&self, tensors: &mut [Tensor]) -> Result<(), EngineError> {
        self.packed(tensors, |bucket| self.sum(bucket))
    }

    /// As [`ProcessGroup::broadcast`] for many tensors of one kind on one device.
    ///
    /// # Errors
    /// As for [`ProcessGroup::sum`].
    pub fn broadcast_all(&self, tensors: &mut [Tensor]) -> Result<(), EngineError> {
        self.packed(tensors, |bucket| self.broadcast(bucket))
    }

    /// Sums numbers of the host, through main memory also between cards.
    ///
    /// # Errors
    /// As for [`ProcessGroup::sum`].
    pub fn sum_numbers(&self, numbers: &mut [f64]) -> Result<(), EngineError> {
        let mut values = Tensor::from_slice(numbers);
        self.sum(&mut values)?;
        values.copy_data(numbers, numbers.len());
        Ok(())
    }

    /// Waits until all processes are here, each at most its patience.
    ///
    /// # Errors
    /// When a peer is gone or late.
    pub fn barrier(&self) -> Result<(), EngineError> {
        self.meet("barrier", self.patience)
    }

    /// Waits for rank 0, which may take hours; all processes call it, rank 0 when it is done.
    ///
    /// # Errors
    /// When a peer is gone.
    pub fn wait_for_first(&self) -> Result<(), EngineError> {
        self.meet("waiting for rank 0", LONG)
    }

    fn meet(&self, doing: &str, patience: Duration) -> Result<(), EngineError> {
        let gloo = self.gloo.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the group lives as long as `gloo`.
        let met = unsafe { shim::check(shim::leuko_group_barrier(gloo.0, millis(patience))) };
        met.map_err(|reason| self.lost(doing, reason, patience))
    }

    fn in_place(
        &self,
        doing: &str,
        values: &mut Tensor,
        run: impl Fn(Option<&Nccl>, &Gloo, &mut Tensor) -> Result<(), String>,
    ) -> Result<(), EngineError> {
        let lost = |reason: String| self.lost(doing, reason, self.patience);
        // Both transports read memory from end to end.
        let mut dense = tch::no_grad(|| values.detach().contiguous());
        let done = {
            let gloo = self.gloo.lock().unwrap_or_else(PoisonError::into_inner);
            match (&self.cards, values.device()) {
                (_, Device::Cpu) => run(None, &gloo, &mut dense),
                (Some(cards), Device::Cuda(_)) => {
                    let cards = cards.lock().unwrap_or_else(PoisonError::into_inner);
                    run(Some(&cards), &gloo, &mut dense)
                }
                (_, device) => Err(format!("the group has not joined {device:?}")),
            }
        };
        done.map_err(lost)?;
        if dense.data_ptr() != values.data_ptr() {
            tch::no_grad(|| values.f_copy_(&dense)).map_err(|e| lost(e.to_string()))?;
        }
        Ok(())
    }

    fn packed(
        &self,
        tensors: &mut [Tensor],
        run: impl Fn(&mut Tensor) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        tch::no_grad(|| {
            for bucket in buckets(tensors) {
                let flat: Vec<Tensor> = bucket.iter().map(|t| t.reshape([-1])).collect();
                let mut packed = Tensor::cat(&flat, 0);
                run(&mut packed)?;
                let mut from = 0;
                for tensor in bucket {
                    let length = tensor.numel() as i64;
                    let part = packed.narrow(0, from, length).reshape(tensor.size());
                    tensor.copy_(&part);
                    from += length;
                }
            }
            Ok(())
        })
    }

    fn lost(&self, doing: &str, reason: String, patience: Duration) -> EngineError {
        let (rank, world) = (self.launch.rank, self.launch.world);
        EngineError::Peer(format!(
            "rank {rank} of {world}, {doing}: {PEER_LOST}, or was not heard of for {} s ({reason})",
            patience.as_secs()
        ))
    }
}

/// Cuts the list where a bucket is full; a tensor larger than a bucket has its own.
fn buckets(tensors: &mut [Tensor]) -> Vec<&mut [Tensor]> {
    let mut filled = 0;
    let mut ends = Vec::new();
    for (index, tensor) in tensors.iter().enumerate() {
        let bytes = tensor.numel() * tensor.kind().elt_size_in_bytes();
        if filled > 0 && filled + bytes > BUCKET_BYTES {
            ends.push(index);
            filled = 0;
        }
        filled += bytes;
    }
    ends.push(tensors.len());
    let mut rest = tensors;
    let mut from = 0;
    let mut out = Vec::with_capacity(ends.len());
    for end in ends {
        let (bucket, after) = rest.split_at_mut(end - from);
        out.push(bucket);
        (rest, from) = (after, end);
    }
    out.retain(|bucket| !bucket.is_empty());
    out
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Gloo {
    fn join(launch: &Launch, patience: Duration) -> Result<Self, EngineError> {
        let text = |text: String| {
            CString::new(text).map_err(|_| {
                EngineError::Launch("MASTER_ADDR has a zero byte, expected a name".to_owned())
            })
        };
        let host = text(launch.host.clone())?;
        let prefix = text(format!("leukoscope/{}", launch.attempt))?;
        let serves = launch.rank == 0 && !launch.hosted;
        let mut group = std::ptr::null_mut();
        // SAFETY: both texts live during the call; `group` is written when it succeeds.
        let joined = unsafe {
            shim::check(shim::leuko_group_join(
                host.as_ptr(),
                launch.port.into(),
                serves.into(),
                prefix.as_ptr(),
                launch.rank as i32,
                launch.world as i32,
                millis(patience),
                &raw mut group,
            ))
        };
        joined.map_err(|reason| {
            let Launch {
                rank,
                world,
                host,
                port,
                ..
            } = launch;
            EngineError::Peer(format!(
                "rank {rank} of {world}, meeting the others at {host}:{port}: not all came within {} s ({reason})",
                patience.as_secs()
            ))
        })?;
        Ok(Self(group))
    }

    fn join_cards(&self, launch: &Launch, card: usize) -> Result<Nccl, EngineError> {
        // SAFETY: only a number crosses.
        unsafe { shim::libtorch(shim::leuko_use_card(card as i32))? };
        let mut id = [0; ID_BYTES];
        if launch.rank == 0 {
            id = Nccl::new_id()?;
            // SAFETY: `id` lives during the call.
            unsafe {
                shim::libtorch(shim::leuko_group_tell(
                    self.0,
                    c"nccl".as_ptr(),
                    id.as_ptr(),
                    ID_BYTES,
                ))?;
            }
        } else {
            // SAFETY: `id` has room for exactly as many bytes as are asked for.
            unsafe {
                shim::libtorch(shim::leuko_group_hear(
                    self.0,
                    c"nccl".as_ptr(),
                    id.as_mut_ptr(),
                    ID_BYTES,
                ))?;
            }
        }
        Nccl::join(id, launch.rank, launch.world)
    }

    fn sum(&self, values: &mut Tensor) -> Result<(), String> {
        // SAFETY: both live during the call.
        unsafe { shim::check(shim::leuko_group_sum(self.0, values.as_mut_ptr())) }
    }

    fn broadcast(&self, values: &mut Tensor) -> Result<(), String> {
        // SAFETY: both live during the call.
        unsafe { shim::check(shim::leuko_group_broadcast(self.0, values.as_mut_ptr(), 0)) }
    }
}

/// The sum of `values` over all processes; the gradient is summed the same way on the way back.
///
/// Every process must walk back through it, and through several of them in the same order.
///
/// # Errors
/// As for [`ProcessGroup::sum`].
pub fn joined_sum(group: &Arc<ProcessGroup>, values: &Tensor) -> Result<Tensor, EngineError> {
    let held = Arc::into_raw(Arc::clone(group)).cast::<c_void>();
    let mut out: *mut C_tensor = std::ptr::null_mut();
    // SAFETY: `held` is given back by `release` exactly once, when the graph is dropped, or before the
    // call fails; `out` is a new tensor when it succeeds.
    unsafe {
        let summed =
            shim::leuko_joined_sum(values.as_ptr(), held, sum_for_cpp, release, &raw mut out);
        shim::check(summed).map_err(|text| EngineError::of_libtorch(&text))?;
        Ok(Tensor::from_ptr(out))
    }
}

unsafe extern "C" fn sum_for_cpp(group: *const c_void, values: *mut C_tensor) -> *mut c_char {
    // SAFETY: `group` is what `joined_sum` took out of an `Arc` that the graph still holds.
    let group = unsafe { &*group.cast::<ProcessGroup>() };
    // SAFETY: `values` lives during the call; the clone shares its memory.
    let mut values = unsafe { Tensor::clone_from_ptr(values) };
    let summed = catch_unwind(AssertUnwindSafe(|| group.sum(&mut values)));
    match summed {
        Ok(Ok(())) => std::ptr::null_mut(),
        Ok(Err(error)) => shim::text_for_cpp(&error.to_string()),
        Err(_) => shim::text_for_cpp("a sum over processes panicked"),
    }
}

unsafe extern "C" fn release(group: *const c_void) {
    // SAFETY: the other end of `joined_sum`'s `into_raw`.
    drop(unsafe { Arc::from_raw(group.cast::<ProcessGroup>()) });
}
