//! What a call sends: the arguments of one call, or those of several that travel together.

use std::convert::Infallible;
use std::sync::Arc;

use serde::Serialize;
use stockade_wire::module_info::FunctionKind;
use stockade_wire::slot::RequestWriter;

use crate::codec::{self, Short};
use crate::rider::Rider;
use crate::{Codec, Error};

/// A call that waits is taken along by another only if its request is no longer than this.
const SHORT_MAX: usize = 1 << 10;

/// What a call sends. Public in name only: it is in bounds of the public future.
pub trait Args {
    /// For how many calls.
    fn count(&self) -> usize;

    /// Writes it, for the function of this name and kind; of several calls as many as `calls`, of which there are not more.
    fn write(
        &self,
        name: &str,
        kind: &FunctionKind,
        codec: Codec,
        calls: usize,
        writer: &mut RequestWriter<'_>,
    ) -> Result<(), Error>;

    /// The same as bytes, if it is one call's, short and without fault.
    fn short(&self, name: &str, kind: &FunctionKind, codec: Codec) -> Option<Vec<u8>>;
}

impl<A: Serialize> Args for A {
    #[inline]
    fn count(&self) -> usize {
        1
    }

    #[inline]
    fn write(
        &self,
        name: &str,
        kind: &FunctionKind,
        codec: Codec,
        _: usize,
        writer: &mut RequestWriter<'_>,
    ) -> Result<(), Error> {
        codec::encode(name, kind, codec, self, writer)
    }

    fn short(&self, name: &str, kind: &FunctionKind, codec: Codec) -> Option<Vec<u8>> {
        let mut short = Short::new(SHORT_MAX);
        codec::encode(name, kind, codec, self, &mut short).ok()?;
        short.finish()
    }
}

/// The arguments of several calls of one function, which run one after the other. At least two: one alone would be
/// an ordinary call.
#[derive(Debug)]
pub(crate) struct Chunk<A>(pub(crate) Vec<A>);

impl<A: Serialize> Args for Chunk<A> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn write(
        &self,
        name: &str,
        kind: &FunctionKind,
        codec: Codec,
        calls: usize,
        writer: &mut RequestWriter<'_>,
    ) -> Result<(), Error> {
        for args in &self.0[..calls] {
            writer.put_item(|writer| args.write(name, kind, codec, 1, writer))?;
        }
        Ok(())
    }

    fn short(&self, _: &str, _: &FunctionKind, _: Codec) -> Option<Vec<u8>> {
        None
    }
}

/// The same of several callers, each encoded by its own. At least two.
#[derive(Debug)]
pub(crate) struct Requests(pub(crate) Arc<[Arc<Rider>]>);

impl Args for Requests {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn write(
        &self,
        _: &str,
        _: &FunctionKind,
        _: Codec,
        calls: usize,
        writer: &mut RequestWriter<'_>,
    ) -> Result<(), Error> {
        writer.share();
        for rider in &self.0[..calls] {
            let Ok(()) = writer.put_item(|writer| -> Result<(), Infallible> {
                writer.put(&rider.request);
                Ok(())
            });
        }
        Ok(())
    }

    fn short(&self, _: &str, _: &FunctionKind, _: Codec) -> Option<Vec<u8>> {
        None
    }
}
