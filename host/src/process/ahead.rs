//! A process that is started before it is known what it will run.

use std::io;
use std::sync::mpsc::Receiver;

use rustix::process::geteuid;

use super::Process;

/// The first process of a pool, which loads its program while its artifact is read. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Ahead(Receiver<io::Result<Process>>);

impl Ahead {
    /// One that the supervisor's thread starts, and hands over in this way.
    pub(crate) fn new(started: Receiver<io::Result<Process>>) -> Self {
        Self(started)
    }

    /// The process, if there is one that is as good as a new one. Whoever asks is the thread that was told to start it
    /// before, so it does not wait.
    pub(crate) fn take(self) -> Option<Process> {
        let process = self.0.try_recv().ok()?.ok()?;
        let is_new = !process.is_dead() && process.started_by() == geteuid().as_raw();
        is_new.then_some(process)
    }
}
