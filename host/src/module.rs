//! A guest program, as bytes that the host never looks into.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;

/// A guest program: a WebAssembly module, binary or text.
///
/// Cheap to clone. Nothing is read or checked before [`crate::HostBuilder::build`], and parsed only in a
/// process of its own.
#[derive(Clone)]
pub struct Module(Source);

#[derive(Clone)]
enum Source {
    File(Arc<PathBuf>),
    Bytes(Arc<Vec<u8>>),
}

impl Module {
    /// The module in this file, `.wasm` or `.wat`; it is read when a host is built.
    #[must_use]
    pub fn from_file(path: impl AsRef<Path>) -> Self {
        Self(Source::File(Arc::new(path.as_ref().to_owned())))
    }

    /// The module with these bytes, binary or text.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Source::Bytes(Arc::new(bytes.into())))
    }

    /// The module with this text.
    #[must_use]
    pub fn from_wat(text: &str) -> Self {
        Self::from_bytes(text)
    }

    /// The error of a host for this module, with the file that is to blame.
    pub(crate) fn blamed(&self, mut error: Error) -> Error {
        if let (
            Source::File(path),
            Error::InvalidModule { reason } | Error::Compile { reason } | Error::Init { reason },
        ) = (&self.0, &mut error)
        {
            *reason = format!("{}: {reason}", path.display());
        }
        error
    }

    /// Its bytes, at most `limit` of them.
    pub(crate) fn read(&self, limit: usize) -> Result<Arc<Vec<u8>>, Error> {
        let bytes = match &self.0 {
            Source::Bytes(bytes) => Arc::clone(bytes),
            Source::File(path) => Arc::new(read_file(path, limit).map_err(|error| {
                let text = format!("cannot read the module {}: {error}", path.display());
                Error::Io(io::Error::new(error.kind(), text))
            })?),
        };
        if bytes.len() > limit {
            let reason =
                format!("it has more than the {limit} bytes that `Limits::module_bytes` allows");
            return Err(Error::InvalidModule { reason });
        }
        Ok(bytes)
    }
}

/// The file's bytes, or one more than `limit` of them: the file may be anything, `/dev/zero` included.
fn read_file(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Source::File(path) => write!(f, "Module({})", path.display()),
            Source::Bytes(bytes) => write!(f, "Module({} bytes)", bytes.len()),
        }
    }
}
