//! What `#[work]` becomes where it matters: a guest compiled to WebAssembly by the cargo that runs
//! the test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MANIFEST: &str = r#"
[package]
name = "tiny"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib"]

[features]
duplicate = []
two-inits = []
two-retires = []

[dependencies]
stockade-guest = { path = "SDK" }

[workspace]
"#;

const SOURCE: &str = r#"#![forbid(unsafe_code)]

use stockade_guest::{init, retire, work};

#[init]
fn prepare() {}

#[retire]
fn worn_out() -> bool {
    false
}

/// Says "so".
#[work]
pub fn once(text: &str) -> String {
    text.to_owned()
}

#[cfg(feature = "duplicate")]
mod other {
    use stockade_guest::work;

    #[work]
    pub fn once() {}
}

#[cfg(feature = "two-inits")]
mod other {
    #[stockade_guest::init]
    fn prepare() {}
}

#[cfg(feature = "two-retires")]
mod other {
    #[stockade_guest::retire]
    fn worn_out() -> bool {
        true
    }
}
"#;

struct Guest(PathBuf);

impl Guest {
    fn new() -> io::Result<Self> {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR"));
        let guest = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny");
        fs::create_dir_all(guest.join("src"))?;
        let manifest = MANIFEST.replace("SDK", &sdk.display().to_string());
        fs::write(guest.join("Cargo.toml"), manifest)?;
        fs::write(guest.join("src/lib.rs"), SOURCE)?;
        // The versions that the workspace has, so that nothing is downloaded.
        fs::copy(sdk.join("../Cargo.lock"), guest.join("Cargo.lock"))?;
        Ok(Self(guest))
    }

    fn build(&self, arguments: &[&str]) -> io::Result<Output> {
        let mut cargo = Command::new(env!("CARGO"));
        for variable in [
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
        ] {
            cargo.env_remove(variable);
        }
        cargo.env("CARGO_TERM_COLOR", "never");
        cargo
            .args(["build", "--offline", "--target", "wasm32-wasip1"])
            .args(arguments);
        cargo.args(["--target-dir", "target"]);
        cargo.current_dir(&self.0).output()
    }

    fn module(&self) -> io::Result<Vec<u8>> {
        fs::read(self.0.join("target/wasm32-wasip1/debug/tiny.wasm"))
    }
}

fn contains(module: &[u8], text: &str) -> bool {
    module
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn a_guest_exports_its_functions_once_and_describes_them() {
    let guest = Guest::new().unwrap();

    let built = guest.build(&[]).unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let module = guest.module().unwrap();
    for name in [
        "_initialize",
        "memory",
        "stockade_alloc",
        "stockade_free",
        "stockade_init",
        "stockade_retire",
        "stockade:once",
    ] {
        assert!(contains(&module, name), "{name}");
    }
    // So wasm-ld names the wrappers that run the constructors at every call.
    assert!(!contains(&module, "command_export"));
    let document = concat!(
        r#"{"abi":1,"functions":[{"name":"once","params":[{"name":"text","type":"&str"}],"#,
        r#""returns":"String","docs":"Says \"so\"."}]}"#,
        "\n",
    );
    assert!(contains(&module, document));

    // Two of one name, or one kind: reported at the second.
    for (feature, symbol, line, attribute) in [
        ("duplicate", "stockade:once", 23, "#[work]"),
        ("two-inits", "stockade_init", 29, "#[stockade_guest::init]"),
        (
            "two-retires",
            "stockade_retire",
            35,
            "#[stockade_guest::retire]",
        ),
    ] {
        let refused = guest.build(&["--features", feature]).unwrap();
        assert!(!refused.status.success());
        let errors = String::from_utf8_lossy(&refused.stderr);
        let marked = "^".repeat(attribute.len());
        let expected = format!(
            "error: symbol `{symbol}` is already defined
  --> src/lib.rs:{line}:5
   |
{line} |     {attribute}
   |     {marked}
"
        );
        assert!(errors.contains(&expected), "{errors}");
    }
}
