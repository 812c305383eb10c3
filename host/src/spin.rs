//! Whether to poll for a reply before sleeping, and for how long.
//!
//! A wake-up across CPUs costs tens of microseconds, a poll that fails costs its length in CPU time. So
//! nobody polls while every CPU has a call already, and a function whose polls keep failing is polled for
//! more and more rarely. A thread with other calls under way polls for less long, and one whose other tasks make none
//! meanwhile, whenever it lets them, for longer. Whoever polls for longer than a small call takes offers its CPU to others:
//! the other side may be waiting for that very one, and a switch between two who are awake costs little.
//!
//! What follows a stop is polled for whatever was learned: its end, once, and the next call, whose worker makes a new
//! instance first. Both take less than the wake-ups that they spare, and stops are the host's own. The first call of a
//! worker is polled for as long, unless its function is known to be slow, and a worker that somebody waits for polls for it.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stockade_wire::slot::Linger;
use stockade_wire::sys::placement;

/// The longest poll beside which another task of the thread may wait to make a call of its own.
pub(crate) const POLL_MAX: Duration = Duration::from_micros(20);

/// The same beside other calls of the same thread, which it holds up: about what a wake-up takes of that thread. Where a
/// reply takes longer, the thread publishes more calls meanwhile, for other workers. The clock is read between rounds of
/// looks, so that it may be twice as long.
pub(crate) const BESIDE_MAX: Duration = Duration::from_micros(5);

/// For how much longer a thread polls whose calls have no company, as far as it is known: with the other, about what it
/// saves, as the reply wakes the supervisor, which wakes the caller.
pub(crate) const POLL_LONGER: Duration = Duration::from_micros(40);

/// The longest poll for the end of a call that is being stopped, and for the reply of a worker that makes a new instance
/// first: about what two wake-ups cost.
pub(crate) const STOP_MAX: Duration = Duration::from_micros(100);

/// For how long a worker polls for its next call: long enough for a caller that makes one call after the
/// other and does something with each result.
const LINGER: Duration = Duration::from_micros(100);

/// For how long a worker polls for its first call, when somebody waits for it: whoever that is hears of it through two
/// others, and then calls.
const LINGER_FIRST: Duration = Duration::from_micros(200);

/// Calls that workers of this process have now.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// The CPUs that may be kept busy, or 0 where polling is never worth it.
static CPUS: LazyLock<usize> = LazyLock::new(|| {
    let usable = num_cpus::get();
    // Fewer than the affinity mask has: a CPU quota. Polling would burn it, and the kernel would stop the
    // whole container for it.
    let affinity =
        rustix::thread::sched_getaffinity(None).map_or(usable, |set| set.count() as usize);
    if usable < affinity || usable < 2 {
        0
    } else {
        usable
    }
});

/// Calls that were published from a thread and are not over, by the thread's place. Threads that share a
/// place poll less than they could.
static PUBLISHED: [AtomicU32; PLACES] = [const { AtomicU32::new(0) }; PLACES];

const PLACES: usize = 64;

thread_local! {
    static PLACE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % PLACES
    };
    static COMPANY: Company = const { Company::new() };
}

/// Whether calls of this thread would have company, if its polls did not keep the thread from all others. Who sleeps for a
/// reply sees it: several long polls may follow such a sleep in which nobody else has published, and then another sleep.
#[derive(Debug)]
struct Company {
    /// How many calls the thread has published.
    published: Cell<u32>,
    /// How many long polls may follow.
    long_polls: Cell<u32>,
    /// How many did after the last sleep alone.
    granted: Cell<u32>,
}

/// Their poll takes the thread of others for no more than a few milliseconds in all.
const LONG_POLLS_MAX: u32 = 63;

impl Company {
    const fn new() -> Self {
        Self {
            published: Cell::new(0),
            long_polls: Cell::new(0),
            granted: Cell::new(0),
        }
    }

    fn take_long_poll(&self) -> bool {
        let left = self.long_polls.get();
        self.long_polls.set(left.saturating_sub(1));
        left > 0
    }

    /// A call is answered that was slept for since so many had been published, if it was alone then.
    fn slept(&self, published: Option<u32>) {
        let granted = match published == Some(self.published.get()) {
            true => (2 * self.granted.get() + 1).min(LONG_POLLS_MAX),
            false => 0,
        };
        self.granted.set(granted);
        self.long_polls.set(granted);
    }
}

/// A sleep for a reply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sleep {
    place: usize,
    /// How many calls the thread had published, if no other one was under way.
    published: Option<u32>,
}

impl Sleep {
    /// Of the call that this thread has published last.
    pub(crate) fn begin() -> Self {
        let place = PLACE.with(|place| *place);
        let is_alone = PUBLISHED[place].load(Ordering::Relaxed) <= 1;
        Self {
            place,
            published: is_alone.then(|| COMPANY.with(|company| company.published.get())),
        }
    }

    /// The reply is there. Of what a task sees that has moved to another thread nothing is learned.
    pub(crate) fn end(self) {
        if self.place == PLACE.with(|place| *place) {
            COMPANY.with(|company| company.slept(self.published));
        }
    }
}

/// Whether this thread may poll for [`POLL_LONGER`]. Each time that it may is counted off.
pub(crate) fn take_long_poll() -> bool {
    COMPANY.with(Company::take_long_poll)
}

/// Whether this thread has no call under way that a poll would hold up.
pub(crate) fn is_alone() -> bool {
    let place = PLACE.with(|place| *place);
    PUBLISHED[place].load(Ordering::Relaxed) == 0
}

/// Whether not every CPU has a call yet, so that both sides of one more may poll.
pub(crate) fn has_cpu() -> bool {
    BUSY.load(Ordering::Relaxed) < *CPUS
}

