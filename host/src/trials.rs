//! What a probe of the worker program found out about walls that the kernel does not show.
//!
//! One probe answers for all workers of a program: it is the same program on the same kernel. It is believed,
//! because it never sees a foreign module; a worker is not, from the moment in which it reads one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stockade_wire::message::{self, ProbeMessage, Trial};
use stockade_wire::namespaces::Namespace;
use stockade_wire::role::Role;
use stockade_wire::sys::packet;

use crate::clock::after;
use crate::error::Exit;
use crate::process::{Process, Program};
use crate::supervisor::Membership;
use crate::{Error, Wall};

/// What was tried, and why it does not stand where it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trials(HashMap<Wall, Option<String>>);

/// Those of programs that were probed, by their fingerprints.
static KNOWN: Mutex<Option<HashMap<[u64; 6], Arc<Trials>>>> = Mutex::new(None);

impl Trials {
    /// What was found out about this wall, if it was tried: the reason why it does not stand, or none.
    pub(crate) fn of(&self, wall: Wall) -> Option<&Option<String>> {
        self.0.get(&wall)
    }

    fn note(&mut self, wall: Wall, reason: Option<String>) {
        // Of several looks at one wall the worst counts.
        let known = self.0.entry(wall).or_default();
        *known = known.take().or(reason);
    }
}

/// A probe that is under way, unless its answers are known.
#[derive(Debug)]
pub(crate) enum Probe {
    Known(Arc<Trials>),
    Started {
        process: Process,
        fingerprint: [u64; 6],
        until: Instant,
        within: Duration,
    },
}

impl Probe {
    /// Starts one, and does not wait for it.
    pub(crate) fn begin(
        supervisor: &Membership,
        program: &Arc<Program>,
        within: Duration,
    ) -> Result<Self, Error> {
        let fingerprint = program.fingerprint()?;
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trials) = known.as_ref().and_then(|known| known.get(&fingerprint)) {
            return Ok(Self::Known(Arc::clone(trials)));
        }
        drop(known);
        let process = supervisor
            .spawn(program, Role::Probe)
            .map_err(|error| Error::Spawn {
                reason: format!("cannot start {}: {error}", program.shown()),
            })?;
        Ok(Self::Started {
            process,
            fingerprint,
            until: after(Instant::now(), within),
            within,
        })
    }

    /// Waits for its answers.
    pub(crate) fn finish(self, program: &Program) -> Result<Arc<Trials>, Error> {
        let (process, fingerprint, until, within) = match self {
            Self::Known(trials) => return Ok(trials),
            Self::Started {
                process,
                fingerprint,
                until,
                within,
            } => (process, fingerprint, until, within),
        };
        let trials = hear(&process, until, within).map_err(|reason| Error::Spawn {
            reason: format!("{}: {reason}", program.shown()),
        })?;
        let trials = Arc::new(trials);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get_or_insert_default()
            .insert(fingerprint, Arc::clone(&trials));
        Ok(trials)
    }
}

fn hear(process: &Process, until: Instant, within: Duration) -> Result<Trials, String> {
    let mut trials = Trials::default();
    loop {
        if !process
            .wait_for_message(until)
            .map_err(|error| error.to_string())?
        {
            return Err(format!(
                "its self-test did not end within {within:?} (`spawn_timeout`)"
            ));
        }
        let bytes = match packet::receive_untrusted(process.socket()) {
            Ok(bytes) if !bytes.is_empty() => bytes,
            _ => return Err(died(process)),
        };
        match message::decode(&bytes).map_err(|malformed| malformed.to_string())? {
            ProbeMessage::Tried(trial, reason) => trials.note(wall_of(trial), reason),
            ProbeMessage::Refused(reason) => return Err(reason),
            ProbeMessage::Over => break,
        }
    }
    // It opens a file now. Waiting for its death and not for a message: it has no more to say.
    let _ = process.wait_for_message(until);
    let reason = match process.finish() {
        // An application that takes the exit status of every child keeps it from us.
        Some(Exit::Signal(Exit::SIGSYS)) | None => None,
        Some(exit) => Some(format!("a forbidden system call ended it with {exit}")),
    };
    trials.note(Wall::SystemCallFilter, reason);
    Ok(trials)
}

/// The self-test did not survive the seal: an allocator or a library of the program is at odds with it.
fn died(process: &Process) -> String {
    let exit = process.finish();
    let how = exit.map_or_else(
        || "it ended".to_owned(),
        |exit| format!("it ended ({exit})"),
    );
    let said = match process.stderr_tail().trim() {
        "" => String::new(),
        said => format!("; it said: {said}"),
    };
    let hint = match exit {
        Some(Exit::Signal(Exit::SIGSYS)) => {
            "; a library or the allocator of this program makes a system call that sealed processes may not \
             make: set `worker_program` to a `stockade-worker` program"
        }
        _ => "",
    };
    format!("it did not survive its self-test as a worker: {how}{said}{hint}")
}

fn wall_of(trial: Trial) -> Wall {
    match trial {
        Trial::Descriptors => Wall::Descriptors,
        Trial::Environment => Wall::Environment,
        Trial::DeathString => Wall::DeathString,
        Trial::NotDumpable => Wall::NotDumpable,
        Trial::Landlock => Wall::Landlock,
        Trial::ResetProof => Wall::ResetProof,
        // The filter lets nothing become executable; what is so already it cannot undo.
        Trial::NoNewCode => Wall::SystemCallFilter,
        Trial::Namespace(Namespace::User) => Wall::UserNamespace,
        Trial::Namespace(Namespace::Network) => Wall::NetworkNamespace,
        Trial::Namespace(Namespace::Ipc) => Wall::IpcNamespace,
        Trial::Namespace(Namespace::Mount) => Wall::MountNamespace,
        Trial::Namespace(Namespace::Uts) => Wall::UtsNamespace,
        Trial::Namespace(Namespace::Cgroup) => Wall::CgroupNamespace,
        Trial::Namespace(Namespace::Pid) => Wall::PidNamespace,
    }
}
