//! The place between capture and analysis: one frame, and the newest wins.
//!
//! Frames are swapped in and out, never copied or allocated: three of them circulate for ever.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::frame::Frame;

/// One slot. Whoever puts gets an old frame's memory back, whoever takes gives theirs.
#[derive(Debug, Default)]
pub struct Mailbox {
    slot: Mutex<Slot>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    frame: Frame,
    full: bool,
    closed: bool,
    replaced: u64,
}

/// What a wait for a frame brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A frame that nobody had seen.
    Frame,
    /// None came in time.
    Nothing,
    /// None will come any more.
    Closed,
}

impl Mailbox {
    /// Puts a frame in; an unseen one is replaced and counted.
    pub fn put(&self, frame: &mut Frame) {
        let mut slot = self.lock();
        std::mem::swap(&mut slot.frame, frame);
        if std::mem::replace(&mut slot.full, true) {
            slot.replaced += 1;
        }
        self.filled.notify_one();
    }

    /// Waits at most `wait` for a frame.
    pub fn take(&self, wait: Duration, frame: &mut Frame) -> Taken {
        let empty = |slot: &mut Slot| !slot.full && !slot.closed;
        let slot = self.filled.wait_timeout_while(self.lock(), wait, empty);
        let (mut slot, _) = slot.unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut slot.full) {
            std::mem::swap(&mut slot.frame, frame);
            self.emptied.notify_one();
            return Taken::Frame;
        }
        match slot.closed {
            true => Taken::Closed,
            false => Taken::Nothing,
        }
    }

    /// Waits at most `wait` until the slot is empty: a source that can wait loses no frame. False when it
    /// is still full.
    pub fn wait_empty(&self, wait: Duration) -> bool {
        let full = |slot: &mut Slot| slot.full && !slot.closed;
        let slot = self.emptied.wait_timeout_while(self.lock(), wait, full);
        let (slot, timed_out) = slot.unwrap_or_else(PoisonError::into_inner);
        drop(slot);
        !timed_out.timed_out()
    }

    /// No frame comes any more; one that lies there is still taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// Frames that nobody saw.
    pub fn replaced(&self) -> u64 {
        self.lock().replaced
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn numbered(sequence: u64) -> Frame {
        Frame {
            sequence,
            ..Frame::default()
        }
    }

    #[test]
    fn the_newest_frame_wins_and_the_replaced_ones_are_counted() {
        let mailbox = Mailbox::default();
        for sequence in 1..=5 {
            mailbox.put(&mut numbered(sequence));
        }
        let mut frame = Frame::default();
        assert_eq!(mailbox.take(Duration::ZERO, &mut frame), Taken::Frame);
        assert_eq!((frame.sequence, mailbox.replaced()), (5, 4));
        assert_eq!(mailbox.take(Duration::ZERO, &mut frame), Taken::Nothing);
        assert_eq!(frame.sequence, 5);
    }

    #[test]
    fn memory_circulates() {
        let mailbox = Mailbox::default();
        let mut produced = numbered(1);
        produced.pixels = vec![7; 1000];
        let address = produced.pixels.as_ptr();
        mailbox.put(&mut produced);
        let mut taken = Frame::default();
        mailbox.take(Duration::ZERO, &mut taken);
        assert_eq!(taken.pixels.as_ptr(), address);
    }

    #[test]
    fn who_waits_is_woken_by_a_frame_and_by_the_end() {
        let mailbox = Arc::new(Mailbox::default());
        let waiting = {
            let mailbox = Arc::clone(&mailbox);
            std::thread::spawn(move || {
                let mut frame = Frame::default();
                let first = mailbox.take(Duration::from_secs(30), &mut frame);
                (first, mailbox.take(Duration::from_secs(30), &mut frame))
            })
        };
        mailbox.put(&mut numbered(1));
        assert!(mailbox.wait_empty(Duration::from_secs(30)));
        mailbox.close();
        assert_eq!(waiting.join().unwrap(), (Taken::Frame, Taken::Closed));
    }
}
