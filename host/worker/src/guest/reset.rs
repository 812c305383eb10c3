//! Puts the memory of an instance back to what it was before the instance was made.
//!
//! Wasmtime does so, too, with the same map of pages: but a page that the kernel has moved to swap, or is moving elsewhere
//! just then, is none of those that it asks for, and the next instance finds there what the last one wrote
//! (<https://github.com/bytecodealliance/wasmtime/pull/14357>). So it is done here first, for every page wherever it is, and
//! what Wasmtime misses is in order already. An instance that is [renewed](super::Guest::renew) has its memory put back by
//! this alone.
#![expect(unsafe_code, reason = "pages are given back to the kernel")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::RawFd;

use crate::config::{KEEP_RESIDENT_BYTES, Scanning};
use crate::page_map::{self, Region};

/// No look at the map is taken while nothing can have changed there. For that the pages of a memory are never put together
/// to huge ones, which would make some of them this process's own without a fault. One that is larger than this may have huge
/// pages, and is looked at each time, until its instances write to the same few pages.
const WITH_HUGE_MIN: usize = 4 << 20;

/// After so many times without a look all pages are given back, if they are more than a few: an instance in hundreds may
/// have written to most of them, and each that is kept is overwritten every time.
const BEGIN_AGAIN_AFTER: u32 = 200;
const FEW_PAGES: usize = 16;

/// How to reset the memory of the instances of one program: one after the other, in the same place.
#[derive(Debug)]
pub(super) struct Reset {
    page_map: RawFd,
    page_bytes: usize,
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What pages hold that have been written to, by where they begin, before they are: the first of them. Others are
    /// given back to the kernel, which makes them anew.
    pristine: BTreeMap<usize, Content>,
    /// Those of them that are this process's own since the last look at the map. No others are; Wasmtime may have given
    /// some back.
    own: Vec<usize>,
    /// How many others the last look has found, and given back.
    given_back: usize,
    /// Whether that look has found no others than are kept.
    is_settled: bool,
    /// How many faults there had been by then, if none of its pages becomes this process's own without one.
    faults: Option<u64>,
    /// How much of the memory was looked at: there is more when an instance has grown.
    looked_at: usize,
    /// How often it was put back since, without another look.
    without_a_look: u32,
    /// How much of it has no huge pages.
    without_huge: usize,
    /// Whether the kernel has been seen to count faults.
    counts_faults: bool,
    /// Whether the first instance was made without a page being written to.
    begins_untouched: Option<bool>,
}

/// What a page holds.
#[derive(Debug)]
enum Content {
    /// As most do, stacks and heaps among them: they are overwritten without another page being read.
    Zeros,
    Bytes(Box<[u8]>),
}

impl Content {
    fn of(page: &[u8]) -> Self {
        match page.iter().all(|byte| *byte == 0) {
            true => Self::Zeros,
            false => Self::Bytes(page.into()),
        }
    }

    fn write_to(&self, page: &mut [u8]) {
        match self {
            Self::Zeros => page.fill(0),
            Self::Bytes(bytes) => page.copy_from_slice(bytes),
        }
    }
}

impl Reset {
    pub(super) fn by(scanning: Scanning) -> Self {
        Self {
            page_map: scanning.page_map,
            page_bytes: rustix::param::page_size(),
            known: RefCell::default(),
        }
    }

    /// Whether instances begin with memory in which nothing has been written, not even what they begin with: it is mapped,
    /// and what is given back is that again. The first one says so for all of the module.
    pub(super) fn begins_untouched(&self, first: &[u8]) -> bool {
        let known = &mut *self.known.borrow_mut();
        *known.begins_untouched.get_or_insert_with(|| {
            let base = first.as_ptr().addr();
            let all = base..base + first.len();
            let scanned = page_map::scan(self.page_map, all.clone(), &mut [Region::default()]);
            scanned.is_ok_and(|(found, walked)| found == 0 && walked == all.end)
        })
    }

    /// Forgets what is known of its pages, whose place may be mapped anew.
    pub(super) fn forget(&self) {
        let known = &mut *self.known.borrow_mut();
        *known = Known {
            begins_untouched: known.begins_untouched,
            ..Known::default()
        };
    }

