//! The walls of a worker that was granted two directories, one to read and one to write.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use stockade_wire::message::{Grant, StopBy};

use super::super::{Fds, Files as Kept, Landlock, Sealing, filter, landlock};
use super::{LIMITS, fds, finish_worker, worker_of};
use crate::signals;
use crate::wasi::Files;

/// The longest file that such a worker may write in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The directories, in the process that is to be sealed.
#[derive(Debug)]
pub struct Granted(Files);

impl Granted {
    /// Takes directories as a worker does that its host sent them to.
    ///
    /// # Errors
    /// When they cannot be opened again.
    pub fn new(to_read: OwnedFd, to_write: OwnedFd) -> Result<Self, String> {
        let grant = |guest_path: &str, write| Grant {
            guest_path: guest_path.to_owned(),
            write,
        };
        let grants = [grant("/read", false), grant("/write", true)];
        let files =
            Files::new(&grants, vec![to_read, to_write]).map_err(|error| format!("{error:#}"))?;
        files
            .map(Self)
            .ok_or_else(|| "there are no directories".to_owned())
    }

    /// Builds only Landlock, which keeps to the directories.
    ///
    /// # Errors
    /// When it cannot be built here.
    pub fn build_landlock(&self) -> Result<(), String> {
        match landlock::enforce(self.0.directories()) {
            Ok(true) => Ok(()),
            Ok(false) => Err("landlock: this kernel has none".to_owned()),
            Err(error) => Err(format!("landlock: {error}")),
        }
    }

    /// Builds only the system call filters, which admit the calls of files.
    ///
    /// # Errors
    /// When they cannot be built here.
    pub fn build_filter(&self, eventfd: BorrowedFd<'_>) -> Result<(), String> {
        let fds = Fds {
            eventfd: eventfd.as_raw_fd(),
            pagemap: None,
        };
        filter::files::occupy_own_descriptors().map_err(|error| error.to_string())?;
        let filters = [
            filter::files::refusals(),
            filter::compile(&filter::worker(fds, StopBy::Epoch, true)),
        ];
        for filter in filters {
            let filter = filter.map_err(|error| error.to_string())?;
            filter.apply().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// After [`super::begin`]: gives up what a worker with these directories gives up, in its order, up to the moment
    /// in which guest code runs.
    ///
    /// # Errors
    /// When a wall cannot be built.
    pub fn seal_worker(&self, host: u32, eventfd: BorrowedFd<'_>) -> Result<(), String> {
        let Self(files) = self;
        signals::survive_long_files().map_err(|error| error.to_string())?;
        let kept = Kept {
            directories: files.directories(),
            owner: files.owner(),
            bytes_max: FILE_BYTES_MAX,
        };
        let landlock = Landlock::Required;
        let begun = Sealing::worker(
            worker_of(host),
            LIMITS,
            StopBy::Epoch,
            fds(eventfd),
            Some(kept),
            landlock,
            None,
        );
        finish_worker(begun.map_err(|breach| breach.to_string())?, |_| {
            files.check()
        })
    }
}
