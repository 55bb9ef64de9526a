//! What training needs of a machine and what is there, with the mend for what is not.
//!
//! Never changes the machine but for one empty file that it writes beside the runs and removes.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::device;
use crate::engine::card::{Card, cards, driver_cuda};
use crate::engine::launch::Launch;
use crate::engine::{build_of_libtorch, nccl_found};

/// libtorch that this program is made for.
const LIBTORCH_NEEDED: &str = "2.11.0";
/// CUDA that this libtorch is built for, which the driver must serve.
const CUDA_NEEDED: (u32, u32) = (13, 0);
/// Memory below which even the smallest network swaps, bytes.
const MEMORY_NEEDED: u64 = 2 << 30;
/// Room that the checkpoints of a run of the largest network take, bytes.
const DISK_NEEDED: u64 = 2 << 30;

const INSTALL: &str = "eval \"$(host/libtorch)\" && cargo build --release -p host";

/// What shall be possible here.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Folder of the runs.
    pub project: PathBuf,
    /// Data sets.
    pub data: Vec<PathBuf>,
}

/// How a finding stands to what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As needed.
    Ok,
    /// Not there, and not needed for what is wanted.
    Absent,
    /// Training cannot start.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// As needed, absent or missing.
    pub state: State,
    /// What is there.
    pub found: String,
    /// What is needed.
    pub needed: String,
    /// What to do where it is not there.
    pub mend: Option<String>,
    /// The exit code where it is missing: 2 usage, 3 data, 5 device, 6 disk.
    #[serde(skip)]
    pub code: u8,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Training can start.
    pub ready: bool,
    /// In the order of the examination.
    pub findings: Vec<Finding>,
    /// The cards that the driver names.
    pub cards: Vec<Card>,
}

/// Training cannot start here.
#[derive(Debug, thiserror::Error)]
#[error("training cannot start here: {what}")]
pub struct NotReady {
    what: String,
    /// Exit code.
    pub code: u8,
}

impl Report {
    /// The first thing that is missing, as an error.
    ///
    /// # Errors
    /// When something is.
    pub fn check(&self) -> Result<(), NotReady> {
        let missing = |f: &&Finding| f.state == State::Missing;
        match self.findings.iter().find(missing) {
            None => Ok(()),
            Some(Finding {
                what, found, code, ..
            }) => Err(NotReady {
                what: format!("{what}: {found}"),
                code: *code,
            }),
        }
    }
}

/// Looks at this machine.
pub fn examine(wanted: &Wanted) -> Report {
    let for_card = wanted.device.starts_with("cuda");
    let cards = cards();
    let several = cards.as_ref().is_ok_and(|cards| cards.len() > 1);
    let mut findings = vec![
        libtorch(),
        libtorch_cuda(for_card),
        driver(for_card),
        cards_finding(for_card, &cards),
        nccl(several),
        chosen_device(&wanted.device),
        processes(),
        processor(),
        memory(),
        disk(&wanted.project),
    ];
    findings.extend(wanted.data.iter().map(|path| data(path)));
    let missing = |finding: &Finding| finding.state == State::Missing;
    Report {
        ready: !findings.iter().any(missing),
        findings,
        cards: cards.unwrap_or_default(),
    }
}

/// A finding about the device; `code` is changed by those about something else.
fn finding(what: &'static str, found: String, needed: impl Into<String>) -> Finding {
    Finding {
        what,
        state: State::Ok,
        found,
        needed: needed.into(),
        mend: None,
        code: 5,
    }
}

impl Finding {
    fn unless(mut self, good: bool, state: State, mend: &str) -> Self {
        if !good {
            self.state = state;
            self.mend = Some(mend.to_owned());
        }
        self
    }
}

/// Not there: bad where a card is wanted, else only worth knowing.
fn without(for_card: bool) -> State {
    if for_card {
        State::Missing
    } else {
        State::Absent
    }
}

fn libtorch() -> Finding {
    let version = build_of_libtorch()
        .ok()
        .and_then(|text| value_of(&text, "TORCH_VERSION="));
    let version = version.unwrap_or_else(|| "unknown".to_owned());
    let folder =
        loaded("libtorch_cpu.so").map_or("unknown place".to_owned(), |p| p.display().to_string());
    let good = version == LIBTORCH_NEEDED;
    finding(
        "libtorch",
        format!("{version} in {folder}"),
        LIBTORCH_NEEDED,
    )
    .unless(good, State::Missing, INSTALL)
}

fn libtorch_cuda(for_card: bool) -> Finding {
    let opened = device::load_cuda();
    let good = opened.is_ok();
    let found = match opened {
        Ok(library) => {
            // Kernels are registered: it must stay.
            std::mem::forget(library);
            "loads".to_owned()
        }
        Err(reason) => reason,
    };
    finding("libtorch_cuda", found, "libtorch_cuda.so, for a card only").unless(
        good,
        without(for_card),
        &format!("on a machine with an NVIDIA driver: {INSTALL}"),
    )
}

