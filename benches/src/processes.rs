//! Processes, as /proc shows them.

use std::fs;

use anyhow::{Context, Result};

/// The parent of a process.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// The children of a process.
pub(crate) fn children_of(parent: u32) -> Result<Vec<u32>> {
    let names =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids = names.filter_map(|name| name.parse().ok());
    Ok(pids.filter(|&pid| parent_of(pid) == Some(parent)).collect())
}

/// The parent of a process, and all children of that.
pub(crate) fn family_of(pid: u32) -> Result<Vec<u32>> {
    let parent = parent_of(pid).context("it has a parent")?;
    let mut family = children_of(parent)?;
    family.push(parent);
    Ok(family)
}
