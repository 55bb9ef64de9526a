//! The file, else the last one that worked, else nothing but the reason.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::{ConfigError, HttpConfig, StationConfig, StoreConfig};
use crate::atomic::{OutputError, make_folder, write_file};
use crate::text_file;

/// Name of the copy of the last configuration that worked, in the data root.
pub const LAST_GOOD: &str = "config.last-good.toml";

/// Largest file that is read, bytes; the default has 6,000.
const BYTES_MAX: u64 = 1 << 18;

/// A configuration with the text it was read from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// As read.
    pub values: StationConfig,
    /// The text of its file.
    pub text: String,
}

/// What the station starts with.
#[derive(Clone, Debug, PartialEq)]
pub enum Loaded {
    /// What the file says.
    File(Config),
    /// What the last file that worked said; the banner tells why.
    LastGood {
        /// The copy.
        config: Config,
        /// For the page, until the file is mended.
        banner: String,
    },
    /// Neither can be used: nothing may be counted, the page says why.
    Safe {
        /// For the page.
        reason: String,
        /// Where that page is: what is readable of `http.address`, else the default's.
        http: HttpConfig,
    },
}

/// Reads `file`, or where that cannot be used the copy that [`keep`] made beside the data.
///
/// The data root of a file that cannot be used is what is readable of its `store.root`, else the
/// default's.
pub fn load(file: &Path) -> Loaded {
    let (error, text) = match read_text(file) {
        Ok(text) => match StationConfig::parse(&text) {
            Ok(values) => return Loaded::File(Config { values, text }),
            Err(error) => (error, text),
        },
        Err(error) => (error, String::new()),
    };
    let problem = format!("configuration {}: {error}", file.display());
    let copy = root_of(&text).join(LAST_GOOD);
    match read(&copy) {
        Ok(config) => Loaded::LastGood {
            config,
            banner: format!("{problem}; the last one that worked is used"),
        },
        Err(error) => Loaded::Safe {
            http: http_of(&text),
            reason: format!(
                "{problem}; and the last one that worked, {}: {error}",
                copy.display()
            ),
        },
    }
}

/// Reads one file.
///
/// # Errors
/// When it cannot be read or used.
pub fn read(file: &Path) -> Result<Config, ConfigError> {
    let text = read_text(file)?;
    let values = StationConfig::parse(&text)?;
    Ok(Config { values, text })
}

/// Keeps a configuration that worked, for when its file is damaged; nothing is written when the copy
/// is the same already.
///
/// # Errors
/// When the data root cannot be written.
pub fn keep(config: &Config) -> Result<(), OutputError> {
    let root = &config.values.store.root;
    let copy = root.join(LAST_GOOD);
    if read_text(&copy).is_ok_and(|kept| kept == config.text) {
        return Ok(());
    }
    make_folder(root)?;
    write_file(&copy, config.text.as_bytes())
}

/// Where the page is by a text that cannot be used.
fn http_of(text: &str) -> HttpConfig {
    let (table, _) = DeTable::parse_recoverable(text);
    let http = table.get_ref().get("http");
    let address = http.and_then(|http| http.get_ref().get("address"));
    let address = address.and_then(|address| address.get_ref().as_str());
    let mut config = HttpConfig::default();
    if let Some(address) = address.and_then(|address| address.parse().ok()) {
        config.address = address;
    }
    config
}

/// The data root that a text names although it cannot be used.
fn root_of(text: &str) -> PathBuf {
    let (table, _) = DeTable::parse_recoverable(text);
    let store = table.get_ref().get("store");
    let root = store.and_then(|store| store.get_ref().get("root"));
    let root = root.and_then(|root| root.get_ref().as_str());
    match root {
        Some(root) if !root.is_empty() => PathBuf::from(root),
        _ => StoreConfig::default().root,
    }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    text_file::read(path, BYTES_MAX).map_err(|reason| ConfigError::Unreadable { reason })
}
