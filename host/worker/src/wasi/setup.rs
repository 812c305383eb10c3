//! Arguments and environment.

use std::time::Duration;

use stockade_wire::message::WasiSetup;
use wasmtime::{Caller, Result};

use super::pointer::{Fault, bytes_mut, errno, put};
use super::{Files, MODULE, Wasi};
use crate::guest::{Linking, State, World, memory_and_state};

/// What every instance of a program finds.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(super) args: Strings,
    env: Strings,
    pub(super) clock: Option<Duration>,
    pub(super) random_seed: Option<u64>,
    pub(super) keep_output: [bool; 2],
    pub(super) files: Option<Files>,
}

/// Strings as a C program gets them: each ends with a zero byte, and a list of pointers says where they are.
#[derive(Debug, Default)]
pub(super) struct Strings {
    starts: Vec<u32>,
    bytes: Vec<u8>,
}

impl Setup {
    pub(crate) fn new(setup: &WasiSetup, files: Option<Files>) -> Self {
        let env = setup
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        Self {
            args: Strings::new(setup.args.iter().cloned()),
            env: Strings::new(env),
            clock: setup.clock,
            random_seed: setup.random_seed,
            keep_output: setup.keep_output,
            files,
        }
    }

    /// Whether its programs were granted directories.
    pub(crate) fn has_files(&self) -> bool {
        self.files.is_some()
    }
}

impl Strings {
    pub(super) fn new(strings: impl Iterator<Item = String>) -> Self {
        let mut all = Self::default();
        for string in strings {
            // A message, which these came in, is far shorter than 4 GiB.
            all.starts.push(all.bytes.len() as u32);
            // A zero inside would end the string early, and shift no other.
            all.bytes.extend(string.bytes().filter(|&byte| byte != 0));
            all.bytes.push(0);
        }
        all
    }

    fn sizes(&self, memory: &mut [u8], count: u32, size: u32) -> Result<(), Fault> {
        put(memory, count, (self.starts.len() as u32).to_le_bytes())?;
        put(memory, size, (self.bytes.len() as u32).to_le_bytes())
    }

    fn write(&self, memory: &mut [u8], pointers: u32, buffer: u32) -> Result<(), Fault> {
        bytes_mut(memory, buffer, self.bytes.len() as u32)?.copy_from_slice(&self.bytes);
        for (index, start) in self.starts.iter().enumerate() {
            let at = pointers.checked_add(index as u32 * 4).ok_or(Fault)?;
            put(memory, at, (buffer + start).to_le_bytes())?;
        }
        Ok(())
    }
}

pub(super) fn link<W: World>(linking: &mut Linking<'_, State<W>>) -> Result<()> {
    fn with<W: World>(
        caller: &mut Caller<'_, State<W>>,
        f: impl FnOnce(&Wasi, &mut [u8]) -> Result<(), Fault>,
    ) -> i32 {
        let (memory, state) = memory_and_state(caller);
        errno(f(&state.wasi, memory))
    }
    linking.func_wrap(
        MODULE,
        "args_sizes_get",
        |mut caller: Caller<'_, State<W>>, count: u32, size: u32| {
            with(&mut caller, |wasi, memory| {
                wasi.args().sizes(memory, count, size)
            })
        },
    )?;
    linking.func_wrap(
        MODULE,
        "args_get",
        |mut caller: Caller<'_, State<W>>, pointers: u32, buffer: u32| {
            with(&mut caller, |wasi, memory| {
                wasi.args().write(memory, pointers, buffer)
            })
        },
    )?;
    linking.func_wrap(
        MODULE,
        "environ_sizes_get",
        |mut caller: Caller<'_, State<W>>, count: u32, size: u32| {
            with(&mut caller, |wasi, memory| {
                wasi.setup.env.sizes(memory, count, size)
            })
        },
    )?;
    linking.func_wrap(
        MODULE,
        "environ_get",
        |mut caller: Caller<'_, State<W>>, pointers: u32, buffer: u32| {
            with(&mut caller, |wasi, memory| {
                wasi.setup.env.write(memory, pointers, buffer)
            })
        },
    )?;
    Ok(())
}
