//! A file that one program at a time holds: by a lock that the kernel gives back when its holder dies,
//! however it dies.

use std::fs::{File, TryLockError};

/// Held as long as it lives.
#[derive(Debug)]
pub struct HeldFile(File);

impl HeldFile {
    /// Takes the lock of an open file, without waiting.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] when another holds it.
    pub fn take(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self(file))
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for HeldFile {
    /// That the file is closed would not do: a child that was just forked still has it.
    fn drop(&mut self) {
        // Where this fails the kernel gives it back with the process.
        let _ = self.0.unlock();
    }
}
