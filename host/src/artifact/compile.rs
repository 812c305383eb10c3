//! Driving a compiler process.
//!
//! It parses a hostile module, so nothing it says is believed unchecked, and all it says is bounded.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use stockade_wire::message::{self, CompileRefusal, CompilerMessage, CompilerSetup, Init};
use stockade_wire::module_info::INFO_BYTES_MAX;
use stockade_wire::role::Role;
use stockade_wire::sys::{memfd, packet};

use super::{Artifact, Order, init};
use crate::Error;
use crate::clock::after;
use crate::error::{Exit, Shown};
use crate::process::Process;
use crate::supervisor::Membership;

/// Native code is some three times as large as wasm. A compiler that was taken over by its module may hand
/// in anything, and the host's memory must hold it.
const GROWTH_MAX: u64 = 16;

/// Whatever the module's length.
pub(super) const ARTIFACT_BYTES_MAX: u64 = 512 << 20;

/// A small module's artifact is mostly fixed cost.
const ARTIFACT_BYTES_MIN: u64 = 16 << 20;

/// An artifact, and what it depends on besides the module and the program.
pub(super) struct Made {
    pub(super) artifact: Artifact,
    /// The module's initialisation has run: whatever it saw.
    pub(super) init_ran: bool,
}

/// Compiles the module, unless `known` has an artifact of a program with this identity. What the module wants
/// to have run once is run.
pub(super) fn compile(
    supervisor: &Membership,
    order: &Order<'_>,
    known: impl FnOnce([u8; 32]) -> Option<Artifact>,
) -> Result<Made, Error> {
    let code = match once(supervisor, order, Init::Due, None, known)? {
        Compiled::Whole(artifact) => {
            let init_ran = false;
            return Ok(Made { artifact, init_ran });
        }
        Compiled::InitDue(code) => code,
    };
    let (init, dump) = init::run(supervisor, order, &code)?;
    match once(supervisor, order, init, dump, |_| None)? {
        Compiled::Whole(artifact) => {
            let init_ran = true;
            Ok(Made { artifact, init_ran })
        }
        Compiled::InitDue(_) => Err(order.cannot_start("it spoke out of turn")),
    }
}

enum Compiled {
    Whole(Artifact),
    /// The code of a module that wants to have something run once.
    InitDue(Vec<u8>),
}

/// One compiler process.
fn once(
    supervisor: &Membership,
    order: &Order<'_>,
    init: Init,
    dump: Option<OwnedFd>,
    known: impl FnOnce([u8; 32]) -> Option<Artifact>,
) -> Result<Compiled, Error> {
    let dump_bytes = match &init {
        Init::Snapshot { dump_bytes } => *dump_bytes,
        Init::Due | Init::Instance { .. } => 0,
    };
    let module = memfd::sealed("stockade-module", order.module)?;
    let file = memfd::unsealed("stockade-artifact")?;
    let process = supervisor
        .spawn(order.program, Role::Compiler)
        .map_err(|error| order.cannot_start(error))?;
    let setup = CompilerSetup {
        stop: order.stop,
        module_bytes: order.module.len() as u64,
        cpu_time: order.limits.compile_time,
        seal: order.seal,
        init,
    };
    let fds: Vec<_> = [&module, &file]
        .into_iter()
        .chain(&dump)
        .map(AsFd::as_fd)
        .collect();
    match packet::send(process.socket(), &message::encode(&setup), &fds) {
        // Dead already: what it says, or does not say, tells more.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    let mut conversation = Conversation {
        process: &process,
        order,
    };
    let identity = match conversation.next(order.spawn_timeout, "spawn_timeout")? {
        CompilerMessage::Identity(identity) => identity,
        CompilerMessage::Refused { why, message } => return Err(refused(why, message)),
        CompilerMessage::Done { .. } | CompilerMessage::InitDue { .. } => {
            return Err(order.cannot_start("it spoke out of turn"));
        }
    };
    if let Some(artifact) = known(identity) {
        return Ok(Compiled::Whole(artifact));
    }
    let (code, info) = match conversation.next(order.limits.compile_time, "limits.compile_time")? {
        CompilerMessage::Done {
            code_bytes,
            info_bytes,
        } => (code_bytes, Some(info_bytes)),
        CompilerMessage::InitDue { code_bytes } => (code_bytes, None),
        CompilerMessage::Refused { why, message } => return Err(refused(why, message)),
        CompilerMessage::Identity(_) => return Err(order.cannot_start("it spoke out of turn")),
    };
    // Dead before the file is read, so the file cannot change any more.
    process.end().map_err(|why| order.cannot_start(why))?;
    let limit = ((order.module.len() as u64 + dump_bytes) * GROWTH_MAX)
        .clamp(ARTIFACT_BYTES_MIN, ARTIFACT_BYTES_MAX);
    let end = code
        .checked_add(info.unwrap_or_default())
        .filter(|end| *end <= limit);
    let end = end.ok_or_else(|| Error::Compile {
        reason: format!("the artifact exceeds {limit} bytes"),
    })?;
    if info.unwrap_or_default() > INFO_BYTES_MAX as u64 {
        return Err(Error::Compile {
            reason: format!("the module's description exceeds {INFO_BYTES_MAX} bytes"),
        });
    }
    let mut bytes = vec![0; end as usize];
    read_at(&file, &mut bytes).map_err(|error| Error::Compile {
        reason: format!("the artifact cannot be read: {error}"),
    })?;
    let rest = bytes.split_off(code as usize);
    let code = bytes;
    Ok(match info {
        Some(_) => Compiled::Whole(Artifact {
            code: code.into(),
            info: rest.into(),
        }),
        None => Compiled::InitDue(code),
    })
}

