//! The signal that stops a call, and what it does to the guest.
//!
//! It may arrive at any instruction of this thread, and for a call that is over: whether anything is to be stopped is
//! for the slot to say. The host does not send it again.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use stockade_wire::message::StopBy;
use wasmtime::Engine;

use super::set;
use crate::guest::World;
use crate::site::Site;
use crate::stop_point::StopPoint;

/// The engine whose epoch the handler bumps.
static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(ptr::null_mut());

/// The guest that the handler moves.
static GUEST: AtomicPtr<Movable> = AtomicPtr::new(ptr::null_mut());

struct Movable {
    point: &'static StopPoint,
    site: &'static Site,
}

/// When a guest that was not met is looked for again, in microseconds: long for a host function, and short for whoever
/// waits for the end of its call.
const AGAIN_AFTER: libc::suseconds_t = 20;

/// From now on SIGUSR1 makes the guest look whether it is to be stopped, or moves it to its [`StopPoint`], once that is
/// known, if it is to be stopped.
pub(crate) fn stop_with(stop: StopBy, engine: &Engine) -> io::Result<()> {
    // No SA_RESTART: a wait must return, so that whoever waits looks again. On the alternate stack, because
    // wasm runs close to the end of the other.
    match stop {
        StopBy::Signal => {
            let handler =
                move_guest as extern "C" fn(c_int, *const libc::siginfo_t, *mut c_void) as usize;
            [libc::SIGUSR1, libc::SIGALRM]
                .into_iter()
                .try_for_each(|signal| set(signal, handler, libc::SA_ONSTACK | libc::SA_SIGINFO))
        }
        // To be woken is all that one needs that is killed.
        StopBy::Epoch | StopBy::Kill => {
            ENGINE.store(Box::into_raw(Box::new(engine.clone())), Ordering::Release);
            set(
                libc::SIGUSR1,
                bump_epoch as extern "C" fn(c_int) as usize,
                libc::SA_ONSTACK,
            )
        }
    }
}

/// The guest of this site has its stop point here.
pub(crate) fn stop_at(point: &'static StopPoint, site: &'static Site) {
    let guest = Box::into_raw(Box::new(Movable { point, site }));
    GUEST.store(guest, Ordering::Release);
}

/// May load and store atomics, and nothing else.
extern "C" fn bump_epoch(_signal: c_int) {
    let engine = ENGINE.load(Ordering::Acquire);
    if !engine.is_null() {
        // SAFETY: only `stop_with` stores a pointer, from a box that is never freed. `increment_epoch` is
        // documented as signal-safe: it is one atomic addition.
        unsafe { (*engine).increment_epoch() };
    }
}

/// May use atomics, read code, change where this thread goes on, and set an alarm.
///
/// A guest's functions own nothing of their host's: what they leave half done is its memory, its stack and its globals,
/// and all of that is thrown away with the instance after a trap. Registers are not looked at any more. Frame pointers
/// are, for a backtrace: Cranelift keeps them valid at every instruction but those of [`UNSETTLED`]. There and elsewhere
/// (in a host function, in Wasmtime) the thread goes on, and is looked for again.
extern "C" fn move_guest(_signal: c_int, _info: *const libc::siginfo_t, context: *mut c_void) {
    let guest = GUEST.load(Ordering::Acquire);
    if guest.is_null() {
        return;
    }
    // SAFETY: only `stop_at` stores a pointer, from a box that is never freed.
    let Movable { point, site } = unsafe { &*guest };
    if site.stop_requested() {
        // SAFETY: with `SA_SIGINFO` the kernel passes this thread's context, which is the handler's alone.
        let counter = unsafe { program_counter(context) };
        if let Some(counter) = counter
            && let Some(trap) = trap_from(point, *counter)
        {
            *counter = trap;
            return;
        }
        set_alarm(AGAIN_AFTER);
    }
    site.set_missed();
}

/// The trap, for a guest at `counter`; `None` when it cannot be stopped there.
fn trap_from(point: &StopPoint, counter: usize) -> Option<usize> {
    let trap = point.trap_from(counter)?;
    let next = ptr::with_exposed_provenance::<[u8; 4]>(counter);
    // SAFETY: code is mapped to be read as well, and the artifact, which is one mapping, goes on behind its functions.
    let next = unsafe { next.read_unaligned() };
    (!UNSETTLED.contains(&next)).then_some(trap)
}

/// How instructions begin before which the frame pointer may not be valid: those that move a frame down, when a function
/// makes room for a tail call with more arguments than its own. Cranelift has `r11` for that, which guests' own code may
/// be kept in, too: then it is looked for again.
const UNSETTLED: &[[u8; 4]] = if cfg!(target_arch = "x86_64") {
    &[
        [0x4c, 0x8b, 0x5c, 0x24], // mov r11, [rsp + i8]
        [0x4c, 0x8b, 0x9c, 0x24], // mov r11, [rsp + i32]
        [0x4c, 0x89, 0x1c, 0x24], // mov [rsp], r11
        [0x4c, 0x89, 0x5c, 0x24], // mov [rsp + i8], r11
    ]
} else {
    &[]
};

/// If a signal has come that has stopped nothing, has [`move_guest`] run again.
pub(crate) fn look_again(site: &Site) {
    if site.missed() {
        set_alarm(AGAIN_AFTER);
    }
}

/// There is nothing to be stopped any more: no alarm is to disturb the next call, whose file may be one that takes a signal
/// for an error.
#[inline]
pub(crate) fn look_no_more(site: &Site) {
    if site.missed() {
        site.forget_missed();
        set_alarm(0);
    }
}

/// In so many microseconds; zero is never.
fn set_alarm(microseconds: libc::suseconds_t) {
    let after = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: microseconds,
        },
    };
    // SAFETY: the record is whole, and nothing is written. The call cannot fail, so `errno` stays what it is.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const after, ptr::null_mut()) };
}

/// Where the thread goes on that was interrupted. `None` on machines for which no host is built.
///
/// # Safety
/// `context` must be what the kernel passes to a handler, and nobody else may use it meanwhile.
unsafe fn program_counter<'a>(context: *mut c_void) -> Option<&'a mut usize> {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the caller's promise. A register is as wide as an address.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        let counter = &raw mut (*context).uc_mcontext.gregs[libc::REG_RIP as usize];
        #[cfg(target_arch = "aarch64")]
        let counter = &raw mut (*context).uc_mcontext.pc;
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let counter = {
            let _ = context;
            ptr::null_mut::<usize>()
        };
        counter.cast::<usize>().as_mut()
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
#[path = "stop_tests.rs"]
mod tests;
