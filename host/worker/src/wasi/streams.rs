//! The standard streams, in the form in which `wasmtime-wasi` wants them. They never fail, as those of a
//! program without files.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::guest::{Halt, World};

/// What may be written at once; there is always room for it.
const WRITE_BYTES: usize = 64 << 10;

/// The standard input of a command; of anything else it is empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Input(Arc<Mutex<Bytes>>);

impl Input {
    pub(super) fn set(&self, bytes: Vec<u8>) {
        *self.left() = bytes.into();
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, size: usize) -> Bytes {
        let mut left = self.left();
        let size = size.min(left.len());
        left.split_to(size)
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        true
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        buffer.put_slice(&self.take(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.take(size);
        // A stream without bytes for now would be asked again; this one is at its end.
        if bytes.is_empty() {
            return Err(StreamError::Closed);
        }
        Ok(bytes)
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {}
}

/// Standard output or error.
#[derive(Debug, Clone)]
pub(super) struct Output<W> {
    world: W,
    stream: usize,
    keep: bool,
}

impl<W: World> Output<W> {
    pub(super) fn new(world: W, stream: usize, keep: bool) -> Self {
        Self {
            world,
            stream,
            keep,
        }
    }

    fn take(&self, bytes: &[u8]) -> Result<(), Halt> {
        if !self.keep {
            return Ok(());
        }
        let taken = self.world.write_output(self.stream, bytes);
        taken.map_err(Halt::from)
    }
}

impl<W: World> IsTerminal for Output<W> {
    fn is_terminal(&self) -> bool {
        true
    }
}

impl<W: World + Unpin> StdoutStream for Output<W> {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl<W: World> AsyncWrite for Output<W> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let taken = self.take(bytes).map_err(std::io::Error::other);
        Poll::Ready(taken.map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl<W: World> OutputStream for Output<W> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let taken = self.take(&bytes);
        taken.map_err(|halt| StreamError::Trap(wasmtime::Error::new(halt)))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[async_trait]
impl<W: World> Pollable for Output<W> {
    async fn ready(&mut self) {}
}
