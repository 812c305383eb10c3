//! The compiler: turns one module into one artifact, then ends.
//!
//! It parses what an attacker wrote, with a large compiler behind it, so it is sealed before the first byte
//! is looked at, and never runs any of it: nothing in this process can become executable.

mod identity;
mod input;
mod inspect;
mod metadata;
mod offer;
mod snapshot;
mod state;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use stockade_wire::message::{CompileRefusal, CompilerMessage, CompilerSetup, Init, Seal, StopBy};
use stockade_wire::module_info::{INFO_BYTES_MAX, InitMode};
use stockade_wire::role::Assignment;
use wasmtime::Engine;

use crate::additions::Additions;
use crate::compiled::Compiled;
use crate::config::for_compiler;
use crate::process;
use crate::seal::{Landlock, Sealing};

/// Why there is no artifact, and what to do.
pub type Refusal = (CompileRefusal, String);

/// Compiles a module, given as WebAssembly or as its text, in this process. It does not run any of it: what
/// the module wants to have run once will run in each instance.
///
/// # Errors
/// When the bytes are no module that a worker could run, or compiling fails.
pub fn compile(bytes: &[u8], stop: StopBy) -> Result<Compiled, Refusal> {
    let why = "it was compiled by itself".to_owned();
    match compile_with(&engine(stop)?, bytes, stop, State::PerInstance(why))? {
        Made::Whole(compiled) => Ok(compiled),
        Made::InitDue(_) => unreachable!("only what is due is asked for"),
    }
}

/// What is known of the state that a module's initialisation leaves.
enum State {
    Unknown,
    Dump(Vec<u8>),
    PerInstance(String),
}

enum Made {
    Whole(Compiled),
    /// The code of a module whose initialisation is to be run, so that its state becomes known.
    InitDue(Vec<u8>),
}

fn engine(stop: StopBy) -> Result<Engine, Refusal> {
    Engine::new(&for_compiler(stop))
        .map_err(|error| setup(format!("cannot set Wasmtime up: {error:#}")))
}

fn compile_with(
    engine: &Engine,
    bytes: &[u8],
    stop: StopBy,
    state: State,
) -> Result<Made, Refusal> {
    let invalid = |message| (CompileRefusal::Invalid, message);
    let mut wasm = input::wasm(bytes).map_err(invalid)?;
    let mut info = inspect::inspect(&wasm).map_err(invalid)?;
    let mut additions = Additions {
        stop_point: stop == StopBy::Signal,
        memory: info.memory.is_some(),
        state: None,
    };
    if info.init.is_some() {
        let per_instance = |why| Some(InitMode::Instance { why });
        match state {
            State::PerInstance(why) => info.init = per_instance(why),
            State::Unknown => match snapshot::instrument(&wasm) {
                Ok(instrumented) => {
                    return Ok(Made::InitDue(translate(engine, &instrumented, &additions)?));
                }
                Err(why) => info.init = per_instance(why),
            },
            State::Dump(dump) => {
                let foul = |message| (CompileRefusal::Init, message);
                wasm = snapshot::apply(&wasm, info.memory, &dump)
                    .map_err(foul)?
                    .into();
                // Positions of exports have changed.
                info = inspect::inspect(&wasm).map_err(foul)?;
                info.init = Some(InitMode::Snapshot);
            }
        }
    }
    additions.state = state::changeable(&wasm).map_err(|error| invalid(error.to_string()))?;
    let code = translate(engine, &wasm, &additions)?;
    Ok(Made::Whole(Compiled::new(code, info)))
}

fn translate(engine: &Engine, wasm: &[u8], additions: &Additions) -> Result<Vec<u8>, Refusal> {
    let failed = |message| (CompileRefusal::Failed, message);
    let wasm = additions
        .add_to(wasm)
        .map_err(|error| failed(error.to_string()))?;
    engine
        .precompile_module(&wasm)
        .map_err(|error| failed(format!("{error:#}")))
}

/// Runs the role. Never returns.
pub(crate) fn role(assignment: Assignment) -> ! {
    let message = match run(assignment) {
        Ok(done) => done,
        Err((why, message)) => CompilerMessage::Refused {
            why,
            message: process::text(message),
        },
    };
    process::tell(&message);
    process::exit(0)
}

fn setup(message: impl ToString) -> Refusal {
    (CompileRefusal::Setup, message.to_string())
}

fn run(assignment: Assignment) -> Result<CompilerMessage, Refusal> {
    let (told, fds, dump) = process::receive_setup::<CompilerSetup, 2>().map_err(setup)?;
    // Closing them would be a system call that the seal forbids, and this process ends soon.
    let [module, artifact] = &*Box::leak(Box::new(fds));
    let dump = &*Box::leak(dump.into_boxed_slice());
    let engine = engine(told.stop)?;
    process::tell(&CompilerMessage::Identity(identity::of(&engine, told.stop)));
    let sealing = match told.seal {
        Seal::None => None,
        Seal::Required | Seal::Strict => {
            let landlock = Landlock::of(told.seal);
            let artifact = artifact.as_fd();
            Some(Sealing::compiler(assignment, told.cpu_time, artifact, landlock).map_err(setup)?)
        }
    };
    let bytes = read(module, told.module_bytes)
        .map_err(|error| setup(format!("cannot read the module: {error}")))?;
    let state = match (told.init, dump) {
        (Init::Due, _) => State::Unknown,
        (Init::Instance { why }, _) => State::PerInstance(why),
        (Init::Snapshot { dump_bytes }, [dump]) => State::Dump(
            read(dump, dump_bytes)
                .map_err(|error| setup(format!("cannot read the initialised state: {error}")))?,
        ),
        (Init::Snapshot { .. }, _) => return Err(setup("the host sent no initialised state")),
    };
    if let Some(sealing) = sealing {
        sealing.finish().map_err(setup)?;
    }
    let failed = |error| setup(format!("cannot write the artifact: {error}"));
    let compiled = match compile_with(&engine, &bytes, told.stop, state)? {
        Made::Whole(compiled) => compiled,
        Made::InitDue(code) => {
            write(artifact, &code, 0).map_err(failed)?;
            let code_bytes = code.len() as u64;
            return Ok(CompilerMessage::InitDue { code_bytes });
        }
    };
    let code = compiled.code();
    let info = serde_json::to_vec(compiled.info()).map_err(setup)?;
    if info.len() > INFO_BYTES_MAX {
        let message = format!(
            "the description of its functions, with their documentation, has {} bytes, more than the \
             {INFO_BYTES_MAX} that are accepted",
            info.len()
        );
        return Err((CompileRefusal::Invalid, message));
    }
    write(artifact, code, 0)
        .and_then(|()| write(artifact, &info, code.len() as u64))
        .map_err(failed)?;
    Ok(CompilerMessage::Done {
        code_bytes: code.len() as u64,
        info_bytes: info.len() as u64,
    })
}

/// Reads a file from its beginning, wherever its position is.
fn read(file: &OwnedFd, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::pread(file, &mut bytes[filled..], filled as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(bytes)
}

fn write(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::pwrite(file, bytes, at)?;
        bytes = &bytes[written..];
        at += written as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