fn driver(for_card: bool) -> Finding {
    let (major, minor) = CUDA_NEEDED;
    let needed = format!("a driver for CUDA {major}.{minor} or newer, for a card only");
    let (found, good) = match driver_cuda() {
        Ok((major, minor)) => (
            format!("serves CUDA {major}.{minor}"),
            (major, minor) >= CUDA_NEEDED,
        ),
        Err(error) => (error.to_string(), false),
    };
    finding("NVIDIA driver", found, needed).unless(
        good,
        without(for_card),
        "install or update the NVIDIA driver (Debian: apt-get install nvidia-driver; in a container: start it with --gpus all)",
    )
}

fn cards_finding(for_card: bool, cards: &Result<Vec<Card>, crate::engine::EngineError>) -> Finding {
    let (found, good) = match cards {
        Ok(cards) if cards.is_empty() => ("none".to_owned(), false),
        Ok(cards) => (
            cards.iter().map(describe).collect::<Vec<_>>().join("; "),
            true,
        ),
        Err(error) => (error.to_string(), false),
    };
    finding("cards", found, "one or more, for a card only").unless(
        good,
        without(for_card),
        "is CUDA_VISIBLE_DEVICES empty, or the card given to another container?",
    )
}

fn describe(card: &Card) -> String {
    let half = if card.has_bf16() {
        "bf16"
    } else {
        "no bf16, fp16 is taken"
    };
    format!("{card}, {half}")
}

fn nccl(several: bool) -> Finding {
    let (found, good) = match nccl_found() {
        Ok((major, minor, patch)) => (format!("{major}.{minor}.{patch}"), true),
        Err(error) => (error.to_string(), false),
    };
    finding("NCCL", found, "libnccl.so.2, for several cards only").unless(
        good,
        without(several),
        &format!("on a machine with an NVIDIA driver: {INSTALL}"),
    )
}

fn chosen_device(text: &str) -> Finding {
    let (found, good) = match device::parse(text) {
        Ok(device) => (format!("{device:?}"), true),
        Err(error) => (error.to_string(), false),
    };
    finding("device", found, text).unless(
        good,
        State::Missing,
        "mend what is missing above, or take --device cpu",
    )
}

fn processes() -> Finding {
    let (found, good) = match Launch::from_env() {
        Ok(None) => ("one".to_owned(), true),
        Ok(Some(launch)) => (format!("rank {} of {}", launch.rank, launch.world), true),
        Err(error) => (error.to_string(), false),
    };
    let mut finding = finding("processes", found, "one, or a whole launch").unless(
        good,
        State::Missing,
        "start with torchrun --no-python, srun, or without RANK, WORLD_SIZE and LOCAL_RANK",
    );
    finding.code = 2;
    finding
}

fn processor() -> Finding {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let capability = build_of_libtorch()
        .ok()
        .and_then(|text| value_of(&text, "CPU capability usage: "))
        .unwrap_or_else(|| "unknown".to_owned());
    let found = format!(
        "{threads} threads, {} for libtorch; {}; libtorch uses {capability}",
        tch::get_num_threads(),
        instruction_sets().join(" ")
    );
    finding("CPU", found, "any")
}

/// Those that decide how fast libtorch is.
fn instruction_sets() -> Vec<&'static str> {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    for (name, there) in [
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("AVX512F", is_x86_feature_detected!("avx512f")),
        ("AVX512-VNNI", is_x86_feature_detected!("avx512vnni")),
        ("AVX512-BF16", is_x86_feature_detected!("avx512bf16")),
    ] {
        if there {
            sets.push(name);
        }
    }
    if sets.is_empty() {
        sets.push(std::env::consts::ARCH);
    }
    sets
}

fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |key: &str| {
        let value = value_of(&text, key)?;
        let kib: u64 = value.trim().trim_end_matches(" kB").trim().parse().ok()?;
        Some(kib * 1024)
    };
    let (total, free) = (bytes("MemTotal:"), bytes("MemAvailable:"));
    let found = match (total, free) {
        (Some(total), Some(free)) => format!("{} of {} free", gib(free), gib(total)),
        _ => "unknown".to_owned(),
    };
    let good = free.is_none_or(|free| free >= MEMORY_NEEDED);
    finding("memory", found, format!("{} free", gib(MEMORY_NEEDED))).unless(
        good,
        State::Missing,
        "end other programs, or lower --batch-size and --cache",
    )
}

