//! A log file of bounded size with a bounded number of older ones beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::atomic::{OutputError, make_folder};

/// `station.log`, and `station.log.1` (newest) to `station.log.N` (oldest).
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    bytes_max: u64,
    older_max: u32,
    open: Option<(File, u64)>,
}

impl Files {
    /// Names the file, its largest size in bytes, and how many older ones are kept.
    pub fn new(path: &Path, bytes_max: u64, older_max: u32) -> Self {
        Self {
            path: path.to_owned(),
            bytes_max,
            older_max,
            open: None,
        }
    }

    pub(super) fn opened(mut self) -> Result<Self, OutputError> {
        if let Some(folder) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            make_folder(folder)?;
        }
        let opened = self.open_file();
        opened.map_err(|error| OutputError::at(&self.path, error))?;
        Ok(self)
    }

    fn open_file(&mut self) -> io::Result<()> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        let bytes = file.metadata()?.len();
        self.open = Some((file, bytes));
        Ok(())
    }

    /// Appends a line, after putting a full file aside.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if let Some((_, bytes)) = &self.open
            && *bytes > 0
            && *bytes + length > self.bytes_max
        {
            self.open = None;
            self.put_aside()?;
        }
        if self.open.is_none() {
            // After a failure (a stick that was pulled out) every line tries anew.
            self.open_file()?;
        }
        let (file, bytes) = self.open.as_mut().expect("opened above");
        let written = file.write_all(line);
        *bytes += length;
        if written.is_err() {
            self.open = None;
        }
        written
    }

    fn put_aside(&self) -> io::Result<()> {
        for number in (1..self.older_max).rev() {
            let from = self.older(number);
            if from.exists() {
                fs::rename(from, self.older(number + 1))?;
            }
        }
        match self.older_max {
            0 => fs::remove_file(&self.path),
            _ => fs::rename(&self.path, self.older(1)),
        }
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_holds_a_bounded_number_of_bounded_files_and_the_newest_lines() {
        for older_max in [0, 1, 3] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log/station.log");
            let mut files = Files::new(&path, 100, older_max).opened().unwrap();
            for number in 0..500 {
                files
                    .write(format!("line {number:04}\n").as_bytes())
                    .unwrap();
            }
            let mut all = String::new();
            for number in (1..=older_max).rev() {
                let text = fs::read_to_string(files.older(number)).unwrap();
                assert_eq!(text.len(), 100);
                all.push_str(&text);
            }
            all.push_str(&fs::read_to_string(&path).unwrap());
            let count = fs::read_dir(path.parent().unwrap()).unwrap().count();
            assert_eq!(count, older_max as usize + 1);
            let expected: String = (500 - all.len() / 10..500)
                .map(|number| format!("line {number:04}\n"))
                .collect();
            assert_eq!(all, expected);
        }
    }

    #[test]
    fn a_file_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("station.log");
        for _ in 0..3 {
            let mut files = Files::new(&path, 100, 1).opened().unwrap();
            files.write(&[b'x'; 40]).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 40);
        assert_eq!(
            fs::metadata(path.with_extension("log.1")).unwrap().len(),
            80
        );
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let words = Files::new(folder.path(), 100, 1).opened().unwrap_err();
        assert!(
            words.to_string().contains(": cannot be written: "),
            "{words}"
        );
    }
}
