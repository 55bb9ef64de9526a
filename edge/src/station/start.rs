//! Everything the station works with, made in an order that leaves nothing half begun.
//!
//! The lock of the data comes first: a second station changes nothing. Then the name of this start, the
//! log, the model, and the case that goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use serde_json::json;

use crate::atomic::OutputError;
use crate::case::text::{CaseId, Text, TextError};
use crate::clock::{self, BootError, Clock, Started};
use crate::config::{
    Config, HttpConfig, LAST_GOOD, Loaded, LogConfig, LogPlace, SourceChoice, StationConfig, load,
    read,
};
use crate::detector::Detector;
use crate::exit;
use crate::install::{InstallError, Models};
use crate::log::{Files, Level, Log};
use crate::model::{ModelError, ModelFile};
use crate::service::command::Refusal;
use crate::service::view::{Banner, BannerLevel};
use crate::service::{ServiceError, StationView};
use crate::source::chosen::opener;
use crate::source::watched::Watched;
use crate::store::{Repaired, Store, StoreError};
use crate::tract::TractNetwork;

use super::desk::{Desk, DeskParts};
use super::ledger::Ledger;
use super::numbers::Numbers;
use super::orders::NewCase;
use super::plan::{Plan, Posted};
use super::resume::unfinished;
use super::scale::Ruler;
use super::settings::{self, CaseSettings, SettingsError, WatchSettings};
use super::shared::{Shared, TASKS_MAX, Task, Tasks};

/// Who acts in a run with `--case`.
pub const UNATTENDED: &str = "run --case";

/// What is asked of a run.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The configuration; the default's values without.
    pub config: Option<PathBuf>,
    /// The case to open or to go on with, unattended.
    pub case: Option<CaseId>,
    /// End when the source is over.
    pub until_end: bool,
}

/// Why the station does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No configuration can be used.
    #[error("{0}")]
    Config(String),
    /// The configuration does not fit the program or the model.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The data.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The number of this start.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The log.
    #[error("log: {0}")]
    Log(#[from] OutputError),
    /// The installed model.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The page.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The system gives no thread, or no signals.
    #[error("threads: {0}")]
    Thread(std::io::Error),
    /// The source cannot be opened, and nobody waits for it.
    #[error("{words}")]
    Source {
        /// What is the matter, for people.
        words: String,
        /// Of the process.
        code: u8,
    },
    /// The name of the case.
    #[error("--case: {0}")]
    Name(TextError),
    /// The case is not opened.
    #[error("--case {case}: {reason}")]
    Case {
        /// Its name.
        case: CaseId,
        /// Why not.
        reason: Refusal,
    },
}

impl StartError {
    /// The code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Settings(_) => exit::BAD_DATA,
            Self::Store(error) => error.exit_code(),
            Self::Log(_) | Self::Boot(_) => exit::DISK,
            Self::Install(error) => exit::install_code(error),
            Self::Model(_) => exit::BAD_MODEL,
            Self::Service(_) | Self::Thread(_) => exit::FAILURE,
            Self::Case {
                reason: Refusal::Disk(_),
                ..
            } => exit::DISK,
            Self::Source { code, .. } => *code,
            Self::Name(_) | Self::Case { .. } => exit::USAGE,
        }
    }

    /// Whether a page that tells why is of use: not where another station serves it, or where somebody
    /// waits at the command line.
    fn has_page(&self) -> bool {
        match self {
            Self::Config(_) | Self::Settings(_) | Self::Boot(_) | Self::Log(_) => true,
            Self::Install(_) | Self::Model(_) => true,
            Self::Store(error) => !matches!(error, StoreError::Locked { .. }),
            Self::Service(_) | Self::Thread(_) | Self::Source { .. } => false,
            Self::Name(_) | Self::Case { .. } => false,
        }
    }
}

/// The station did not start, and where its page would be.
#[derive(Debug)]
pub struct Unable {
    /// Why.
    pub error: Box<StartError>,
    /// Of what is readable of the configuration.
    pub http: HttpConfig,
}

