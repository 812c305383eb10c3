//! `in_process`: the worker's own call code in this process, without the slot. Arguments are encoded and the
//! result decoded as the host does; exports are looked up once, and one instance serves all calls.

use anyhow::{Context, Result, anyhow, bail};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stockade_wire::message::{StopBy, WasiSetup};
use stockade_worker::guest::{Alone, Ended, Guest, LoadError, Program, Runtime};
use stockade_worker::{InstanceLimits, compiler};

/// One instance, and buffers that are kept from call to call.
#[derive(Debug)]
pub(crate) struct InProcess {
    names: Vec<(String, u32)>,
    program: Program<Alone>,
    guest: Guest<Alone>,
    request: Vec<u8>,
    reply: Vec<u8>,
}

/// A function that was looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Export(u32);

impl InProcess {
    /// Compiles and loads a guest, with what `Limits::default` allows.
    pub(crate) fn new(guest: &[u8]) -> Result<Self> {
        let limits = stockade::Limits::default();
        let compiled = compiler::compile(guest, StopBy::Epoch)
            .map_err(|(_, message)| anyhow!("cannot compile the guest: {message}"))?;
        let limits = InstanceLimits {
            memory_bytes: limits.memory_bytes as u64,
            tables: compiled.info().tables,
            table_elements: limits.table_elements as u64,
            stack_bytes: limits.stack_bytes as u64,
        };
        let functions = compiled.info().functions.iter();
        let names = functions.map(|f| (f.name.clone(), f.export)).collect();
        let program: Program<Alone> = Runtime::new(StopBy::Epoch, limits)
            .map_err(|error| anyhow!("{error:#}"))?
            .load_compiled(&compiled, &WasiSetup::default())
            .map_err(
                |(LoadError::Incompatible(error) | LoadError::TooLarge(error))| {
                    anyhow!("{error:#}")
                },
            )?;
        let guest = program.instantiate(Alone).map_err(said)?;
        Ok(Self {
            names,
            program,
            guest,
            request: Vec::new(),
            reply: Vec::new(),
        })
    }

    pub(crate) fn export(&self, name: &str) -> Result<Export> {
        let found = self.names.iter().find(|(known, _)| known == name);
        let (_, export) = found.with_context(|| format!("the guest has no {name}"))?;
        Ok(Export(*export))
    }

    /// One call, the return of the reply's memory included.
    pub(crate) fn call<A: Serialize, R: DeserializeOwned>(
        &mut self,
        export: Export,
        args: &A,
    ) -> Result<R> {
        let mut request = std::mem::take(&mut self.request);
        encode(args, &mut request)?;
        let result = self.call_encoded(export, &request).and_then(decode);
        self.request = request;
        result
    }

    /// The same, from and to what [`encode`] and [`decode`] make and take.
    pub(crate) fn call_encoded(&mut self, export: Export, request: &[u8]) -> Result<&[u8]> {
        self.guest
            .call(&self.program, export.0, request, &mut self.reply)
            .map_err(said)?;
        self.guest.release(&self.program).map_err(said)?;
        Ok(&self.reply)
    }
}

/// Makes `request` that of these arguments.
#[inline]
pub(crate) fn encode<A: Serialize>(args: &A, request: &mut Vec<u8>) -> Result<()> {
    request.clear();
    request.push(0);
    let config = bincode::config::standard();
    bincode::serde::encode_into_writer(args, Buffer(request), config)?;
    Ok(())
}

/// The value that a guest has answered with.
#[inline]
pub(crate) fn decode<R: DeserializeOwned>(reply: &[u8]) -> Result<R> {
    let Some((0, value)) = reply.split_first() else {
        bail!("the guest did not answer with a value")
    };
    let config = bincode::config::standard().with_limit::<{ 1 << 20 }>();
    match bincode::serde::decode_from_slice(value, config)? {
        (decoded, read) if read == value.len() => Ok(decoded),
        _ => bail!("bytes are left over"),
    }
}

fn said(ended: Ended) -> anyhow::Error {
    anyhow!("the guest failed: {ended:?}")
}

/// bincode's own writers are slower.
struct Buffer<'a>(&'a mut Vec<u8>);

impl Writer for Buffer<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
