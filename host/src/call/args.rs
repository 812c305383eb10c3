//! What a call sends: the arguments of one call, or those of several that travel together.

use serde::Serialize;
use stockade_wire::module_info::FunctionKind;
use stockade_wire::slot::RequestWriter;

use crate::{Codec, Error, codec};

/// What a call sends. Public in name only: it is in bounds of the public future.
pub trait Args {
    /// For how many calls.
    fn count(&self) -> usize;

    /// Writes it, for the function of this name and kind.
    fn write(
        &self,
        name: &str,
        kind: &FunctionKind,
        codec: Codec,
        writer: &mut RequestWriter<'_>,
    ) -> Result<(), Error>;
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
        writer: &mut RequestWriter<'_>,
    ) -> Result<(), Error> {
        codec::encode(name, kind, codec, self, writer)
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
        writer: &mut RequestWriter<'_>,
    ) -> Result<(), Error> {
        for args in &self.0 {
            writer.put_item(|writer| args.write(name, kind, codec, writer))?;
        }
        Ok(())
    }
}
