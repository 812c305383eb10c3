//! Driving a compiler process.
//!
//! It parses a hostile module, so nothing it says is believed unchecked, and all it says is bounded.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use stockade_wire::message::{self, CompileRefusal, CompilerMessage, CompilerSetup};
use stockade_wire::module_info::INFO_BYTES_MAX;
use stockade_wire::role::Role;
use stockade_wire::sys::{memfd, packet};

use super::{Artifact, Order};
use crate::Error;
use crate::clock::after;
use crate::error::{Exit, Shown};
use crate::process::Process;
use crate::supervisor::Membership;

/// Native code is some three times as large as wasm. A compiler that was taken over by its module may hand
/// in anything, and the host's memory must hold it.
const GROWTH_MAX: u64 = 16;

/// Whatever the module's length.
const ARTIFACT_BYTES_MAX: u64 = 512 << 20;

/// A small module's artifact is mostly fixed cost.
const ARTIFACT_BYTES_MIN: u64 = 16 << 20;

/// Compiles the module, unless `known` has an artifact of a program with this identity.
pub(super) fn compile(
    supervisor: &Membership,
    order: &Order<'_>,
    known: impl FnOnce([u8; 32]) -> Option<Artifact>,
) -> Result<Artifact, Error> {
    let module = memfd::sealed("stockade-module", order.module)?;
    let file = memfd::unsealed("stockade-artifact")?;
    let process = supervisor
        .spawn(order.program, Role::Compiler)
        .map_err(|error| Error::Spawn {
            reason: format!("cannot start {}: {error}", order.program.shown()),
        })?;
    let setup = CompilerSetup {
        stop: order.stop,
        module_bytes: order.module.len() as u64,
        cpu_time: order.limits.compile_time,
        seal: order.seal,
    };
    match packet::send(
        process.socket(),
        &message::encode(&setup),
        &[module.as_fd(), file.as_fd()],
    ) {
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
        CompilerMessage::Done { .. } => return Err(conversation.out_of_turn()),
    };
    if let Some(artifact) = known(identity) {
        return Ok(artifact);
    }
    let (code, info) = match conversation.next(order.limits.compile_time, "limits.compile_time")? {
        CompilerMessage::Done {
            code_bytes,
            info_bytes,
        } => (code_bytes, info_bytes),
        CompilerMessage::Refused { why, message } => return Err(refused(why, message)),
        CompilerMessage::Identity(_) => return Err(conversation.out_of_turn()),
    };
    // Dead before the file is read, so the file cannot change any more.
    drop(process);
    let limit =
        (order.module.len() as u64 * GROWTH_MAX).clamp(ARTIFACT_BYTES_MIN, ARTIFACT_BYTES_MAX);
    let end = code.checked_add(info).filter(|end| *end <= limit);
    let end = end.ok_or_else(|| Error::Compile {
        reason: format!("the artifact exceeds {limit} bytes"),
    })?;
    if info > INFO_BYTES_MAX as u64 {
        return Err(Error::Compile {
            reason: format!("the module's description exceeds {INFO_BYTES_MAX} bytes"),
        });
    }
    let mut bytes = vec![0; end as usize];
    read_at(&file, &mut bytes).map_err(|error| Error::Compile {
        reason: format!("the artifact cannot be read: {error}"),
    })?;
    let info = bytes.split_off(code as usize);
    Ok(Artifact { code: bytes, info })
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

    fn out_of_turn(&self) -> Error {
        Error::Spawn {
            reason: format!("{} spoke out of turn", self.order.program.shown()),
        }
    }
}

fn refused(why: CompileRefusal, reason: String) -> Error {
    match why {
        CompileRefusal::Invalid => Error::InvalidModule { reason },
        CompileRefusal::Failed => Error::Compile { reason },
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
