//! Having a module's initialisation run, once, in a sealed process of its own.
//!
//! What it leaves stays bytes to the host: they go from the process that ran the guest to a compiler, in a
//! file that neither can change any more.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use stockade_wire::message::{self, Init, WorkerMessage, WorkerRefusal};
use stockade_wire::role::Role;
use stockade_wire::sys::{memfd, packet};

use super::Order;
use crate::Error;
use crate::clock::after;
use crate::process::{Process, SeenNamespaces};
use crate::supervisor::Membership;
use crate::walls::{ShownNamespaces, Walls};
use crate::wasi::Directories;

/// The longest description of a state: what is not zero in a guest's memory, and little more. The host's memory
/// holds it for a while.
pub(super) const DUMP_BYTES_MAX: u64 = 256 << 20;

/// Runs the initialisation of the module that `code` was compiled from.
pub(super) fn run(
    supervisor: &Membership,
    order: &Order<'_>,
    code: &[u8],
) -> Result<(Init, Option<OwnedFd>), Error> {
    let artifact = memfd::sealed("stockade-init", code)?;
    let dump = memfd::unsealed("stockade-dump")?;
    let process = supervisor
        .spawn(order.program, Role::Init)
        .map_err(|error| order.cannot_start(error))?;
    let fds = [dump.as_fd(), artifact.as_fd()];
    match packet::send(process.socket(), &message::encode(&order.init), &fds) {
        // Dead already: what it says, or does not say, tells more.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    let watched = Watched {
        process: &process,
        order,
    };
    let namespaces = match watched.next(order.spawn_timeout, Stage::Starting)? {
        WorkerMessage::Loaded(namespaces) => namespaces,
        WorkerMessage::Refused { why, message } => return watched.refused(why, message),
        WorkerMessage::Ready | WorkerMessage::Handed(_) => {
            return Err(watched.cannot_start("it spoke out of turn"));
        }
    };
    match watched.next(order.limits.init_time, Stage::Running)? {
        WorkerMessage::Ready => {}
        WorkerMessage::Refused { why, message } => return watched.refused(why, message),
        WorkerMessage::Loaded(_) | WorkerMessage::Handed(_) => {
            return Err(watched.cannot_start("it spoke out of turn"));
        }
    }
    let walls = Walls::of(
        process.pid,
        order.program.path(),
        order.hardening,
        &Directories::default(),
        order.required,
        &namespaces,
        &ShownNamespaces::of(&process, &SeenNamespaces::default(), None),
        None,
    );
    if let Some(breach) = walls.breach() {
        return Err(watched.cannot_start(breach));
    }
    // Dead before the file is sealed, so nobody can have it mapped.
    process.end().map_err(|why| order.cannot_start(why))?;
    let dump_bytes = memfd::seal(&dump)?;
    if dump_bytes > DUMP_BYTES_MAX {
        // It had this limit, too.
        return Err(order.cannot_start("it wrote more than it may"));
    }
    Ok((Init::Snapshot { dump_bytes }, Some(dump)))
}

/// How far the process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    /// Guest code may run.
    Running,
}

struct Watched<'a> {
    process: &'a Process,
    order: &'a Order<'a>,
}

impl Watched<'_> {
    fn next(&self, within: Duration, stage: Stage) -> Result<WorkerMessage, Error> {
        let until = after(Instant::now(), within);
        if !self.process.wait_for_message(until)? {
            return Err(match stage {
                Stage::Starting => self.cannot_start(format_args!(
                    "it did not answer within {within:?} (`spawn_timeout`)"
                )),
                Stage::Running => init(format!(
                    "its initialisation did not end within {within:?} (`limits.init_time`)"
                )),
            });
        }
        match packet::receive_untrusted(self.process.socket()) {
            Ok(bytes) if !bytes.is_empty() => {
                message::decode(&bytes).map_err(|bad| self.cannot_start(bad))
            }
            // Silent and dead, or gone from the socket: either way it will not say more.
            _ => Err(self.died(stage)),
        }
    }

    fn refused(
        &self,
        why: WorkerRefusal,
        reason: String,
    ) -> Result<(Init, Option<OwnedFd>), Error> {
        match why {
            WorkerRefusal::Dump => Ok((Init::Instance { why: reason }, None)),
            WorkerRefusal::Init => Err(init(reason)),
            WorkerRefusal::Artifact | WorkerRefusal::Grant | WorkerRefusal::Setup => {
                Err(Error::Spawn { reason })
            }
        }
    }

    fn died(&self, stage: Stage) -> Error {
        let exit = self.process.finish();
        let how = exit.map_or_else(
            || "it ended".to_owned(),
            |exit| format!("it ended ({exit})"),
        );
        let stderr = self.process.stderr_tail();
        let said = match stderr.trim() {
            "" => String::new(),
            said => format!("; it said: {said}"),
        };
        match stage {
            Stage::Starting => self.cannot_start(format_args!(
                "no stockade worker, or broken: {how} before it was ready{said}"
            )),
            Stage::Running => init(format!("{how} while its initialisation ran{said}")),
        }
    }

    fn cannot_start(&self, why: impl std::fmt::Display) -> Error {
        self.order.cannot_start(why)
    }
}

fn init(reason: String) -> Error {
    Error::Init { reason }
}