impl Unable {
    /// Whether the page in safe mode is to be shown.
    pub fn has_page(&self, choice: &Choice) -> bool {
        let scripted = choice.case.is_some() || choice.until_end;
        !scripted && self.error.has_page()
    }
}

/// What the threads are made of.
pub struct Parts {
    /// Shared by all.
    pub shared: Arc<Shared>,
    /// Records.
    pub desk: Desk,
    /// Where its tasks come out.
    pub tasks: Tasks,
    /// Where they go in.
    pub to_desk: SyncSender<Task>,
    /// The source, not open yet.
    pub watched: Watched,
    /// Whether it waits until its frames were seen.
    pub waits: bool,
    /// Whether its frames come when they are due.
    pub keeps_time: bool,
    /// Code of the process where the source cannot be opened at once; `None` = it is waited for.
    pub missing_code: Option<u8>,
    /// The model.
    pub detector: Detector,
    /// How fields are judged.
    pub watch: WatchSettings,
    /// The page.
    pub http: HttpConfig,
}

/// Makes everything.
///
/// # Errors
/// The first thing that cannot be had.
pub fn begin(choice: &Choice) -> Result<Parts, Unable> {
    let (values, keep, banner) = match choice.config.as_deref().map(load) {
        None => (StationConfig::default(), None, None),
        Some(Loaded::File(config)) => (config.values.clone(), Some(config), None),
        Some(Loaded::LastGood { config, banner }) => (config.values, None, Some(banner)),
        Some(Loaded::Safe { reason, http }) => {
            let error = Box::new(StartError::Config(reason));
            return Err(Unable { error, http });
        }
    };
    let http = values.http.clone();
    let fallback = keep.clone().filter(|_| banner.is_none());
    let made = match (make(choice, values, keep, banner), fallback) {
        (Err(StartError::Settings(error)), Some(config)) => last_good(choice, &config, error),
        (made, _) => made,
    };
    made.map_err(|error| Unable {
        error: Box::new(error),
        http,
    })
}

/// A configuration that is sound in itself and does not fit program or model: the last one that worked.
fn last_good(choice: &Choice, config: &Config, error: SettingsError) -> Result<Parts, StartError> {
    let copy = config.values.store.root.join(LAST_GOOD);
    match read(&copy) {
        Ok(last) if last.text != config.text => {
            let banner = format!("configuration: {error}; the last one that worked is used");
            make(choice, last.values, None, Some(banner))
        }
        _ => Err(error.into()),
    }
}

fn make(
    choice: &Choice,
    config: StationConfig,
    keep: Option<Config>,
    banner: Option<String>,
) -> Result<Parts, StartError> {
    let root = &config.store.root;
    let (store, repaired) = Store::open(root)?;
    let store = store.with_floor(settings::floor(&config.store));
    let (clock, mended) = name_start(&store, root)?;
    let log = Arc::new(open_log(&config.log)?);
    let model = Models::of(root).active()?;
    let threads = usize::from(config.model.threads);
    let mut detector = Detector::new(Box::new(TractNetwork::load_threaded(&model, threads)?));
    let thresholds = settings::thresholds(&config.thresholds, detector.contract());
    detector.set_thresholds(thresholds);
    let of_case = CaseSettings::new(&config, detector.contract(), model.sha256())?;
    let opener = opener(&config.source, clock.start()).map_err(SettingsError::from)?;
    let watched = Watched::new(
        opener,
        settings::life(&config.source.life),
        clock.since_start(),
    );

    let shared = shared(clock, log, &config);
    let ledger = Ledger::new(Arc::clone(&shared), store);
    let models = Models::of(root);
    let resumed = unfinished(&ledger, &models);
    let banner = banner.map(|text| Banner {
        level: BannerLevel::Warning,
        text,
    });
    let parts = DeskParts {
        shared: Arc::clone(&shared),
        ledger,
        models,
        settings: of_case,
        ruler: Ruler::load(root, config.calibration),
        case: resumed.case,
        problem: resumed.problem,
        banners: banner.into_iter().collect(),
        case_banners: resumed.banners,
        keep,
    };
    let mut desk = Desk::new(parts);
    tell(&mut desk, &model, &repaired, mended);
    // Opened with the first frame, which waits for it: by then it is known that frames come, that the page is
    // served, and by which scale is measured.
    desk.awaited = choice.case.clone();
    let (to_desk, tasks) = sync_channel(TASKS_MAX);
    Ok(Parts {
        shared,
        desk,
        tasks,
        to_desk,
        watched,
        waits: settings::waits(&config.source),
        keeps_time: settings::keeps_time(&config.source),
        missing_code: choice.until_end.then_some(match config.source.kind {
            SourceChoice::Camera => exit::DEVICE,
            _ => exit::BAD_DATA,
        }),
        detector,
        watch: WatchSettings::new(&config),
        http: config.http,
    })
}

