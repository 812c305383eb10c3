//! What this process holds at a moment, as the kernel sees it.
//!
//! Other tests of the same process hold things too: take a census in a process of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io;

/// What a process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// The ids of its child processes, zombies included.
    pub children: Vec<u32>,
    /// What its descriptors refer to, by number.
    pub fds: BTreeMap<u32, String>,
    /// The names of its threads, sorted.
    pub threads: Vec<String>,
    /// How many of its memory mappings are of memfds.
    pub memfd_mappings: usize,
}

impl Census {
    /// How many descriptors are memfds.
    #[must_use]
    pub fn memfds(&self) -> usize {
        self.fds
            .values()
            .filter(|to| to.starts_with("/memfd:"))
            .count()
    }

    /// The numbers of everything: what must be the same before and after.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            children: self.children.len(),
            fds: self.fds.len(),
            threads: self.threads.len(),
            memfds: self.memfds(),
            memfd_mappings: self.memfd_mappings,
        }
    }
}

/// A [`Census`] as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Child processes, zombies included.
    pub children: usize,
    /// Descriptors.
    pub fds: usize,
    /// Threads.
    pub threads: usize,
    /// Descriptors that are memfds.
    pub memfds: usize,
    /// Memory mappings of memfds.
    pub memfd_mappings: usize,
}

/// What this process holds now.
///
/// # Panics
/// When /proc cannot be read.
#[must_use]
pub fn census() -> Census {
    let mut threads = Vec::new();
    for task in names("/proc/self/task") {
        // A thread may end while we look.
        if let Ok(name) = fs::read_to_string(format!("/proc/self/task/{task}/comm")) {
            threads.push(name.trim_end().to_owned());
        }
    }
    threads.sort();
    let fds = names("/proc/self/fd").into_iter().filter_map(|fd| {
        // The descriptor that lists the directory is gone by now.
        let to = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        Some((fd, to.to_string_lossy().into_owned()))
    });
    let maps = fs::read_to_string("/proc/self/maps").expect("the kernel tells");
    Census {
        children: children_of(std::process::id()),
        fds: fds.collect(),
        threads,
        memfd_mappings: maps.lines().filter(|line| line.contains("/memfd:")).count(),
    }
}

/// The ids of a process's children, zombies included, in order.
///
/// # Panics
/// When /proc cannot be read.
#[must_use]
pub fn children_of(parent: u32) -> Vec<u32> {
    let mut children = names("/proc");
    children.retain(|pid| stat(*pid).is_ok_and(|stat| stat.parent == parent));
    children
}

/// Whether a process exists and is no zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// The most memory that this process has ever had resident, in bytes.
///
/// # Panics
/// When /proc cannot be read.
#[must_use]
pub fn peak_resident_bytes() -> u64 {
    status_bytes("VmHWM")
}

/// Forgets the peak so far, and says what is resident now.
///
/// # Panics
/// When the kernel does not let this process.
#[must_use]
pub fn forget_peak() -> u64 {
    fs::write("/proc/self/clear_refs", "5").expect("the kernel forgets");
    peak_resident_bytes()
}

/// A size in this process's `/proc/self/status`, in bytes.
///
/// # Panics
/// When there is none of this name.
#[must_use]
pub fn status_bytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(found, _)| *found == name);
    let kib = found.and_then(|(_, value)| value.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number of KiB")
        << 10
}

struct Stat {
    state: char,
    parent: u32,
}

fn stat(pid: u32) -> io::Result<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may contain anything.
    let after = stat.rsplit_once(") ").map(|(_, after)| after);
    let mut words = after.into_iter().flat_map(str::split_whitespace);
    let found = words.next().zip(words.next());
    let parsed = found.and_then(|(state, parent)| {
        Some(Stat {
            state: state.chars().next()?,
            parent: parent.parse().ok()?,
        })
    });
    parsed.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The entries of a directory that are numbers, in order.
fn names(dir: &str) -> Vec<u32> {
    let entries = fs::read_dir(dir).expect("/proc is mounted");
    let mut names: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    names.sort_unstable();
    names
}
