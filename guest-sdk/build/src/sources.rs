//! The files that a guest is made of, so that cargo runs the build script again when one changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files named in cargo's dep-info, which lists what the compiler read of the guest and of its
/// path dependencies, and the manifests and settings around them.
pub(crate) fn sources(guest_dir: &Path, dep_info: &str, manifests: &[PathBuf]) -> Vec<PathBuf> {
    let mut sources: BTreeSet<PathBuf> = prerequisites(dep_info)
        .into_iter()
        .map(|path| guest_dir.join(path))
        .collect();
    sources.extend(manifests.iter().cloned());
    for directory in guest_dir.ancestors() {
        sources.extend(
            [".cargo/config.toml", ".cargo/config"]
                .map(|file| directory.join(file))
                .into_iter()
                .filter(|file| file.exists()),
        );
    }
    if let Some(workspace) = guest_dir
        .ancestors()
        .find(|directory| directory.join("Cargo.lock").is_file())
    {
        sources.extend(["Cargo.toml", "Cargo.lock"].map(|file| workspace.join(file)));
    }
    sources.into_iter().collect()
}

/// The files right of the colon of a makefile's rule, in which spaces are escaped.
fn prerequisites(dep_info: &str) -> Vec<PathBuf> {
    let Some((_, files)) = dep_info
        .lines()
        .next()
        .and_then(|rule| rule.split_once(": "))
    else {
        return Vec::new();
    };
    let mut prerequisites = Vec::new();
    let mut file = String::new();
    let mut characters = files.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&' ') => file.extend(characters.next()),
            ' ' => prerequisites.push(std::mem::take(&mut file)),
            character => file.push(character),
        }
    }
    prerequisites.push(file);
    prerequisites
        .into_iter()
        .filter(|file| !file.is_empty())
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dep_info_names_the_files_behind_the_colon() {
        let dep_info =
            "/t/a.wasm: /g/src/lib.rs /g/with\\ space.rs src/relative.rs\n\n/g/src/lib.rs:\n";
        assert_eq!(
            prerequisites(dep_info),
            ["/g/src/lib.rs", "/g/with space.rs", "src/relative.rs"].map(PathBuf::from)
        );
        assert!(prerequisites("").is_empty());
    }

    #[test]
    fn manifests_and_the_lock_file_of_the_workspace_are_sources() {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = guest
            .ancestors()
            .find(|directory| directory.join("Cargo.lock").is_file())
            .unwrap();
        let sources = sources(guest, "a: src/lib.rs", &[guest.join("Cargo.toml")]);
        for file in [
            guest.join("src/lib.rs"),
            guest.join("Cargo.toml"),
            workspace.join("Cargo.lock"),
            workspace.join("Cargo.toml"),
        ] {
            assert!(
                sources.contains(&file),
                "{} is not in {sources:?}",
                file.display()
            );
        }
    }
}