    /// Puts all of it back. It is a private mapping, and whole pages.
    pub(super) fn put_back(&self, memory: &mut [u8]) {
        let known = &mut *self.known.borrow_mut();
        // Without a fault no page has become this process's own, and there is nothing in the map that is not known.
        if memory.len() <= known.looked_at
            && known
                .faults
                .is_some_and(|before| before == page_map::faults())
        {
            for page in &known.own {
                // An earlier instance may have grown further.
                if let Some(bytes) = memory.get_mut(*page..page + self.page_bytes) {
                    known.pristine[page].write_to(bytes);
                }
            }
            known.without_a_look = known.without_a_look.saturating_add(1);
            if known.without_a_look >= BEGIN_AGAIN_AFTER && known.own.len() > FEW_PAGES {
                give_back(memory);
                known.own.clear();
                known.faults = None;
            }
            return;
        }
        known.own.clear();
        known.given_back = 0;
        known.without_a_look = 0;
        known.looked_at = memory.len();
        // Before the look: what becomes huge after it would not be seen.
        if memory.len() > known.without_huge
            && (memory.len() <= WITH_HUGE_MIN || known.is_settled)
            && refuse_huge(memory)
        {
            known.without_huge = memory.len();
        }
        let base = memory.as_ptr().addr();
        let (mut at, end) = (base, base + memory.len());
        let mut regions = [Region::default(); 32];
        while at < end {
            match page_map::scan(self.page_map, at..end, &mut regions) {
                // Piece by piece for so many that it pays, and as one for the rest.
                Ok((found, walked)) if walked > at && known.given_back <= self.kept_max() => {
                    for written in &regions[..found] {
                        let Range { start, end } = written.addresses();
                        self.put_back_pages(known, memory, start - base..end - base);
                    }
                    at = walked;
                }
                // And where it may have been written to anywhere.
                _ => {
                    give_back(&mut memory[at - base..]);
                    break;
                }
            }
        }
        known.is_settled = at == end && known.given_back == 0;
        let are_told = known.counts_faults && memory.len() <= known.without_huge;
        known.faults = are_told.then(page_map::faults);
    }

    fn put_back_pages(&self, known: &mut Known, memory: &mut [u8], written: Range<usize>) {
        let mut unknown = written.start..written.start;
        for page in written.clone().step_by(self.page_bytes) {
            let next = page + self.page_bytes;
            match known.pristine.get(&page) {
                Some(pristine) => {
                    pristine.write_to(&mut memory[page..next]);
                    known.own.push(page);
                    self.learn(known, memory, unknown);
                    unknown = next..next;
                }
                None => unknown.end = next,
            }
        }
        self.learn(known, memory, unknown);
    }

    /// How many pages stay in memory.
    fn kept_max(&self) -> usize {
        KEEP_RESIDENT_BYTES / self.page_bytes
    }

    /// Puts these pages back, whose contents nobody has kept, and keeps those of the first from now on.
    fn learn(&self, known: &mut Known, memory: &mut [u8], pages: Range<usize>) {
        give_back(&mut memory[pages.clone()]);
        known.given_back += pages.len() / self.page_bytes;
        if !known.counts_faults && !pages.is_empty() {
            // What was given back is not there.
            let before = page_map::faults();
            std::hint::black_box(memory[pages.start]);
            known.counts_faults = page_map::faults() > before;
        }
        for page in pages.step_by(self.page_bytes) {
            if known.pristine.len() >= self.kept_max() {
                return;
            }
            let content = &memory[page..page + self.page_bytes];
            known.pristine.insert(page, Content::of(content));
        }
    }
}

/// Whether the kernel makes no huge pages of these from now on.
fn refuse_huge(memory: &mut [u8]) -> bool {
    let advice = rustix::mm::Advice::LinuxNoHugepage;
    // SAFETY: it does not change what the bytes are.
    unsafe { rustix::mm::madvise(memory.as_mut_ptr().cast(), memory.len(), advice) }.is_ok()
}

