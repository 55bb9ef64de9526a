//! Mapped buffers between the kernel and this program: the newest frame wins.
//!
//! The node does not block: a time-out leaves every buffer where it is and can be followed by the
//! next wait. All `unsafe` of streaming is in this file.

use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::{Duration, Instant};

use v4l::v4l_sys as sys;
use v4l::v4l2::{self, vidioc};

use super::super::SourceError;
use super::device::{CAPTURE, Device, Plain};

/// Buffers that are asked for: one being filled, one ready, one being decoded, one in reserve.
const BUFFERS: u32 = 4;

/// Fewest buffers to work with: one is decoded while another is filled.
const BUFFERS_MIN: u32 = 2;

/// Largest buffer that is mapped, bytes; a frame of 16384 x 16384 in YUYV.
const BUFFER_BYTES_MAX: u32 = 512 << 20;

const MMAP: u32 = sys::v4l2_memory_V4L2_MEMORY_MMAP;

/// A buffer of the kernel in this program's memory.
#[derive(Debug)]
struct Mapping {
    start: NonNull<libc::c_void>,
    len: usize,
}

// SAFETY: the mapping is owned, is no thread's own, and is only read.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(device: &Device, buffer: &sys::v4l2_buffer) -> Result<Self, SourceError> {
        if buffer.length == 0 || buffer.length > BUFFER_BYTES_MAX {
            let expected = format!("1 to {BUFFER_BYTES_MAX} bytes");
            return Err(device.refused("buffer of", expected, buffer.length));
        }
        let len = buffer.length as usize;
        // SAFETY: a new mapping at a place of the kernel's choice; the offset is the kernel's own.
        let start = unsafe {
            let offset = buffer.m.offset.into();
            let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
            v4l2::mmap(ptr::null_mut(), len, protection, flags, device.fd(), offset)
        }
        .map_err(|error| device.failed("mmap", error))?;
        let start = NonNull::new(start)
            .ok_or_else(|| device.failed("mmap", io::Error::other("a mapping at 0")))?;
        Ok(Self { start, len })
    }

    fn bytes(&self, used: u32) -> &[u8] {
        // SAFETY: mapped in this length as long as `self` lives. The caller holds the buffer, so
        // that the kernel does not write to it.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.len.min(used as usize)) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and nothing depends on it.
        // SAFETY: mapped by `new`, and nobody borrows from it any more.
        let _ = unsafe { v4l2::munmap(self.start.as_ptr(), self.len) };
    }
}

/// A filled buffer, out of the kernel's queue until it is given back.
#[derive(Debug)]
pub(super) struct Held {
    index: u32,
    /// Bytes the driver has filled, as it says.
    used: u32,
    /// The driver says that the frame is damaged.
    pub(super) damaged: bool,
    /// The driver's number of the frame.
    pub(super) sequence: u32,
    /// When it was taken, by the system's monotonic clock; `None` when the driver has another.
    pub(super) taken: Option<Duration>,
}

/// What became of older buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Older {
    /// Given back unread.
    pub(super) replaced: u64,
    /// Damaged ones among them, not counted there.
    pub(super) damaged: u64,
    /// Numbers that never came, before or between them or the newest.
    pub(super) gaps: u64,
}

/// A running stream. Fields are dropped in this order, after the stream has been stopped: mappings
/// before the node.
#[derive(Debug)]
pub(super) struct Stream {
    mappings: Vec<Mapping>,
    last_sequence: Option<u32>,
    device: Device,
}

impl Stream {
    /// Maps the buffers, gives them to the kernel and starts.
    pub(super) fn start(device: Device) -> Result<Self, SourceError> {
        let mut request = sys::v4l2_requestbuffers::zero();
        (request.count, request.type_, request.memory) = (BUFFERS, CAPTURE, MMAP);
        device
            .call(vidioc::VIDIOC_REQBUFS, &mut request)
            .map_err(|error| device.failed("VIDIOC_REQBUFS", error))?;
        if request.count < BUFFERS_MIN {
            let expected = format!("at least {BUFFERS_MIN}");
            return Err(device.refused("buffers", expected, request.count));
        }
        let mut stream = Self {
            mappings: Vec::new(),
            last_sequence: None,
            device,
        };
        for index in 0..request.count {
            let mut buffer = described(index);
            stream.call("VIDIOC_QUERYBUF", vidioc::VIDIOC_QUERYBUF, &mut buffer)?;
            stream.mappings.push(Mapping::new(&stream.device, &buffer)?);
            stream.queue(index)?;
        }
        let mut kind = CAPTURE as i32;
        stream.call("VIDIOC_STREAMON", vidioc::VIDIOC_STREAMON, &mut kind)?;
        Ok(stream)
    }

    /// Waits at most `wait` for a frame, then takes the newest there is and gives older ones back;
    /// `None` after a time-out.
    ///
    /// When every buffer was full the driver had none to fill and its newest frame may be long past:
    /// a fresh one is waited for, and the old one is given only when none comes.
    pub(super) fn newest(
        &mut self,
        wait: Duration,
        older: &mut Older,
    ) -> Result<Option<Held>, SourceError> {
        let end = Instant::now() + wait;
        let mut newest: Option<Held> = None;
        let mut taken = 0;
        let mut may_be_old = false;
        loop {
            match self.dequeue()? {
                Some(held) => {
                    self.number(held.sequence, older);
                    if let Some(old) = newest.replace(held) {
                        let counter = match old.damaged {
                            true => &mut older.damaged,
                            false => &mut older.replaced,
                        };
                        *counter += 1;
                        self.give_back(old)?;
                    }
                    taken += 1;
                    may_be_old = taken == self.mappings.len();
                    // A camera faster than this loop would otherwise hold it for ever.
                    if taken == 2 * self.mappings.len() {
                        return Ok(newest);
                    }
                }
                None if newest.is_some() && !may_be_old => return Ok(newest),
                None => {
                    may_be_old = false;
                    let left = end.saturating_duration_since(Instant::now());
                    if !self.poll(left)? {
                        return Ok(newest);
                    }
                }
            }
        }
    }

