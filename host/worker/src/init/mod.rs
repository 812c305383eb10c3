//! The initialiser: runs what a module wants to have run once, hands over the memory that it leaves, and
//! waits for its end.
//!
//! It runs guest code, so it is sealed like a worker; nothing in it can become executable. What it hands
//! over is as hostile as the guest: only a compiler looks at it, another sealed process of the same module.
#![expect(
    unsafe_code,
    reason = "the artifact that the host sends is loaded as code"
)]

pub(crate) mod dump;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use rustix::thread::futex;
use stockade_wire::message::{InitSetup, Seal, WorkerMessage, WorkerRefusal};
use stockade_wire::role::Assignment;

use crate::config::InstanceLimits;
use crate::guest::{Runtime, Stopped, World};
use crate::seal::{Begun, Landlock, Sealing};
use crate::serve::{self, Refusal, describe, setup};
use crate::{process, seal};

/// Runs the role. Never returns.
pub(crate) fn role(assignment: Assignment) -> ! {
    let said = match run(assignment) {
        Ok(()) => WorkerMessage::Ready,
        Err((why, message)) => WorkerMessage::Refused {
            why,
            message: process::text(message),
        },
    };
    process::tell(&said);
    // The host looks at this process's walls, and ends it.
    loop {
        sleep(None);
    }
}

fn run(assignment: Assignment) -> Result<(), Refusal> {
    let (told, [dump, artifact], _) = process::receive_setup::<InitSetup, 2>().map_err(setup)?;
    // Closing it would be a system call that the seal forbids.
    let dump: &'static OwnedFd = Box::leak(Box::new(dump));
    process::name("stockade-init");
    let limits = InstanceLimits {
        memory_bytes: told.memory_bytes,
        tables: InstanceLimits::TABLES_MAX,
        table_elements: told.table_elements,
        stack_bytes: told.stack_bytes,
    };
    seal::reserve_stack(limits.stack_bytes).map_err(setup)?;
    let runtime = Runtime::new(told.stop, limits)
        .map_err(|error| setup(format!("cannot set Wasmtime up: {error:#}")))?;
    let sealing = match told.seal {
        Seal::None => None,
        Seal::Required | Seal::Strict => {
            let landlock = Landlock::of(told.seal);
            let (dump, most) = (dump.as_fd(), told.dump_bytes_max);
            let begun = Sealing::initializer(assignment, limits, dump, most, landlock);
            Some(begun.and_then(Begun::with_engine).map_err(setup)?)
        }
    };
    // SAFETY: the host sends the sealed artifact of a compiler process of its own, for this very module. A
    // compiler that was taken over by its module may have forged it; what it gains is this process, which
    // runs nothing but that module and has given up all but the seal's last step.
    let program = unsafe { serve::load(&runtime, artifact, &told.wasi, None) }?;
    let namespaces = sealing.as_ref().map(Sealing::namespaces);
    process::tell(&WorkerMessage::Loaded(namespaces.unwrap_or_default()));
    if let Some(sealing) = sealing {
        sealing.finish().map_err(setup)?;
    }
    let mut guest = program
        .instantiate(Nobody)
        .map_err(|ended| (WorkerRefusal::Init, describe(ended)))?;
    dump::write(&mut guest, dump, told.dump_bytes_max).map_err(|error| match error {
        dump::Unwritten::TooLarge(message) => (WorkerRefusal::Dump, message),
        dump::Unwritten::Io(error) => setup(format!("cannot write its state: {error}")),
    })?;
    // Its memory need not be reset.
    std::mem::forget(guest);
    Ok(())
}

/// There is no call, so nobody stops the guest but by killing it, and nobody reads what it writes.
#[derive(Debug, Clone, Copy)]
struct Nobody;

impl World for Nobody {
    fn stop_requested(&self) -> bool {
        false
    }

    fn sleep(&self, duration: Duration) -> bool {
        let until = Instant::now().checked_add(duration);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            sleep(left);
        }
    }

    fn write_output(&self, _stream: usize, _bytes: &[u8]) -> Result<(), Stopped> {
        Ok(())
    }
}

/// The one way of sleeping that the seal allows. It may end early.
fn sleep(at_most: Option<Duration>) {
    static NOBODY_RINGS: AtomicU32 = AtomicU32::new(0);
    let timeout = at_most.and_then(|time| time.try_into().ok());
    let _ = futex::wait(&NOBODY_RINGS, futex::Flags::PRIVATE, 0, timeout.as_ref());
}
