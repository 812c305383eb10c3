//! `stockade new`

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::options::exit_codes;
use crate::terminal::{NAME, harmless, show, styled};

/// Make a guest crate and a host crate that calls it.
///
/// They are made in a new directory, and use the published crates of this version. With --path, or when run from a working tree of Stockade, they
/// use that tree's crates and its locked versions of everything else, so that they build without a network
/// where the tree itself does.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!(
    "Examples:\n  \
       stockade new demo\n  \
       cd demo\n  \
       cargo run\n\n",
    exit_codes!()
))]
pub(crate) struct New {
    /// The name of the directory; the crates are NAME-guest and NAME-host
    name: String,
    /// Use the crates of this working tree of Stockade
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// What is made: where, and from what.
const FILES: [(&str, &str); 7] = [
    (".gitignore", "/target\n"),
    ("Cargo.toml", include_str!("new/workspace.toml")),
    ("guest/Cargo.toml", include_str!("new/guest.toml")),
    ("guest/src/lib.rs", include_str!("new/guest.rs")),
    ("host/Cargo.toml", include_str!("new/host.toml")),
    ("host/build.rs", include_str!("new/build.rs")),
    ("host/src/main.rs", include_str!("new/main.rs")),
];

/// The crates that are used, and where a working tree has them.
const CRATES: [(&str, &str); 3] = [
    ("stockade", "host"),
    ("stockade-guest", "guest-sdk"),
    ("stockade-build", "guest-sdk/build"),
];

/// crates.io takes no longer names, and ours get an ending.
const NAME_CHARS_MAX: usize = 58;

impl New {
    pub(crate) fn run(self) -> Result<()> {
        check(&self.name)?;
        let tree = match &self.path {
            Some(path) => Some(Tree::at(path)?),
            None => Tree::around(&std::env::current_dir()?),
        };
        let dir = Path::new(&self.name);
        match fs::create_dir(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
                "`{}` exists already: choose another name, or remove it",
                self.name
            ),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make `{}`", self.name));
            }
        }
        if let Err(error) = write(dir, &self.name, tree.as_ref()) {
            // Half a project is worse than none.
            let _ = fs::remove_dir_all(dir);
            return Err(error);
        }
        show(&format!(
            "Made the crates {} and {}. Next:\n\n  cd {name}\n  cargo run\n",
            styled(NAME, format!("{}-guest", self.name)),
            styled(NAME, format!("{}-host", self.name)),
            name = self.name
        ))
    }
}

fn check(name: &str) -> Result<()> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    ensure!(
        starts_well && is_plain,
        "`{}` is no name for a crate: use ASCII letters, digits, `-` and `_`, a letter first",
        harmless(name)
    );
    ensure!(
        name.len() <= NAME_CHARS_MAX,
        "`{name}` is too long for the name of a crate: use at most {NAME_CHARS_MAX} characters"
    );
    ensure!(
        !name.eq_ignore_ascii_case("stockade"),
        "`{name}` would make a crate `{name}-guest`, which exists: choose another name"
    );
    Ok(())
}

fn write(dir: &Path, name: &str, tree: Option<&Tree>) -> Result<()> {
    for (path, template) in FILES {
        let mut content = template.replace("@name@", name);
        for (package, at) in CRATES {
            let source = match tree {
                Some(tree) => tree.dependency(at)?,
                None => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
            };
            content = content.replace(&format!("@{package}@"), &source);
        }
        let path = dir.join(path);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, content))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    match tree {
        Some(tree) => tree.lock(dir),
        None => Ok(()),
    }
}

/// A working tree of Stockade.
#[derive(Debug)]
struct Tree(PathBuf);

impl Tree {
    fn at(path: &Path) -> Result<Self> {
        let shown = path.display();
        let root = path
            .canonicalize()
            .with_context(|| format!("--path {shown}"))?;
        ensure!(
            Self::is_one(&root),
            "--path {shown}: that is no working tree of Stockade; it would have host/Cargo.toml and \
             guest-sdk/Cargo.toml"
        );
        Ok(Self(root))
    }

    /// The one that `dir` lies in.
    fn around(dir: &Path) -> Option<Self> {
        let root = dir.ancestors().find(|dir| Self::is_one(dir))?;
        Some(Self(root.to_owned()))
    }

    fn is_one(dir: &Path) -> bool {
        CRATES.iter().all(|(package, at)| {
            let manifest = fs::read_to_string(dir.join(at).join("Cargo.toml"));
            manifest.is_ok_and(|text| text.contains(&format!("\nname = \"{package}\"\n")))
        })
    }

    /// The value of a dependency on the crate at this place.
    fn dependency(&self, at: &str) -> Result<String> {
        let path = self.0.join(at);
        let path = path
            .to_str()
            .with_context(|| format!("cargo takes no path like {}", path.display()))?;
        // What JSON escapes in a text, TOML escapes alike.
        Ok(format!("{{ path = {} }}", serde_json::Value::from(path)))
    }

    /// The tree's versions of everything else: they are known to work, and are there without a network if the
    /// tree was built. Cargo leaves out what is not needed.
    fn lock(&self, dir: &Path) -> Result<()> {
        let lock = self.0.join("Cargo.lock");
        match fs::copy(&lock, dir.join("Cargo.lock")) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot copy {}", lock.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_crates() {
        for name in ["demo", "a", "my-app_2", &"x".repeat(NAME_CHARS_MAX)] {
            check(name).unwrap();
        }
        let long = "x".repeat(NAME_CHARS_MAX + 1);
        for name in [
            "", "2nd", "-a", "_a", "a/b", "../a", "a b", "ünder", "a.b", "Stockade", &long,
        ] {
            check(name).unwrap_err();
        }
    }
}