fn disk(project: &Path) -> Finding {
    let folder = project
        .ancestors()
        .map(|path| {
            if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            }
        })
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("."));
    let (found, good) = match (writable(folder), free_bytes(folder)) {
        (Err(error), _) => (format!("{}: {error}", folder.display()), false),
        (Ok(()), Err(error)) => (format!("{}: {error}", folder.display()), false),
        (Ok(()), Ok(free)) => (
            format!("{} free in {}", gib(free), folder.display()),
            free >= DISK_NEEDED,
        ),
    };
    let needed = format!("{} free and leave to write", gib(DISK_NEEDED));
    let mut finding = finding("run folder", found, needed).unless(
        good,
        State::Missing,
        "free some room, or take another --project",
    );
    finding.code = 6;
    finding
}

fn writable(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".leuko-doctor-{}", std::process::id()));
    fs::File::create_new(&probe)?;
    fs::remove_file(&probe)
}

fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let room = rustix::fs::statvfs(folder)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

fn data(path: &Path) -> Finding {
    let (found, good) = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => match fs::read_dir(path) {
            Ok(entries) => (
                format!("{}, {} entries", path.display(), entries.count()),
                true,
            ),
            Err(error) => (format!("{}: {error}", path.display()), false),
        },
        Ok(meta) => (format!("{}, {} bytes", path.display(), meta.len()), true),
        Err(error) => (format!("{}: {error}", path.display()), false),
    };
    let mut finding = finding("data", found, "a file or folder that can be read").unless(
        good,
        State::Missing,
        "give the path of a data set; leuko-host data check says what is wrong inside",
    );
    finding.code = 3;
    finding
}

/// Where the process has loaded a library from.
fn loaded(library: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps
        .lines()
        .filter_map(|line| line.find('/').map(|from| Path::new(&line[from..])))
        .find(|path| path.file_name().is_some_and(|name| name == library))?;
    path.parent().map(Path::to_path_buf)
}

/// What follows `key` in a text, up to a comma or the end of the line.
fn value_of(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(key)?;
    let end = rest.find([',', '\n']).unwrap_or(rest.len());
    Some(rest[..end].trim().to_owned())
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(device: &str) -> Wanted {
        Wanted {
            device: device.to_owned(),
            project: std::env::temp_dir().join("not/there/yet"),
            data: Vec::new(),
        }
    }

    fn of<'a>(report: &'a Report, what: &str) -> &'a Finding {
        let found = report.findings.iter().find(|f| f.what == what);
        found.expect("it is looked at")
    }

    #[test]
    fn the_cpu_of_a_machine_that_runs_this_test_is_ready() {
        let report = examine(&wanted("cpu"));
        report.check().expect("libtorch is here");
        assert!(report.ready);
        assert!(
            of(&report, "libtorch").found.starts_with("2.11.0 in /"),
            "{report:?}"
        );
        assert_eq!(of(&report, "device").found, "Cpu");
        assert!(of(&report, "run folder").found.contains("GiB free in "));
    }

    #[test]
    fn a_card_that_is_not_there_is_missing_with_its_mend_and_exit_code_5() {
        let report = examine(&wanted("cuda:97"));
        let error = report.check().expect_err("no machine has 98 cards");
        assert_eq!(error.code, 5);
        assert!(!report.ready);
        assert_eq!(of(&report, "device").state, State::Missing);
        if report.cards.is_empty() {
            let cuda = of(&report, "libtorch_cuda");
            assert_eq!(cuda.state, State::Missing);
            let mend = cuda.mend.as_deref().expect("there is one");
            assert!(mend.contains("host/libtorch"), "{mend}");
            // The same finding is only worth knowing where no card is wanted.
            let report = examine(&wanted("auto"));
            assert_eq!(of(&report, "libtorch_cuda").state, State::Absent);
        }
    }

    #[test]
    fn data_that_is_not_there_has_exit_code_3_and_a_folder_without_leave_6() {
        let mut wanted = wanted("cpu");
        wanted.data.push(PathBuf::from("/no/such/set"));
        let error = examine(&wanted).check().expect_err("not there");
        assert_eq!(error.code, 3);
        assert!(
            error
                .to_string()
                .contains("data: /no/such/set: No such file"),
            "{error}"
        );
        wanted.data.clear();
        wanted.project = PathBuf::from("/proc/runs");
        let error = examine(&wanted).check().expect_err("nobody writes there");
        assert_eq!(error.code, 6);
    }

    #[test]
    fn a_value_ends_at_a_comma_or_the_end_of_its_line() {
        let text = "A=1, TORCH_VERSION=2.11.0, B\n  - CPU capability usage: AVX2\n  - x";
        assert_eq!(value_of(text, "TORCH_VERSION=").as_deref(), Some("2.11.0"));
        assert_eq!(value_of(text, "usage: ").as_deref(), Some("AVX2"));
        assert_eq!(value_of(text, "CUDA="), None);
    }
}