struct Conversation<'a> {
    process: &'a Process,
    order: &'a Order<'a>,
}

impl Conversation<'_> {
    fn next(&mut self, within: Duration, setting: &str) -> Result<CompilerMessage, Error> {
        let until = after(Instant::now(), within);
        if !self.process.wait_for_message(until)? {
            let reason = format!("the compiler was not ready within {within:?} (`{setting}`)");
            return Err(match setting {
                "spawn_timeout" => Error::Spawn {
                    reason: format!("{}: {reason}", self.order.program.shown()),
                },
                _ => Error::Compile { reason },
            });
        }
        match packet::receive_untrusted(self.process.socket()) {
            Ok(bytes) if !bytes.is_empty() => message::decode(&bytes).map_err(|bad| Error::Spawn {
                reason: format!("{}: {bad}", self.order.program.shown()),
            }),
            // Silent and dead, or gone from the socket: either way it will not say more.
            _ => Err(self.died(setting)),
        }
    }

    fn died(&self, setting: &str) -> Error {
        let exit = self.process.finish();
        let how = exit.map_or_else(
            || "it ended".to_owned(),
            |exit| format!("it ended ({exit})"),
        );
        let stderr = self.process.stderr_tail();
        let said = if stderr.trim().is_empty() {
            String::new()
        } else {
            format!("; it said: {}", stderr.trim())
        };
        if exit == Some(Exit::Signal(Exit::SIGSYS)) {
            // An allocator at odds with the seal, or a module that has taken its compiler over.
            tracing::warn!(
                target: "stockade",
                pid = self.process.pid,
                said = %Shown(said.trim_start_matches("; ")),
                "a compiler was killed for a forbidden system call"
            );
        }
        match setting {
            "spawn_timeout" => {
                let program = self.order.program.shown();
                Error::Spawn {
                    reason: format!(
                        "{program} is no stockade worker, or broken: {how} before it was ready{said}"
                    ),
                }
            }
            _ => Error::Compile {
                reason: format!("the compiler did not survive the module: {how}{said}"),
            },
        }
    }
}

fn refused(why: CompileRefusal, reason: String) -> Error {
    match why {
        CompileRefusal::Invalid => Error::InvalidModule { reason },
        CompileRefusal::Failed => Error::Compile { reason },
        CompileRefusal::Init => Error::Init { reason },
        CompileRefusal::Setup => Error::Spawn { reason },
    }
}

fn read_at(file: impl AsFd, mut to: &mut [u8]) -> std::io::Result<()> {
    let mut offset = 0;
    while !to.is_empty() {
        match rustix::io::pread(&file, &mut *to, offset) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                offset += n as u64;
                to = &mut to[n..];
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