/// Both, for a call that this thread has published already and whose guest has just been answered.
pub(crate) fn may_poll_again() -> bool {
    let place = PLACE.with(|place| *place);
    PUBLISHED[place].load(Ordering::Relaxed) <= 1 && BUSY.load(Ordering::Relaxed) <= *CPUS
}

/// Both, for whoever waits for the end of a call that is being stopped, whichever thread published that.
pub(crate) fn may_poll_for_stop(stopping: Option<&Running>) -> bool {
    let place = PLACE.with(|place| *place);
    let own = stopping.is_some_and(|running| running.place == place);
    PUBLISHED[place].load(Ordering::Relaxed) <= u32::from(own)
        && BUSY.load(Ordering::Relaxed) <= *CPUS
}

/// How a worker may wait for the call after one that is published from here and may be polled for.
pub(crate) fn linger(may_poll: bool) -> Linger {
    if may_poll {
        Linger::beside(LINGER, placement::current())
    } else {
        Linger::NONE
    }
}

/// The same after calls that had waited in line and travel together: more of them are likely to wait by then. The worker
/// stays where it is, as every CPU is busy.
pub(crate) fn linger_for_more() -> Linger {
    match *CPUS {
        0 => Linger::NONE,
        _ => Linger::beside(LINGER, None),
    }
}

/// The same for a worker that somebody waits for.
pub(crate) fn linger_first() -> Linger {
    match is_alone() && has_cpu() {
        true => Linger::beside(LINGER_FIRST, None),
        false => Linger::NONE,
    }
}

/// Looks for something again and again, for so long. To be told of it would take a wake-up.
#[inline]
pub(crate) fn poll(longest: Duration, over: impl Fn() -> bool) -> bool {
    const LOOKS_FIRST: u32 = 64;
    const LOOKS_MAX: u32 = 256;
    let mut until = None;
    let mut looks = LOOKS_FIRST;
    loop {
        for _ in 0..looks {
            if over() {
                return true;
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        if now >= *until.get_or_insert_with(|| now + longest) {
            return false;
        }
        // The worker may be waiting for this very CPU. If it is not, it hardly will be soon, and its reply would wait for
        // the system call.
        std::thread::yield_now();
        looks = (2 * looks).min(LOOKS_MAX);
    }
}

/// Counts a call while it runs.
#[derive(Debug)]
pub(crate) struct Running {
    place: usize,
}

impl Running {
    pub(crate) fn begin() -> Self {
        let place = PLACE.with(|place| *place);
        PUBLISHED[place].fetch_add(1, Ordering::Relaxed);
        BUSY.fetch_add(1, Ordering::Relaxed);
        COMPANY.with(|company| {
            company
                .published
                .set(company.published.get().wrapping_add(1))
        });
        Self { place }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        PUBLISHED[self.place].fetch_sub(1, Ordering::Relaxed);
        BUSY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How polling for one function has gone.
#[derive(Debug, Default)]
pub(crate) struct Lucks {
    pub(crate) alone: Luck,
    /// Beside other calls of the same thread. Without such polls it would sleep for each call while it has two under way,
    /// and so always have two.
    pub(crate) beside: Luck,
    /// For several calls that travel together.
    pub(crate) together: Luck,
}

/// How polling for one function has gone, in one of two situations.
///
/// After `m` failures in a row the next `2^m - 1` calls are not polled for on its account, whether they could have been
/// or not: a worker that slept, say, is not polled for anyhow.
#[derive(Debug, Default)]
pub(crate) struct Luck {
    misses: AtomicU32,
    skip: AtomicU32,
}

const MISSES_MAX: u32 = 8;

impl Luck {
    /// Whether to poll for this call.
    pub(crate) fn try_it(&self) -> bool {
        match self.skip.load(Ordering::Relaxed) {
            0 => true,
            n => {
                self.skip.store(n - 1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Whether no poll has failed since one was answered.
    pub(crate) fn is_unbroken(&self) -> bool {
        self.misses.load(Ordering::Relaxed) == 0
    }

    /// A poll was answered.
    pub(crate) fn hit(&self) {
        if self.misses.load(Ordering::Relaxed) != 0 {
            self.misses.store(0, Ordering::Relaxed);
        }
    }

    /// A poll was not.
    pub(crate) fn miss(&self) {
        let misses = (self.misses.load(Ordering::Relaxed) + 1).min(MISSES_MAX);
        self.misses.store(misses, Ordering::Relaxed);
        self.skip.store((1 << misses) - 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_polls_for_longer_only_while_its_calls_have_no_company() {
        let company = Company::new();
        let polls = || (0..).take_while(|_| company.take_long_poll()).count();
        assert_eq!(polls(), 0, "nothing is known");
        let lonely = [(); 8].map(|()| {
            company.slept(Some(company.published.get()));
            polls()
        });
        assert_eq!(lonely, [1, 3, 7, 15, 31, 63, 63, 63]);
        let before = company.published.replace(7);
        for with_company in [Some(before), None] {
            company.slept(Some(7));
            company.slept(with_company);
            assert_eq!(polls(), 0);
            company.slept(Some(7));
            assert_eq!(polls(), 1, "it begins again");
        }
    }

    #[test]
    fn a_slow_function_is_seldom_polled_for() {
        let luck = Luck::default();
        let mut polls = 0;
        for _ in 0..10_000 {
            if luck.try_it() {
                polls += 1;
                luck.miss();
            }
        }
        assert!(polls < 60, "{polls} polls of 10000");
        while !luck.try_it() {}
        luck.hit();
        assert!((0..100).all(|_| luck.try_it()));
    }
}
