//! WASI preview 1. For programs without files all of it is our own: all its names link, and what has no meaning
//! here says so with an error number. For programs that were granted directories, descriptors are those of
//! `wasmtime-wasi`, and everything else stays ours.
//!
//! Nothing here may wait except through the guest's [`World`], or a call could not be stopped. Nothing may
//! trust a pointer, a length or a count that the guest gave.

mod clocks;
mod errno;
mod files;
mod names;

mod pointer;
mod poll;
mod random;
mod setup;
mod sources;
mod stdio;
mod streams;

use std::sync::Arc;

use wasmtime::{Engine, FuncType, Result, Val, ValType};

use crate::abi::Ty;
use crate::guest::{Linking, State, World};
use clocks::Clocks;
use random::Random;

pub(crate) use files::{Directory, Files};
pub(crate) use names::FUNCTIONS;
pub(crate) use pointer::{bytes, bytes_mut};
pub(crate) use random::fill_from_system;
pub(crate) use setup::Setup;
use setup::Strings;

/// The name of the module.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// What belongs to one instance.
#[derive(Debug)]
pub(crate) struct Wasi {
    setup: Arc<Setup>,
    clocks: Clocks,
    random: Random,
    /// What a command was started with.
    command: Option<Command>,
    /// Its descriptors, if it was granted directories.
    files: Option<files::Open>,
}

#[derive(Debug)]
struct Command {
    args: Strings,
    stdin: Vec<u8>,
    /// How much of it has been read.
    read: usize,
}

impl Wasi {
    pub(crate) fn new<W: World>(setup: Arc<Setup>, world: &W) -> Self {
        let clocks = Clocks::new(setup.clock);
        let random = Random::new(setup.random_seed);
        let files = setup.files.as_ref();
        let files = files.map(|files| files.instance(world, setup.keep_output));
        Self {
            setup,
            clocks,
            random,
            command: None,
            files,
        }
    }

    /// Makes it what a new instance has.
    pub(crate) fn renew<W: World>(&mut self, world: &W) {
        *self = Self::new(Arc::clone(&self.setup), world);
    }

    /// From now on these are the arguments and the standard input.
    pub(crate) fn begin_command(&mut self, args: Vec<String>, mut stdin: Vec<u8>) {
        if let Some(files) = &self.files {
            files.set_stdin(std::mem::take(&mut stdin));
        }
        self.command = Some(Command {
            args: Strings::new(args.into_iter()),
            stdin,
            read: 0,
        });
    }

    fn args(&self) -> &Strings {
        match &self.command {
            Some(command) => &command.args,
            None => &self.setup.args,
        }
    }
}

impl From<Ty> for ValType {
    fn from(ty: Ty) -> Self {
        match ty {
            Ty::I32 => Self::I32,
            Ty::I64 => Self::I64,
        }
    }
}

pub(crate) fn link<W: World>(linking: &mut Linking<'_, State<W>>, with_files: bool) -> Result<()> {
    if with_files {
        linking.define_others(files::link)?;
    } else {
        link_without_files(linking)?;
    }
    setup::link(linking)?;
    sources::link(linking)?;
    poll::link(linking)
}

fn link_without_files<W: World>(linking: &mut Linking<'_, State<W>>) -> Result<()> {
    for function in FUNCTIONS {
        let Some(errno) = function.refused_with else {
            continue;
        };
        let ty = |engine: &Engine| {
            let params = function.params.iter().map(|&ty| ty.into());
            FuncType::new(engine, params, [ValType::I32])
        };
        linking.func_new(MODULE, function.name, ty, move |results| {
            results[0] = Val::I32(errno);
            Ok(())
        })?;
    }
    stdio::link(linking)
}

#[cfg(test)]
mod tests;
