//! `poll_oneoff`: how a guest sleeps.

use std::time::Duration;

use wasmtime::{Caller, Error, Result};

use super::errno::{BADF, FAULT, INVAL, SUCCESS};
use super::pointer::{Fault, bytes_mut, field, put};
use super::{MODULE, Wasi};
use crate::guest::{Halt, Linking, State, World, memory_and_state};

const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;

/// The most things that a guest may wait for at once. Each is looked at several times, and no epoch is seen
/// meanwhile.
const SUBSCRIPTIONS_MAX: u32 = 4096;

const ABSOLUTE_TIME: u16 = 1;

/// One thing to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subscription {
    userdata: [u8; 8],
    tag: u8,
    ready: Ready,
}

/// When it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    /// At once, with this error number.
    Now(i32),
    /// After this many nanoseconds.
    After(u64),
}

impl Ready {
    fn nanoseconds(self) -> u64 {
        match self {
            Self::Now(_) => 0,
            Self::After(nanoseconds) => nanoseconds,
        }
    }
}

pub(super) fn link<W: World>(linking: &mut Linking<'_, State<W>>) -> Result<()> {
    linking.func_wrap(MODULE, "poll_oneoff", poll_oneoff::<W>)?;
    Ok(())
}

fn poll_oneoff<W: World>(
    mut caller: Caller<'_, State<W>>,
    subscriptions: u32,
    events: u32,
    count: u32,
    ready: u32,
) -> Result<i32> {
    let (memory, state) = memory_and_state(&mut caller);
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Ok(INVAL);
    }
    let wasi = &state.wasi;
    let wait = match shortest(memory, wasi, subscriptions, count) {
        Ok(wait) => wait,
        Err(Fault) => return Ok(FAULT),
    };
    if bytes_mut(memory, events, count * EVENT_BYTES).is_err() {
        return Ok(FAULT);
    }
    // Listed before the sleep, by what each would have waited: afterwards a relative time would start again.
    let listed = list(memory, wasi, subscriptions, events, count, wait);
    if wait > 0 && state.world.sleep(Duration::from_nanos(wait)) {
        return Err(Error::new(Halt::Stopped));
    }
    Ok(
        match listed.and_then(|listed| put(memory, ready, listed.to_le_bytes())) {
            Ok(()) => SUCCESS,
            Err(Fault) => FAULT,
        },
    )
}

/// How long until the first of them is ready, in nanoseconds.
fn shortest(memory: &[u8], wasi: &Wasi, list: u32, count: u32) -> Result<u64, Fault> {
    let mut shortest = u64::MAX;
    for index in 0..count {
        let found = subscription(memory, wasi, list, index)?;
        shortest = shortest.min(found.ready.nanoseconds());
    }
    Ok(shortest)
}

/// Writes an event for everything that is ready within `wait`, and says how many there are.
fn list(
    memory: &mut [u8],
    wasi: &Wasi,
    list: u32,
    events: u32,
    count: u32,
    wait: u64,
) -> Result<u32, Fault> {
    let mut listed = 0;
    for index in 0..count {
        // Read before its event is written: a guest may let both lists overlap.
        let found = subscription(memory, wasi, list, index)?;
        // Clocks go on between two looks; an absolute time may be nearer now, never further.
        if found.ready.nanoseconds() <= wait {
            let errno = match found.ready {
                Ready::Now(errno) => errno,
                Ready::After(_) => SUCCESS,
            };
            let mut event = [0; EVENT_BYTES as usize];
            event[..8].copy_from_slice(&found.userdata);
            event[8..10].copy_from_slice(&(errno as u16).to_le_bytes());
            event[10] = found.tag;
            if found.tag != CLOCK {
                event[16..24].copy_from_slice(&1u64.to_le_bytes());
            }
            let at = events.checked_add(listed * EVENT_BYTES).ok_or(Fault)?;
            put(memory, at, event)?;
            listed += 1;
        }
    }
    Ok(listed)
}

const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;

fn subscription(memory: &[u8], wasi: &Wasi, list: u32, index: u32) -> Result<Subscription, Fault> {
    let at = list
        .checked_add(index.checked_mul(SUBSCRIPTION_BYTES).ok_or(Fault)?)
        .ok_or(Fault)?;
    let whole: &[u8; SUBSCRIPTION_BYTES as usize] = &field(memory, at, 0)?;
    let tag = whole[8];
    let ready = match tag {
        CLOCK => {
            let clock = u32::from_le_bytes(field(whole, 16, 0)?);
            let timeout = u64::from_le_bytes(field(whole, 24, 0)?);
            let flags = u16::from_le_bytes(field(whole, 40, 0)?);
            match wasi.clocks.now(clock) {
                None => Ready::Now(INVAL),
                Some(now) if flags & ABSOLUTE_TIME != 0 => {
                    Ready::After(timeout.saturating_sub(now))
                }
                Some(_) => Ready::After(timeout),
            }
        }
        FD_READ | FD_WRITE => {
            let fd = u32::from_le_bytes(field(whole, 16, 0)?);
            // A file is always ready, and one that is not open says so when it is used.
            let exists = fd <= 2 || wasi.setup.has_files();
            Ready::Now(if exists { SUCCESS } else { BADF })
        }
        _ => Ready::Now(INVAL),
    };
    Ok(Subscription {
        userdata: field(whole, 0, 0)?,
        tag,
        ready,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stockade_wire::message::WasiSetup;

    use super::*;
    use crate::guest::Alone;
    use crate::wasi::Setup;

    fn clock(userdata: u8, timeout: u64, flags: u16) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[0] = userdata;
        bytes[16] = 1;
        bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
        bytes[40..42].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    fn fixed() -> Wasi {
        let setup = WasiSetup {
            clock: Some(Duration::from_nanos(1000)),
            ..WasiSetup::default()
        };
        Wasi::new(Arc::new(Setup::new(&setup, None)), &Alone)
    }

    #[test]
    fn the_nearest_time_is_waited_for_and_alone_reported() {
        let mut memory = [
            clock(1, 500, 0),
            clock(2, 1300, ABSOLUTE_TIME),
            clock(3, 900, 0),
        ]
        .concat();
        memory.resize(1024, 0);
        assert_eq!(shortest(&memory, &fixed(), 0, 3), Ok(300));
        assert_eq!(list(&mut memory, &fixed(), 0, 512, 3, 300), Ok(1));
        assert_eq!(memory[512], 2);
        assert_eq!(list(&mut memory, &fixed(), 0, 512, 3, 500), Ok(2));
    }

    #[test]
    fn a_time_in_the_past_and_a_descriptor_are_ready_at_once() {
        let mut stdout = [0; 48];
        (stdout[8], stdout[16]) = (FD_WRITE, 1);
        let mut memory = [clock(1, 999, ABSOLUTE_TIME), stdout, clock(3, 1, 0)].concat();
        memory.resize(1024, 0);
        assert_eq!(shortest(&memory, &fixed(), 0, 3), Ok(0));
        assert_eq!(list(&mut memory, &fixed(), 0, 512, 3, 0), Ok(2));
    }

    #[test]
    fn a_list_outside_the_memory_is_a_fault() {
        let mut memory = clock(1, 1, 0).to_vec();
        assert_eq!(shortest(&memory, &fixed(), 1, 1), Err(Fault));
        assert_eq!(shortest(&memory, &fixed(), 0, 2), Err(Fault));
        assert_eq!(shortest(&memory, &fixed(), u32::MAX, 4096), Err(Fault));
        assert_eq!(list(&mut memory, &fixed(), 0, 40, 1, 1), Err(Fault));
    }
}
