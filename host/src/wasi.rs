//! The world as a guest sees it through WASI: by default, an empty one.

mod directories;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stockade_wire::message::WasiSetup;

use crate::Error;
pub(crate) use directories::Directories;
use directories::Granted;

/// What a guest finds when it asks for arguments, environment, time, randomness, output and files.
///
/// By default: no arguments, no environment, the system's clocks and randomness, output that goes to
/// `tracing`, target `stockade::guest`, and no files. There is never a network. A guest's `#[init]` function sees
/// the clock and the seed, no argument, no environment and no files, and its output goes nowhere.
///
/// # Directories
///
/// With [`read_dir`](Self::read_dir) and [`write_dir`](Self::write_dir) a guest finds a directory of this
/// machine under a name of its own, and everything below it: `std::fs` works there.
///
/// ```no_run
/// # use stockade::{Host, Module, Wasi};
/// # async fn serve() -> Result<(), stockade::Error> {
/// let wasi = Wasi::new()
///     .read_dir("/srv/templates", "/templates")
///     .write_dir("/srv/thumbnails", "/out");
/// let host = Host::builder(Module::from_file("guest.wasm")).wasi(wasi).build().await?;
/// # Ok(())
/// # }
/// ```
///
/// Two walls keep a guest there. The calls of files resolve paths below the directory, whatever `..`, symbolic
/// links and renames say; and Landlock, in the kernel, grants the worker's process these directories and nothing
/// else, so an escaped guest has no more. A worker that needs the second wall does not start without it, whatever
/// the [`Hardening`](crate::Hardening) is, except with `Insecure`: that takes Linux 5.13, and 6.2 if a directory is
/// only to be read. What an escaped guest can still learn is the names, sizes and times of other files that the
/// user of its process could see.
///
/// * A directory is opened once, when the host is built. What later has its name is not granted.
/// * Workers run as the user of this process. If that is root, they run as the user and group that own the
///   directories to be written (which must be one user's), or, if there are none, as a user who owns nothing; a
///   directory that this user cannot use is an error when the host is built. Workers have no capabilities either
///   way, so that being root means no more than to own root's files.
/// * Files that a call leaves open are closed when it ends, unless it shares its instance
///   ([`State::Keep`](crate::State::Keep)). At most 256 are open at once.
/// * A file is at most [`Limits::file_bytes`](crate::Limits::file_bytes) long. The space of all together is not
///   limited here.
/// * A guest that may write can make symbolic links that point anywhere by `..`. It cannot follow them out, but
///   other programs could: whoever reads such a directory should not follow links in it.
/// * A guest that opens a named pipe, which only others can make, waits like one that sleeps: it is stopped by
///   cancel and timeout.
#[derive(Debug, Clone, Default)]
pub struct Wasi {
    args: Vec<String>,
    env: Vec<(String, String)>,
    output: [Output; 2],
    clock: Clock,
    random_seed: Option<u64>,
    granted: Vec<Granted>,
}

/// Where an output stream of a guest goes. However much a guest writes, at most
/// [`crate::Limits::output_bytes`] of each stream are kept, the last ones, and no write ever fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Output {
    /// Nowhere.
    Discard,
    /// To the same stream of this process, after each call.
    Inherit,
    /// Kept for the error of a call that fails.
    Capture,
    /// A `tracing` event for each line, after each call.
    #[default]
    Tracing,
}

/// What a guest's clocks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Clock {
    /// The system's time.
    #[default]
    System,
    /// Always this time.
    Fixed(SystemTime),
}

impl Wasi {
    /// The default world.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an argument. By custom the first one is the program's name.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where stdout goes.
    #[must_use]
    pub fn stdout(mut self, output: Output) -> Self {
        self.output[0] = output;
        self
    }

    /// Where stderr goes.
    #[must_use]
    pub fn stderr(mut self, output: Output) -> Self {
        self.output[1] = output;
        self
    }

    /// What the clocks show.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes all randomness the same for every instance.
    #[must_use]
    pub fn random_seed(mut self, seed: u64) -> Self {
        self.random_seed = Some(seed);
        self
    }

    /// Lets a guest read the directory `host` of this machine, and everything below it, as `guest`.
    ///
    /// # Errors
    /// Of [`build`](crate::HostBuilder::build), with the field `wasi`: when `host` is not absolute, is no directory
    /// or cannot be opened, or `guest` is empty, contains `..`, or is granted already.
    #[must_use]
    pub fn read_dir(self, host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        self.grant(host.into(), guest.into(), false)
    }

    /// The same, to read and to write: files and directories can be made, changed, renamed and removed there.
    ///
    /// # Errors
    /// As [`read_dir`](Self::read_dir); also when this process is root and directories to be written belong to
    /// different users.
    #[must_use]
    pub fn write_dir(self, host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        self.grant(host.into(), guest.into(), true)
    }

    fn grant(mut self, host: PathBuf, guest: String, write: bool) -> Self {
        self.granted.push(Granted { host, guest, write });
        self
    }

    /// Opens what was granted.
    pub(crate) fn directories(&self) -> Result<Directories, Error> {
        Directories::open(&self.granted)
    }

    pub(crate) fn grants_directories(&self) -> bool {
        !self.granted.is_empty()
    }

    pub(crate) fn output(&self) -> [Output; 2] {
        self.output
    }

    /// The program's name, as the guest sees it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.args.first().map(String::as_str)
    }

    pub(crate) fn setup(&self, file_bytes_max: u64) -> Result<WasiSetup, Error> {
        /// It travels in one packet.
        const TEXT_MAX: usize = 32 << 10;
        let nul = |text: &str| text.contains('\0');
        if self.args.iter().any(|arg| nul(arg)) {
            return Err(Error::config(
                "wasi.arg",
                "an argument contains a zero byte",
            ));
        }
        if self
            .env
            .iter()
            .any(|(name, value)| nul(name) || nul(value) || name.is_empty() || name.contains('='))
        {
            return Err(Error::config(
                "wasi.env",
                "a name is empty or contains `=`, or there is a zero byte",
            ));
        }
        let text = self.args.iter().map(|arg| arg.len() + 8).sum::<usize>()
            + self
                .env
                .iter()
                .map(|(name, value)| name.len() + value.len() + 16)
                .sum::<usize>()
            + self
                .granted
                .iter()
                .map(|granted| granted.guest.len() + 16)
                .sum::<usize>();
        if text > TEXT_MAX {
            let reason = format!(
                "arguments, environment and guest paths take {text} bytes, at most {TEXT_MAX} fit"
            );
            return Err(Error::config("wasi", reason));
        }
        let clock = match self.clock {
            Clock::System => None,
            Clock::Fixed(at) => Some(at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)),
        };
        Ok(WasiSetup {
            args: self.args.clone(),
            env: self.env.clone(),
            clock,
            random_seed: self.random_seed,
            keep_output: self.output.map(|output| output != Output::Discard),
            grants: directories::checked(&self.granted)?,
            file_bytes_max,
        })
    }
}