    /// The bytes of a frame.
    pub(super) fn bytes(&self, held: &Held) -> &[u8] {
        self.mappings[held.index as usize].bytes(held.used)
    }

    /// Gives a buffer back to the kernel.
    pub(super) fn give_back(&self, held: Held) -> Result<(), SourceError> {
        self.queue(held.index)
    }

    fn queue(&self, index: u32) -> Result<(), SourceError> {
        self.call("VIDIOC_QBUF", vidioc::VIDIOC_QBUF, &mut described(index))
    }

    /// A filled buffer, if there is one.
    fn dequeue(&self) -> Result<Option<Held>, SourceError> {
        let mut buffer = described(0);
        match self.device.call(vidioc::VIDIOC_DQBUF, &mut buffer) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(self.device.failed("VIDIOC_DQBUF", error)),
        }
        if buffer.index as usize >= self.mappings.len() {
            let expected = format!("below {}", self.mappings.len());
            return Err(self.device.refused("buffer", expected, buffer.index));
        }
        Ok(Some(Held {
            index: buffer.index,
            used: buffer.bytesused,
            damaged: buffer.flags & sys::V4L2_BUF_FLAG_ERROR != 0,
            sequence: buffer.sequence,
            taken: taken(&buffer),
        }))
    }

    /// Waits until something can be dequeued; `false` after a time-out.
    fn poll(&self, wait: Duration) -> Result<bool, SourceError> {
        let mut poll = libc::pollfd {
            fd: self.device.fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // Rounded up: a wait of less than a millisecond would spin.
        let ms = wait.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
        // SAFETY: one structure, borrowed for the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, ms) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                // The caller waits on for what is left of its time.
                io::ErrorKind::Interrupted => Ok(true),
                _ => Err(self.device.failed("poll", error)),
            };
        }
        if ready > 0 && poll.revents & libc::POLLIN == 0 {
            // An error alone: a device that is gone says so when it is asked, a stream that broke
            // does not.
            self.device.capability()?;
            let error = io::Error::other(format!("the stream broke (events {:#x})", poll.revents));
            return Err(self.device.failed("poll", error));
        }
        Ok(ready > 0)
    }

    fn number(&mut self, sequence: u32, older: &mut Older) {
        older.gaps += gap(self.last_sequence, sequence);
        self.last_sequence = Some(sequence);
    }

    fn call<T: Plain>(
        &self,
        name: &'static str,
        request: vidioc::_IOC_TYPE,
        argument: &mut T,
    ) -> Result<(), SourceError> {
        self.device
            .call(request, argument)
            .map_err(|error| self.device.failed(name, error))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // An unplugged camera refuses, and there is nobody to tell: closing the node stops it too.
        let mut kind = CAPTURE as i32;
        let _ = self.device.call(vidioc::VIDIOC_STREAMOFF, &mut kind);
    }
}

/// Buffer `index` as the kernel wants it named.
fn described(index: u32) -> sys::v4l2_buffer {
    sys::v4l2_buffer {
        index,
        type_: CAPTURE,
        memory: MMAP,
        ..sys::v4l2_buffer::zero()
    }
}

/// Numbers missing between two frames; none when the driver began anew.
fn gap(last: Option<u32>, sequence: u32) -> u64 {
    let Some(last) = last else {
        return 0;
    };
    match sequence.wrapping_sub(last) {
        step @ 1..0x8000_0000 => u64::from(step - 1),
        _ => 0,
    }
}

fn taken(buffer: &sys::v4l2_buffer) -> Option<Duration> {
    let clock = buffer.flags & sys::V4L2_BUF_FLAG_TIMESTAMP_MASK;
    let seconds = u64::try_from(buffer.timestamp.tv_sec).ok()?;
    let micros = u32::try_from(buffer.timestamp.tv_usec).ok()?;
    (clock == sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC && micros < 1_000_000)
        .then(|| Duration::new(seconds, micros * 1000))
}

/// The system's monotonic clock, the one drivers stamp frames with.
pub(super) fn monotonic() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: one structure, borrowed for the call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_never_came_are_counted_also_around_the_end_of_the_numbers() {
        for (last, sequence, missing) in [
            (None, 17, 0),
            (Some(0), 1, 0),
            (Some(4), 8, 3),
            (Some(u32::MAX), 0, 0),
            (Some(u32::MAX - 1), 1, 2),
            (Some(9), 9, 0),
            (Some(900), 0, 0),
        ] {
            assert_eq!(gap(last, sequence), missing, "{last:?} {sequence}");
        }
    }

    #[test]
    fn a_time_of_another_clock_is_not_taken() {
        let mut buffer = described(0);
        buffer.timestamp.tv_sec = 7;
        buffer.timestamp.tv_usec = 250_000;
        assert_eq!(taken(&buffer), None);
        buffer.flags = sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
        assert_eq!(taken(&buffer), Some(Duration::from_millis(7250)));
        buffer.timestamp.tv_sec = -1;
        assert_eq!(taken(&buffer), None);
        assert!(monotonic() <= monotonic());
    }
}