/// Where nothing can be recorded no start is counted, and none needs a name of its own.
fn name_start(store: &Store, root: &Path) -> Result<(Clock, Option<String>), StartError> {
    if store.read_only().is_some() {
        return Ok((Clock::unnamed(), None));
    }
    let Started { boot, mended } = clock::begin(root)?;
    Ok((Clock::new(boot), mended))
}

fn open_log(config: &LogConfig) -> Result<Log, OutputError> {
    let lines = config.lines_a_minute_max;
    match (config.to, &config.file) {
        (LogPlace::File, Some(file)) => {
            let bytes = u64::from(config.file_mb_max) * 1_000_000;
            Log::to_files(Files::new(file, bytes, config.older_files_max), lines)
        }
        // The configuration's check lets no "file" through without one.
        _ => Ok(Log::to_stderr(lines)),
    }
}

fn shared(clock: Clock, log: Arc<Log>, config: &StationConfig) -> Arc<Shared> {
    let numbers = Arc::new(Numbers::default());
    let (of_view, log_of_view) = (Arc::clone(&numbers), Arc::clone(&log));
    let collect = Box::new(move |text: &mut _| of_view.collect(&log_of_view, text));
    let view = Arc::new(StationView::new(config.health, collect));
    let plan = Posted::new(Plan::idle(0, "starting"));
    Arc::new(Shared::new(clock, log, view, numbers, plan))
}

/// What the start has found, to the log and into the station's record.
fn tell(desk: &mut Desk, model: &ModelFile, repaired: &[Repaired], mended: Option<String>) {
    let shared = Arc::clone(&desk.shared);
    desk.tell_repaired(repaired);
    if let Some(mended) = mended {
        shared.say(
            Level::Warning,
            "starts_mended",
            json!({ "problem": mended }),
        );
        desk.record_station("starts_mended", json!({ "problem": mended }));
    }
    let case = desk.case.as_ref().map(|case| case.id.to_string());
    let fields = json!({
        "software": env!("CARGO_PKG_VERSION"),
        "model": desk.settings.model.name.as_str(),
        "sha256": model.sha256(),
        "scale": desk.ruler.scale().id(),
        "case": case,
    });
    shared.say(Level::Info, "station_started", fields.clone());
    let mut fields = fields;
    if shared.clock.is_named() {
        fields["boot"] = json!(shared.clock.boot());
    }
    desk.record_station("station_started", fields);
    if let Some(reason) = desk.ledger.read_only() {
        let fields = json!({ "problem": reason });
        shared.say(Level::Error, "read_only", fields);
    }
    let open = desk.problem.as_ref().map(|problem| &problem.text);
    let others = desk.case_banners.iter().map(|banner| &banner.text);
    for problem in open.into_iter().chain(others) {
        shared.say(Level::Warning, "cases", json!({ "problem": problem }));
    }
}

/// Opens the case, unless it is the one that goes on.
///
/// # Errors
/// When it is refused.
pub(super) fn open_unattended(desk: &mut Desk, case: &CaseId) -> Result<(), StartError> {
    if desk.case.as_ref().is_some_and(|open| open.id == *case) {
        return Ok(());
    }
    let new = NewCase {
        id: Some(case.clone()),
        patient: None,
        specimen: None,
        stain: None,
        target: None,
        who: Text::try_from(UNATTENDED).expect("a short line"),
    };
    desk.open(new).map_err(|reason| StartError::Case {
        case: case.clone(),
        reason,
    })
}
