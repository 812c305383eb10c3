//! Which signals reach a process of ours, and the one that stops a call.
#![expect(
    unsafe_code,
    reason = "signal dispositions and handlers have no safe interface"
)]

use std::ffi::c_int;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use wasmtime::Engine;

/// The engine whose epoch the handler bumps.
static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(ptr::null_mut());

/// Runs at any instruction of this thread: it may load and store atomics, and nothing else.
extern "C" fn bump_epoch(_signal: c_int) {
    let engine = ENGINE.load(Ordering::Acquire);
    if !engine.is_null() {
        // SAFETY: only `stop_with` stores a pointer, from a box that is never freed. `increment_epoch` is
        // documented as signal-safe: it is one atomic addition.
        unsafe { (*engine).increment_epoch() };
    }
}

/// From now on SIGUSR1 makes the guest look whether it is to be stopped.
pub(crate) fn stop_with(engine: &Engine) -> io::Result<()> {
    ENGINE.store(Box::into_raw(Box::new(engine.clone())), Ordering::Release);
    // No SA_RESTART: a wait must return, so that whoever waits looks again. On the alternate stack, because
    // wasm runs close to the end of the other.
    set(
        libc::SIGUSR1,
        bump_epoch as extern "C" fn(c_int) as usize,
        libc::SA_ONSTACK,
    )
}

/// Ignores what is sent to whole groups of processes (a terminal's keys, a service manager's request to
/// end), and SIGPIPE, which a runtime that never started has not ignored. The host says when we end.
pub(crate) fn ignore_bystanders() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        set(signal, libc::SIG_IGN, 0)?;
    }
    // The application may have been started with it ignored, and SIGXCPU is a wall.
    set(libc::SIGXCPU, libc::SIG_DFL, 0)?;
    unblock_all()
}

/// A write beyond the longest file that is allowed is an error, not the end.
pub(crate) fn survive_long_files() -> io::Result<()> {
    set(libc::SIGXFSZ, libc::SIG_IGN, 0)
}

/// A signal mask survives exec, and the application may have blocked what stops a call.
fn unblock_all() -> io::Result<()> {
    // SAFETY: the set is initialised by `sigemptyset` before it is used, and both live on this stack.
    let changed = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut())
    };
    if changed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn set(signal: c_int, handler: usize, flags: c_int) -> io::Result<()> {
    // SAFETY: all zeroes is a valid `sigaction`: no flags, an empty mask, the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the action is valid, and the handler does only what a handler may.
    if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
