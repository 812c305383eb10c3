//! Modules that are whole programs.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::call::{Call, Running};
use crate::hold::{Hold, Shared};
use crate::{Bytes, Error};

/// A run of a command module, made by [`crate::Host::run_command`]. It does nothing before it is awaited;
/// dropped after that, it is stopped.
#[derive(Debug)]
#[must_use = "a command does nothing until it is awaited"]
pub struct Command {
    shared: Arc<Shared>,
    args: Vec<String>,
    stdin: Bytes,
    timeout: Option<Duration>,
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
        let written = self.0.output.take().unwrap_or_default();
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