/// Lets go of pages of a private mapping: they hold then what its file does, or zeros.
fn give_back(pages: &mut [u8]) {
    if pages.is_empty() {
        return;
    }
    let advice = rustix::mm::Advice::LinuxDontNeed;
    // SAFETY: nobody else has these bytes, and any bytes are valid ones.
    let given = unsafe { rustix::mm::madvise(pages.as_mut_ptr().cast(), pages.len(), advice) };
    if given.is_err() {
        // No kernel refuses this of a mapping that is not locked. Nothing may run in what cannot be reset.
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use stockade_wire::message::{StopBy, WasiSetup};

    use super::*;
    use crate::config::InstanceLimits;
    use crate::guest::{Alone, Guest, Program, Runtime};

    const LIMITS: InstanceLimits = InstanceLimits {
        memory_bytes: 64 << 20,
        tables: 0,
        table_elements: 0,
        stack_bytes: 512 << 10,
    };

    /// Which of a guest's exports grows its memory.
    const GROW: u32 = 1;

    /// How large memories are, in WebAssembly's pages: one that never has huge pages, and one that may.
    const SMALL: usize = 50;
    const LARGE: usize = 130;

    /// Of its memory one page at each end is the module's own.
    fn program(wasm_pages: usize) -> Option<Program<Alone>> {
        let last = wasm_pages * 65536 - 10;
        let module = format!(
            r#"(module (memory (export "memory") {wasm_pages})
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (data (i32.const 0) "first") (data (i32.const {last}) "last"))"#
        );
        // Kernels before 6.7 have none, and then nothing here runs.
        let page_map = page_map::open()?;
        let scanning = Scanning {
            page_map,
            has_small_tables: true,
        };
        let compiled = crate::compiler::compile(module.as_bytes(), StopBy::Epoch).unwrap();
        let runtime = Runtime::scanning(StopBy::Epoch, LIMITS, Some(scanning)).unwrap();
        let program = runtime.load_compiled(&compiled, &WasiSetup::default());
        Some(program.unwrap())
    }

    /// Which pages a guest writes to: some, more than stay in memory, and more pieces than one look at the map shows.
    fn patterns(pages: usize) -> Vec<Vec<usize>> {
        vec![
            vec![0],
            vec![0, 3, 4, pages - 1],
            (0..pages).collect(),
            (0..pages).step_by(2).collect(),
            vec![1, pages - 2],
        ]
    }

    /// Has the kernel move all that it can to swap. Returns how many pages are there.
    fn swap_out(memory: &mut [u8]) -> usize {
        let page_bytes = rustix::param::page_size();
        let advice = rustix::mm::Advice::LinuxPageOut;
        // SAFETY: it does not change what the bytes are.
        let done = unsafe { rustix::mm::madvise(memory.as_mut_ptr().cast(), memory.len(), advice) };
        done.unwrap();
        let map = File::open("/proc/self/pagemap").unwrap();
        let first = memory.as_ptr().addr() / page_bytes;
        let is_swapped = |page: &usize| {
            let mut entry = [0; 8];
            map.read_exact_at(&mut entry, (first + page) as u64 * 8)
                .unwrap();
            u64::from_ne_bytes(entry) >> 62 & 1 == 1
        };
        (0..memory.len() / page_bytes).filter(is_swapped).count()
    }

    /// Whether there is swap, which there must be where `STOCKADE_TOOLCHAINS` names it.
    fn has_swap() -> bool {
        let wanted = std::env::var("STOCKADE_TOOLCHAINS").unwrap_or_default();
        let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
        let has_some = swaps.lines().count() > 1;
        assert!(has_some || !wanted.split(' ').any(|name| name == "swap"));
        has_some
    }

    #[test]
    fn what_a_guest_wrote_is_gone_wherever_the_kernel_has_put_it() {
        for wasm_pages in [SMALL, LARGE] {
            what_a_guest_wrote_is_gone(wasm_pages);
        }
    }

    fn what_a_guest_wrote_is_gone(wasm_pages: usize) {
        let Some(program) = program(wasm_pages) else {
            return;
        };
        let pages = wasm_pages * 65536 / rustix::param::page_size();
        let pristine = program
            .instantiate(Alone)
            .unwrap()
            .memory_mut()
            .unwrap()
            .to_vec();
        assert!(pristine.starts_with(b"first\0") && pristine.ends_with(b"last\0\0\0\0\0\0"));
        let (has_swap, mut swapped) = (has_swap(), 0);
        // By itself, and by what else happens at an instance's end; what is known of its pages grows from round to round.
        for (round, by_itself) in [(0, true), (1, true), (2, false), (3, false)] {
            for pattern in patterns(pages) {
                let mut guest = program.instantiate(Alone).unwrap();
                let reset = program.reset.as_ref().unwrap();
                let memory = guest.memory_mut().unwrap();
                assert!(memory == pristine, "round {round}");
                for page in &pattern {
                    let at = page * rustix::param::page_size();
                    memory[at..at + 100].fill(7);
                }
                if has_swap && round % 2 == 1 {
                    swapped += swap_out(memory);
                }
                if by_itself {
                    reset.put_back(memory);
                    assert!(memory == pristine, "round {round}, {} pages", pattern.len());
                }
            }
        }
        assert!(
            !has_swap || swapped > 0,
            "the kernel has left all in memory"
        );
    }

    #[test]
    fn what_is_grown_is_zero_whoever_grew_before() {
        let Some(program) = program(SMALL) else {
            return;
        };
        let grow = |guest: &mut Guest<Alone>| {
            let (pages, mut reply) = (2u64.to_le_bytes(), Vec::new());
            guest.call(&program, GROW, &pages[..], &mut reply).unwrap();
            guest.memory_mut().unwrap().len()
        };
        let base = program
            .instantiate(Alone)
            .unwrap()
            .memory_mut()
            .unwrap()
            .len();
        // Who grows and who does not, in every order of four, with and without a fault of one that does not.
        for (order, touches) in (0..16u32).flat_map(|order| [(order, false), (order, true)]) {
            for at in 0..4 {
                let mut guest = program.instantiate(Alone).unwrap();
                if order >> at & 1 == 1 {
                    let len = grow(&mut guest);
                    assert_eq!(len, base + 2 * 65536);
                    let grown = &mut guest.memory_mut().unwrap()[base..];
                    assert!(grown.iter().all(|byte| *byte == 0), "{order:b} {at}");
                    grown.fill(7);
                } else if touches {
                    let memory = guest.memory_mut().unwrap();
                    memory[65536 * (1 + order as usize) + 4096 * at] = 7;
                }
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_is_meant_to_stay() {
        let Some(program) = program(SMALL) else {
            return;
        };
        let page_bytes = rustix::param::page_size();
        let reset = program.reset.as_ref().unwrap();
        let kept = || reset.known.borrow().pristine.len();
        let write = |step: usize| {
            let mut guest = program.instantiate(Alone).unwrap();
            let pages = guest.memory_mut().unwrap().chunks_mut(page_bytes);
            pages.step_by(step).for_each(|page| page[0] = 7);
        };
        for step in [2, 2, 1, 1, 2] {
            write(step);
            assert_eq!(kept(), KEEP_RESIDENT_BYTES / page_bytes);
        }
    }

    /// Writes to the first pages, and puts all of it back.
    fn write_and_put_back(reset: &Reset, memory: &mut [u8], pages: usize) {
        let pages = memory.chunks_mut(reset.page_bytes).take(pages);
        pages.for_each(|page| page[0] = 7);
        reset.put_back(memory);
    }

    /// A process that another test forks makes every page fault once more, so looks are few and not none.
    #[test]
    fn hardly_a_look_is_taken_when_the_same_few_pages_are_written_to() {
        for wasm_pages in [SMALL, LARGE] {
            let Some(program) = program(wasm_pages) else {
                return;
            };
            let reset = program.reset.as_ref().unwrap();
            let mut guest = program.instantiate(Alone).unwrap();
            let memory = guest.memory_mut().unwrap();
            let mut is_looked_at = |pages| {
                // Each look sets it anew.
                reset.known.borrow_mut().looked_at |= 1;
                write_and_put_back(reset, memory, pages);
                reset.known.borrow().looked_at & 1 == 0
            };
            assert!(is_looked_at(3), "nothing is known yet");
            let looks = (0..100).filter(|_| is_looked_at(3)).count();
            assert!(looks < 50, "{looks} of 100, {wasm_pages} pages");
            assert!(is_looked_at(5), "others are written to");
        }
    }

    #[test]
    fn many_pages_are_not_copied_for_ever() {
        let Some(program) = program(SMALL) else {
            return;
        };
        let reset = program.reset.as_ref().unwrap();
        let mut guest = program.instantiate(Alone).unwrap();
        let memory = guest.memory_mut().unwrap();
        let pristine = memory.to_vec();
        let mut copied_after_writing_to = |pages| {
            write_and_put_back(reset, memory, pages);
            let copied = reset.known.borrow().own.len();
            // To compare each time would take so long that other tests' forks meet every round.
            assert!(copied > FEW_PAGES || memory == pristine);
            copied
        };
        copied_after_writing_to(FEW_PAGES + 1);
        assert_eq!(copied_after_writing_to(FEW_PAGES + 1), FEW_PAGES + 1);
        let often = BEGIN_AGAIN_AFTER as usize;
        let mut rounds = 0..100 * often;
        let first = rounds.find(|_| copied_after_writing_to(1) <= FEW_PAGES);
        assert!(first.is_some_and(|first| first + 1 >= often), "{first:?}");
        copied_after_writing_to(1);
        assert_eq!(copied_after_writing_to(1), 1);
    }
}
