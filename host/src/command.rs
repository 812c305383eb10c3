//! Modules that are whole programs.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::call::{Call, Running, Sink};
use crate::hold::{Hold, Shared};
use crate::{Bytes, Error};

/// A run of a command module, made by [`crate::Host::run_command`]. It does nothing before it is awaited;
/// dropped after that, it is stopped.
#[must_use = "a command does nothing until it is awaited"]
pub struct Command {
    shared: Arc<Shared>,
    args: Vec<String>,
    stdin: Bytes,
    timeout: Option<Duration>,
    sink: Option<Sink>,
}

/// One of the two streams that a program writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    pub(crate) const BOTH: [Self; 2] = [Self::Stdout, Self::Stderr];
}

/// What a command left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandOutput {
    /// What it gave to `proc_exit`; 0 when it ended without.
    pub exit_code: i32,
    /// The end of what it wrote to stdout, at most [`crate::Limits::output_bytes`]. Nothing when that is
    /// discarded.
    pub stdout: Vec<u8>,
    /// The same of stderr.
    pub stderr: Vec<u8>,
    /// How many bytes it wrote to stdout before those that were kept.
    pub stdout_lost: u64,
    /// The same of stderr.
    pub stderr_lost: u64,
}

impl Command {
    pub(crate) fn new(shared: Arc<Shared>, args: Vec<String>) -> Self {
        Self {
            shared,
            args,
            stdin: Bytes::new(),
            timeout: None,
            sink: None,
        }
    }

    /// What it reads from its standard input. Default: nothing. Together with the arguments it must fit in
    /// [`crate::Limits::payload_bytes`].
    pub fn stdin(mut self, bytes: impl Into<Bytes>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may run. Default: [`crate::Limits::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Gives `sink` what the program writes while it runs, some milliseconds later: all of it and in its order, of
    /// each stream that the host does not discard. What [`CommandOutput`] has is the end of the same.
    ///
    /// It is called by whoever polls. A program that writes faster than that waits, which costs time and no
    /// memory: at most [`crate::Limits::output_bytes`] of each stream are on the way. Only of a run that is stopped
    /// may the last bytes be missing.
    ///
    /// ```no_run
    /// use std::io::{self, Write};
    /// use stockade::OutputStream;
    ///
    /// # async fn run(host: stockade::Host) -> Result<(), stockade::Error> {
    /// let build = host.run_command(["build"]).on_output(|stream, bytes| {
    ///     // A terminal that has gone away is no reason to stop.
    ///     let _ = match stream {
    ///         OutputStream::Stdout => io::stdout().write_all(bytes),
    ///         OutputStream::Stderr => io::stderr().write_all(bytes),
    ///     };
    /// });
    /// println!("exit code {}", build.await?.exit_code);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_output(mut self, sink: impl FnMut(OutputStream, &[u8]) + Send + 'static) -> Self {
        self.sink = Some(Mutex::new(Box::new(sink)));
        self
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("args", &self.args)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl IntoFuture for Command {
    type Output = Result<CommandOutput, Error>;
    type IntoFuture = RunningCommand;

    fn into_future(self) -> RunningCommand {
        let command = self.shared.pool.functions.command();
        let call =
            Call::of(Hold::Service(self.shared), command, (self.args, self.stdin)).keeping_output();
        let call = match self.timeout {
            Some(timeout) => call.timeout(timeout),
            None => call,
        };
        let call = match self.sink {
            Some(sink) => call.following(sink),
            None => call,
        };
        RunningCommand(call.into_running())
    }
}

/// A command that is awaited.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct RunningCommand(Running<(Vec<String>, Bytes), i32>);

impl Future for RunningCommand {
    type Output = Result<CommandOutput, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(exit_code) = Pin::new(&mut self.0).poll(cx)? else {
            return Poll::Pending;
        };
        let written = self.0.take_output();
        let [stdout, stderr] = written.streams;
        Poll::Ready(Ok(CommandOutput {
            exit_code,
            stdout: stdout.tail,
            stderr: stderr.tail,
            stdout_lost: stdout.lost,
            stderr_lost: stderr.lost,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_and_its_run_can_be_moved_and_shared() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Command>();
        shared::<RunningCommand>();
        shared::<Call<(), ()>>();
    }
}
